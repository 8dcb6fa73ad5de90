"""The server: ports with their profiles, a thread per connection, and S3's operations."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from html import unescape
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

from benchmarks.simulator.objects import Objects, Segment, Stored
from benchmarks.simulator.profiles import Profile
from benchmarks.simulator.shaping import SLICE, Clock, Delays, pace
from benchmarks.simulator.wire import BadRequestError, Request, body_of, head, read_request

__all__ = ["CONTROL", "Port"]

# No bucket's name has an underscore. ``/_control/stats`` and ``/_control/reset`` are never delayed and never counted.
CONTROL = "_control"

# Below this a body is read and sent with its head, in one call; above it ``sendfile`` saves more than it costs.
SMALL = 64 * 1024

# What is received at a time.
RECEIVE = 256 * 1024

XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'

_RANGE = re.compile(r"bytes=(\d*)-(\d*)$")


class Counts:
    """What a port has seen since the last ``reset``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_flight = 0
        self._clear()

    def _clear(self) -> None:
        self._requests: Counter[str] = Counter()
        self._received = self._sent = self._connections = 0
        self._most = self._in_flight
        self._cpu = time.process_time()

    def reset(self) -> None:
        """Begin again."""
        with self._lock:
            self._clear()

    @contextlib.contextmanager
    def request(self, new_connection: bool) -> Iterator[None]:
        """A request is being answered."""
        with self._lock:
            self._connections += new_connection
            self._in_flight += 1
            self._most = max(self._most, self._in_flight)
        try:
            yield
        finally:
            with self._lock:
                self._in_flight -= 1

    def add(self, kind: str = "", *, received: int = 0, sent: int = 0) -> None:
        """Count a request of a kind, or bytes of a body."""
        with self._lock:
            if kind:
                self._requests[kind] += 1
            self._received += received
            self._sent += sent

    def as_json(self) -> bytes:
        """Everything, for ``/_control/stats``. The processor's seconds are those of the whole server."""
        with self._lock:
            return json.dumps(
                {
                    "requests": dict(self._requests),
                    "received": self._received,
                    "sent": self._sent,
                    "most_in_flight": self._most,
                    "connections": self._connections,
                    "cpu_seconds": time.process_time() - self._cpu,
                }
            ).encode()


