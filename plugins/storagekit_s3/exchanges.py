"""Exchanges: one request of S3's, from its signing to an answer that counts.

An ``Exchange`` is tried until it is answered, refused, out of attempts, or out of the time that its caller has. What
passes is tried again after a pause (``retrying``): a connection that cannot be made or breaks, silence, and a server
that says that it is busy or failed. Four things are mended on the way, each
once:

* *a stale connection*: kept from before, and closed by the server in the meantime. The request goes out again at once,
  over a new one, and counts as the same attempt;
* *the wrong region*: the answer names the right one, and the bucket's route is found anew;
* *a clock that is wrong*: the answer has the server's time, by which requests are signed from then on;
* *an early answer*: a server that refuses an upload may say so and hang up before it has read everything. So where
  sending fails, what has come is read.

Over all attempts it collects what is not known of a change (``errors.Doubt``): the answer to a later attempt may be the
answer to what an earlier one has done.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import storagekit.errors
from storagekit import deadlines
from storagekit.hiding import HiddenBytes
from storagekit.location import Location
from storagekit.version import __version__
from storagekit_s3 import errors
from storagekit_s3.connections import (
    Connection,
    CutReplyError,
    MalformedReplyError,
    Reply,
    UnsentError,
    read_all,
)
from storagekit_s3.documents import Document, DocumentError, read
from storagekit_s3.ledger import Ledger, Line
from storagekit_s3.pools import Pool
from storagekit_s3.processes import generation
from storagekit_s3.replies import foreign, header_time, request_id_of
from storagekit_s3.retrying import Retrying
from storagekit_s3.routes import Route
from storagekit_s3.signing import EMPTY_PAYLOAD, Signer

__all__ = ["Caller", "Request", "Way"]

# S3 refuses what was signed a quarter of an hour from its own time; less than this, in seconds, is not the reason.
SKEW = 300.0
# An error says what is wrong in a KiB or two.
MOST_ERROR = 1024 * 1024

# What may be a region's name, Amazon's or another's; it becomes part of a header.
_REGION = re.compile(r"[A-Za-z0-9._-]+")
_ELSEWHERE_CODES = {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"}
_USER_AGENT = f"storagekit/{__version__}"
_TRANSPORT_ERRORS = (OSError, UnsentError, CutReplyError, MalformedReplyError)


@dataclass(slots=True)
class Request:
    """One operation on one object or bucket."""

    operation: str
    location: Location
    method: str
    path: str = ""
    """Behind the bucket's URL, encoded, with its slash; empty for the bucket itself."""
    query: str = ""
    """Encoded."""
    headers: dict[str, str] = field(default_factory=dict)
    """Names in lower case."""
    body: bytes | bytearray = b""
    payload: str = EMPTY_PAYLOAD
    """The hash of the body, or what stands for it."""
    may_fail_late: bool = False
    """The answer may have status 200 and say in its document that the operation failed."""


class Way:
    """A route with what is kept of it between requests. Valid in the process that made it."""

    __slots__ = ("base", "host", "pool", "route", "signer")

    def __init__(self, route: Route, pool: Pool) -> None:
        self.route = route
        self.pool = pool
        self.signer = Signer(route.region)
        parts = urlsplit(route.url)
        self.base = parts.path
        default = {"https": 443, "http": 80}[parts.scheme]
        self.host = parts.netloc if parts.port != default else parts.netloc.rpartition(":")[0]