class Port:
    """A listening socket with a profile. Objects are shared with other ports."""

    def __init__(self, objects: Objects, profile: Profile, port: int = 0) -> None:
        self.objects = objects
        self.profile = profile
        self.delays = Delays(profile)
        self.counts = Counts()
        self.sending = Clock(profile.total)
        self.receiving = Clock(profile.total)
        self._listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=_Connection(self, connection).serve, daemon=True).start()

    def close(self) -> None:
        """Accept nothing more. Connections end with their clients, or with the process."""
        # A thread that waits in accept is not woken by close alone.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class _Connection:
    """One client's connection, in a thread of its own."""

    def __init__(self, port: Port, connection: socket.socket) -> None:
        self._port, self._objects, self._counts = port, port.objects, port.counts
        self._profile = port.profile
        self._socket = connection
        self._stream = connection.makefile("rb")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sending = (port.sending, pace(connection, self._profile.rate))
        self._receiving = (port.receiving, Clock(self._profile.rate))
        self._shaped = bool(self._profile.rate or self._profile.total)

    def serve(self) -> None:
        """Answer request after request, until the client goes."""
        fresh = True
        # A client that goes while it is answered is none of our troubles.
        with self._socket, self._stream, contextlib.suppress(OSError, BadRequestError):
            while request := read_request(self._stream):
                if request.bucket == CONTROL:
                    self._control(request)
                    continue
                if fresh:
                    _sleep(self._profile.connect / 1000)
                with self._counts.request(fresh):
                    self._answer(request)
                fresh = False
                if request.headers.get("connection", "").lower() == "close":
                    return

    def _control(self, request: Request) -> None:
        if request.key == "reset":
            self._counts.reset()
            self._port.delays.reset()
        body = self._counts.as_json()
        self._socket.sendall(head(200, len(body), "Content-Type: application/json") + body)

    def _answer(self, request: Request) -> None:
        first_byte = self._port.delays.draw()
        if request.method in ("GET", "HEAD") and request.key:
            self._get(request, first_byte)
        elif request.method in ("GET", "HEAD"):
            self._bucket(request, first_byte)
        elif request.method == "PUT":
            self._put(request, first_byte)
        elif request.method == "POST":
            self._post(request, first_byte)
        elif request.method == "DELETE":
            self._delete(request, first_byte)
        else:
            self._error(501, "NotImplemented")

    def _reply(self, kind: str, status: int, body: str = "", *headers: str) -> None:
        data = body.encode()
        self._counts.add(kind, sent=len(data))
        self._socket.sendall(head(status, len(data), "Content-Type: application/xml", *headers) + data)

    def _error(self, status: int, code: str, *headers: str, body: bool = True) -> None:
        text = f"{XML}<Error><Code>{code}</Code><Message>{code}</Message></Error>" if body else ""
        self._reply("error", status, text, *headers)

    # Reading

    def _get(self, request: Request, first_byte: float) -> None:
        only_head = request.method == "HEAD"
        _sleep(first_byte)
        stored = self._objects.get(request.name)
        if stored is None:
            self._error(404, "NoSuchKey", body=not only_head)
            return
        if not _matches(request.headers.get("if-match"), stored.etag):
            self._error(412, "PreconditionFailed", body=not only_head)
            return
        span = _span(request.headers.get("range"), stored.size)
        if span is not None and span[0] >= span[1]:
            self._error(416, "InvalidRange", f"Content-Range: bytes */{stored.size}", body=not only_head)
            return
        start, stop = span or (0, stored.size)
        headers = [
            f"ETag: {stored.etag}",
            f"Last-Modified: {stored.last_modified()}",
            "Accept-Ranges: bytes",
            "Content-Type: binary/octet-stream",
        ]
        if span:
            headers.append(f"Content-Range: bytes {start}-{stop - 1}/{stored.size}")
        self._counts.add("head" if only_head else "get")
        answer = head(206 if span else 200, stop - start, *headers)
        if only_head or start == stop:
            self._socket.sendall(answer)
        else:
            self._send(answer, stored, start, stop)

    def _send(self, answer: bytes, stored: Stored, start: int, stop: int) -> None:
        """The head and the range of an object that may lie in several files."""
        begin = 0
        for segment in stored.segments:
            first, last = max(start, begin) - begin, min(stop, begin + segment.size) - begin
            begin += segment.size
            if first >= last:
                continue
            with segment.opened() as file:
                if last - first <= SMALL:
                    self._wait(last - first)
                    self._socket.sendall(answer + os.pread(file, last - first, first))
                    self._counts.add(sent=last - first)
                else:
                    if answer:
                        self._socket.sendall(answer)
                    self._send_file(file, first, last)
            answer = b""

    def _send_file(self, file: int, start: int, stop: int) -> None:
        sent, ahead = start, start
        try:
            while sent < stop:
                if self._shaped and sent == ahead:
                    ahead = min(stop, sent + SLICE)
                    self._wait(ahead - sent)
                count = os.sendfile(self._socket.fileno(), file, sent, (ahead if self._shaped else stop) - sent)
                if not count:
                    raise BadRequestError("a file was cut short behind the server's back")
                sent += count
        finally:
            self._counts.add(sent=sent - start)

    def _wait(self, count: int) -> None:
        for clock in self._sending:
            clock.take(count)

    def _bucket(self, request: Request, first_byte: float) -> None:
        if request.method == "HEAD":
            _sleep(first_byte)
            self._reply("head", 200, "", "x-amz-bucket-region: us-east-1")
            return
        _sleep(first_byte + self._profile.list / 1000)
        if "location" in request.query:
            self._reply("list", 200, f"{XML}<LocationConstraint {NAMESPACE}></LocationConstraint>")
        else:
            self._reply("list", 200, self._listing(request.bucket, request.query))

    def _listing(self, bucket: str, query: dict[str, str]) -> str:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        limit = min(1000, int(query.get("max-keys", "1000")))
        # A token says from where to go on, so that there is nothing to remember.
        token = query.get("continuation-token", "")
        after = unquote(token) if token else query.get("start-after", "")
        encoded = query.get("encoding-type") == "url"
        page = self._objects.page(bucket, prefix, delimiter, after, limit)
        parts = [
            f"{XML}<ListBucketResult {NAMESPACE}><Name>{bucket}</Name><Prefix>{_text(prefix, encoded)}</Prefix>",
            f"<Delimiter>{_text(delimiter, encoded)}</Delimiter><MaxKeys>{limit}</MaxKeys>",
            f"<KeyCount>{len(page.objects) + len(page.prefixes)}</KeyCount>",
            f"<IsTruncated>{'true' if page.after else 'false'}</IsTruncated>",
        ]
        if encoded:
            parts.append("<EncodingType>url</EncodingType>")
        if page.after:
            parts.append(f"<NextContinuationToken>{quote(page.after, safe='')}</NextContinuationToken>")
        parts += [stored.contents(key, encoded) for key, stored in page.objects]
        parts += [f"<CommonPrefixes><Prefix>{_text(key, encoded)}</Prefix></CommonPrefixes>" for key in page.prefixes]
        return "".join(parts) + "</ListBucketResult>"

    # Writing

    def _receive(self, request: Request) -> Segment:
        """The body of a request, in a file."""
        if request.headers.get("expect", "").lower() == "100-continue":
            _sleep(self._profile.proceed / 1000)
            self._socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        file = self._objects.new_file()
        segment = Segment(0, descriptor=file)
        body = body_of(request, self._stream, self._receiving, RECEIVE)
        view = memoryview(bytearray(RECEIVE))
        while count := body.readinto(view):
            os.write(file, view[:count])
            segment.size += count
        self._counts.add(received=segment.size)
        return segment

    def _receive_text(self, request: Request) -> str:
        segment = self._receive(request)
        with segment.opened() as file:
            return os.pread(file, segment.size, 0).decode()

    def _put(self, request: Request, first_byte: float) -> None:
        copied = request.headers.get("x-amz-copy-source")
        if copied is not None:
            self._receive(request)
            _sleep(first_byte)
            self._copy(request, unquote(copied).lstrip("/"))
            return
        segment = self._receive(request)
        _sleep(first_byte)
        stored = Stored((segment,), int(time.time()))
        if "uploadId" not in request.query:
            if request.key:
                self._objects.put(request.name, stored)
            self._reply("put", 200, "", f"ETag: {stored.etag}")
        elif self._objects.add_part(request.query["uploadId"], int(request.query["partNumber"]), segment):
            self._reply("part", 200, "", f"ETag: {stored.etag}")
        else:
            self._error(404, "NoSuchUpload")

    def _copy(self, request: Request, name: str) -> None:
        source = self._objects.get(name)
        if source is None:
            self._error(404, "NoSuchKey")
            return
        if "uploadId" in request.query:
            self._copy_part(request, source)
            return
        stored = Stored(source.segments, int(time.time()))
        self._objects.put(request.name, stored)
        body = f"<ETag>{escape(stored.etag)}</ETag><LastModified>{stored.last_modified()}</LastModified>"
        self._reply("copy", 200, f"{XML}<CopyObjectResult {NAMESPACE}>{body}</CopyObjectResult>")

    def _copy_part(self, request: Request, source: Stored) -> None:
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("x-amz-copy-source-range", ""))
        start, stop = (int(found[1]), int(found[2]) + 1) if found else (0, source.size)
        part = self._objects.cut(source, start, stop)
        stored = Stored((part,), int(time.time()))
        if not self._objects.add_part(request.query["uploadId"], int(request.query["partNumber"]), part):
            self._error(404, "NoSuchUpload")
            return
        body = f"<ETag>{escape(stored.etag)}</ETag><LastModified>{stored.last_modified()}</LastModified>"
        self._reply("copy-part", 200, f"{XML}<CopyPartResult {NAMESPACE}>{body}</CopyPartResult>")

    def _post(self, request: Request, first_byte: float) -> None:
        text = self._receive_text(request)
        _sleep(first_byte)
        name = f"<Bucket>{request.bucket}</Bucket><Key>{escape(request.key)}</Key>"
        if "uploads" in request.query:
            body = f"{name}<UploadId>{self._objects.new_upload()}</UploadId>"
            tag = "InitiateMultipartUploadResult"
            self._reply("create", 200, f"{XML}<{tag} {NAMESPACE}>{body}</{tag}>")
        elif "uploadId" in request.query:
            self._complete(request, name)
        elif "delete" in request.query:
            keys = [unescape(key) for key in re.findall("<Key>(.*?)</Key>", text, re.DOTALL)]
            self._objects.remove(f"{request.bucket}/{key}" for key in keys)
            deleted = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
            self._reply("delete-many", 200, f"{XML}<DeleteResult {NAMESPACE}>{deleted}</DeleteResult>")
        else:
            self._error(501, "NotImplemented")

    def _complete(self, request: Request, name: str) -> None:
        parts = self._objects.take_upload(request.query["uploadId"])
        if parts is None:
            self._error(404, "NoSuchUpload")
            return
        stored = Stored(tuple(parts[number] for number in sorted(parts)), int(time.time()))
        self._objects.put(request.name, stored)
        body = f"<Location>{escape(request.key)}</Location>{name}<ETag>{escape(stored.etag)}</ETag>"
        tag = "CompleteMultipartUploadResult"
        self._reply("complete", 200, f"{XML}<{tag} {NAMESPACE}>{body}</{tag}>")

    def _delete(self, request: Request, first_byte: float) -> None:
        _sleep(first_byte)
        if "uploadId" in request.query:
            self._objects.take_upload(request.query["uploadId"])
            self._reply("abort", 204)
        else:
            self._objects.remove([request.name])
            self._reply("delete", 204)


def _sleep(seconds: float) -> None:
    if seconds > 0:
        time.sleep(seconds)


def _text(text: str, encoded: bool) -> str:
    return quote(text, safe="/") if encoded else escape(text)


def _matches(condition: str | None, etag: str) -> bool:
    return condition is None or condition == "*" or condition.strip('"') == etag.strip('"')


def _span(text: str | None, size: int) -> tuple[int, int] | None:
    """The bytes that a Range header asks for, the first included and the last excluded; empty where it asks for none
    that are there, and None where there is no header that says a range."""
    found = _RANGE.match(text or "")
    if found is None or found.group() == "bytes=-":
        return None
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(int(last) + 1, size) if last else size