class Caller:
    """Makes requests about one bucket; many threads share it."""

    def __init__(
        self,
        find: Callable[[str | None], Way],
        way: Way,
        retrying: Retrying | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        """*find* gives a way to the bucket, in the region that it is given if that is not None."""
        self._find = find
        self.retrying = retrying or Retrying()
        self.ledger = ledger or Ledger()
        self._ways: dict[int, Way] = {generation(): way}
        self.skew = 0.0
        """Seconds by which the server's clock is ahead of ours."""

    @property
    def way(self) -> Way:
        """The way to the bucket, in this process: a forked child finds one of its own, with credentials of its own."""
        way = self._ways.get(generation())
        return way if way is not None else self._ways.setdefault(generation(), self._find(None))

    def move(self, region: str) -> None:
        """The bucket was found to be in *region*."""
        self._ways[generation()] = self._find(region)

    def open(self, request: Request) -> tuple[Reply, Line]:
        """The answer to a request, its body not yet read; and its line in the ledger, to be closed with the body."""
        exchange = Exchange(self, request)
        return exchange.run(), exchange.line

    def call(self, request: Request) -> tuple[Reply, Document]:
        """The answer to a request, with the document in its body; an empty one where there is none."""
        exchange = Exchange(self, request, whole=True)
        reply = exchange.run()
        try:
            return reply, read(exchange.data) if exchange.data else Document("")
        except DocumentError as error:
            if request.may_fail_late:
                return reply, Document("")  # then the object itself has to tell
            refusal = foreign(request.operation, request.location, error)
            # It was no refusal of the store's: a change may have been made, whoever speaks here.
            refusal.doubt = exchange.doubt or errors.status_doubt(reply.status)  # type: ignore[attr-defined]
            raise refusal from None

    def read(self, request: Request) -> bytes:
        """The body of the answer to a request, whole and as it came."""
        exchange = Exchange(self, request, whole=True)
        exchange.run()
        return exchange.data


class Exchange:
    """One request on its way to an answer."""

    __slots__ = ("_attempt", "_caller", "_mended", "_request", "_whole", "data", "doubt", "line")

    def __init__(self, caller: Caller, request: Request, *, whole: bool = False) -> None:
        self._caller = caller
        self._request = request
        self._whole = whole
        self._attempt = 1
        self.line = caller.ledger.begin(request.operation, request.method, request.location.url, len(request.body))
        self.doubt: errors.Doubt = None
        """What is not known of a change, after all attempts so far."""
        self._mended: set[str] = set()
        self.data = b""
        """The whole body of the answer, where it was to be read."""

    def run(self) -> Reply:
        """Try until there is an answer; raise what ``errors`` makes of a failure."""
        try:
            reply = self._answer()
        except OSError as error:
            self.line.fail(storagekit.errors.tried(error, self._attempt, time.monotonic() - self.line.begun))
            raise
        self.line.attempts = self._attempt
        if self._whole:
            self.line.received = len(self.data)
            self.line.close()
        return reply

    def _answer(self) -> Reply:
        request = self._request
        while True:
            way = self._caller.way
            if deadlines.remaining() == 0.0:
                raise self._too_late(None)
            try:
                self._caller.retrying.turn(request.location)
            except TimeoutError as late:  # an earlier attempt may have been carried out
                raise self._doubted(late) from None
            try:
                reply = self._once(way)
                succeeded = reply.status < 300
                if succeeded and self._whole:
                    self.data = read_all(reply)
                failure = self._failure(reply, succeeded)
                if failure is None:
                    self._caller.retrying.succeeded(request.operation, request.location, self.doubt)
                    return reply
                error = self._refused(way, reply, failure)
            except _TRANSPORT_ERRORS as broken:
                error = self._broken(broken, way)
            except Exception as wrong:
                error = errors.client_error(wrong, request.operation, request.location, self.doubt)
                # What is no header may be a secret, and is not to be seen in a cause either.
                error.__cause__ = None if errors.is_bad_header(wrong) else wrong
            if error is not None:
                raise error

    def _once(self, way: Way) -> Reply:
        """Send the request, and read the head of the answer."""
        head, body = self._signed(way), self._request.body
        connection = way.pool.take()
        if connection is not None:
            try:
                return self._over(connection, head, body, way)
            except (CutReplyError, OSError) as error:
                if connection.buffered() or not errors.is_cut(error):
                    raise
                self.doubt = "lost"  # for all that is known, the server may have read it before it closed
        return self._over(way.pool.address.connect(), head, body, way)

    def _over(self, connection: Connection, head: bytes, body: bytes | bytearray, way: Way) -> Reply:
        try:
            try:
                connection.send(head, body)
            except OSError as error:
                if not errors.is_cut(error):
                    raise
                reply = _early_answer(connection, error)
            else:
                reply = connection.receive()
        except BaseException:
            connection.close()
            raise
        reply.return_to(way.pool)
        if self._request.method == "HEAD":
            reply.without_body()
        if reply.status < 500:  # an error may be a gateway's own, so one that does not say keeps what is known
            way.pool.server = reply.headers.get("server") or way.pool.server or ""
        return reply

    def _signed(self, way: Way) -> bytes:
        """The head of the request."""
        request = self._request
        path = (way.base + request.path) or "/"
        headers = {"host": way.host, **request.headers}
        if way.route.credentials is not None:
            now = time.time() + self._caller.skew
            try:
                credentials = way.route.credentials()
            except OSError as error:
                raise UnsentError("there are no credentials to sign with") from error
            try:
                way.signer.sign(request.method, path, request.query, headers, request.payload, credentials, now)
            except UnicodeEncodeError:  # a variable of bytes that are no text; the exception holds it
                raise errors.BadHeaderError from None
        headers["user-agent"] = _USER_AGENT
        if request.body or request.method in ("PUT", "POST"):
            headers["content-length"] = str(len(request.body))
        target = f"{path}?{request.query}" if request.query else path
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        text = f"{request.method} {target} HTTP/1.1\r\n{''.join(lines)}\r\n"
        # A line end in a value would begin a header of its own.
        ends = len(lines) + 2
        if not text.isascii() or text.count("\r") != ends or text.count("\n") != ends or "\0" in text:
            raise errors.BadHeaderError
        return HiddenBytes(text.encode("ascii"))

    def _failure(self, reply: Reply, succeeded: bool) -> Document | None:
        """What the answer says of a failure; None where it is a success."""
        if not succeeded:
            return _error_document(reply)
        if not self._request.may_fail_late or b"Error>" not in self.data:
            return None
        try:
            document = read(self.data)
        except DocumentError:
            return None
        return document if document.root == "Error" else None

    def _broken(self, broken: Exception, way: Way) -> OSError | None:
        """There was no answer: None where it is worth another attempt, for which everything is ready."""
        request = self._request
        # It is about a file of this computer: credentials were to be renewed, and nothing was sent.
        local = getattr(broken.__cause__, "filename", None) is not None
        if not isinstance(broken, UnsentError):
            self.doubt = "lost"
        if deadlines.remaining() == 0.0:
            return self._too_late(broken)
        if local or errors.is_untrusted(broken) or self._attempt >= way.route.attempts:
            error = errors.client_error(broken, request.operation, request.location, self.doubt)
            error.__cause__ = broken
            return error
        return self._again(type(broken.__cause__ or broken).__name__, broken)

    def _refused(self, way: Way, reply: Reply, document: Document) -> OSError | None:
        """The answer is no success: None where it is worth another attempt, for which everything is ready."""
        request = self._request
        doubt = errors.status_doubt(reply.status)
        # What began well and ended in an error is the server's failure.
        status = reply.status if reply.status >= 300 else 500
        if self.doubt != "lost":
            self.doubt = doubt or self.doubt
        # The answer to a HEAD has no body, hence no code.
        code = document.fields.get("Code") or str(status)
        if self._mends_region(way, reply, code, document) or self._mends_clock(reply, code):
            return None
        self._caller.retrying.answered(busy=errors.is_busy(status, code))
        if errors.is_passing(status, code) and self._attempt < way.route.attempts:
            return self._again(f"{status} {code}", None)
        message = document.fields.get("Message", "")
        request_id = document.fields.get("RequestId") or request_id_of(reply.headers)
        refusal = errors.reply_error(
            request.operation,
            request.location,
            code=code,
            status=status,
            message=message,
            request_id=request_id,
            doubt=self.doubt,
        )
        refusal.__cause__ = errors.store_error(code, status, message, request_id)
        return refusal

    def _mends_region(self, way: Way, reply: Reply, code: str, document: Document) -> bool:
        region = reply.headers.get("x-amz-bucket-region") or document.fields.get("Region")
        elsewhere = reply.status in (301, 302, 307, 308, 400) or code in _ELSEWHERE_CODES
        if (
            not elsewhere
            or not region
            or region == way.route.region
            or not _REGION.fullmatch(region)
            or "region" in self._mended
        ):
            return False
        self._mended.add("region")
        try:
            self._caller.move(region)
        except OSError:  # there is no way to such a region: what the store said is the better error
            return False
        return True

    def _mends_clock(self, reply: Reply, code: str) -> bool:
        if code not in ("RequestTimeTooSkewed", "403") or "clock" in self._mended:
            return False
        there = header_time(reply.headers.get("date"))
        if there is None:
            return False
        ahead = there / 10**9 - time.time()
        if abs(ahead - self._caller.skew) < SKEW:
            return False
        self._mended.add("clock")
        self._caller.skew = ahead
        return True

    def _again(self, reason: str, broken: Exception | None) -> OSError | None:
        """Wait for the time of another attempt; the error where there is none left for it."""
        request = self._request
        try:
            self._caller.retrying.pause(request.operation, request.location, reason, self._attempt)
        except TimeoutError as late:
            late.__cause__ = broken
            return self._doubted(late)
        self._attempt += 1
        return None

    def _too_late(self, broken: Exception | None) -> OSError:
        """The error where the caller's time is over; *broken* is what the last attempt had come to."""
        request = self._request
        late = deadlines.expired(request.location, f"{request.operation} was not answered in attempt {self._attempt}")
        late.__cause__ = broken
        return self._doubted(late)

    def _doubted(self, error: OSError) -> OSError:
        error.doubt = self.doubt  # type: ignore[attr-defined]
        return storagekit.errors.describe(error)


def _early_answer(connection: Connection, error: OSError) -> Reply:
    """What a server had said before it hung up in the middle of a request; else raise the *error* of sending."""
    try:
        reply = connection.receive()
    except Exception:
        raise error from None
    if reply.status < 300:
        raise error  # nobody can have taken what was not sent
    reply.close_after()
    return reply


def _error_document(reply: Reply) -> Document:
    """What the store says of an error; nothing where a gateway's page says it."""
    try:
        data = read_all(reply, MOST_ERROR)
        return read(data) if data else Document("")
    except (DocumentError, *_TRANSPORT_ERRORS):
        reply.close()
        return Document("")
