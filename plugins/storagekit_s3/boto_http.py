"""The HTTP session of a boto3 client: what botocore leaves open around a request is closed here.

Four things that botocore and urllib3 do not see to by themselves:

* botocore reads every answer that is no object's bytes whole, however long it is. Here it is given up where no answer
  of S3's would go on.
* A fork waits for handshakes (``fork_guard``), which urllib3 makes where it connects.
* Nothing is sent for a caller who has given his call up (``boto_calls``), and what was being sent ends with it.
* urllib3 closes what waits in a pool when the pool is collected. The frames of an exception that nobody has looked at
  can keep it for long, so ``close`` does it at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

from storagekit.fork_guard import guarded
from storagekit_s3.boto_calls import current
from storagekit_s3.connections import BUFFER, MOST_DOCUMENT, MalformedReplyError

__all__ = ["BoundedSession"]


class BoundedSession:
    """The HTTP session of a client, and of its answers no more than a document may have."""

    def __init__(self, session: Any) -> None:
        self._session = session
        kinds = getattr(session, "_pool_classes_by_scheme", {})  # botocore does not promise that it is there
        for scheme, kind in list(kinds.items()):
            kinds[scheme] = _guarding(kind)

    def send(self, request: Any) -> Any:
        sent = _Unseen(request)
        del request  # whose repr has the signature, and whatever else is secret
        streaming, sent.request.stream_output = sent.request.stream_output, True  # else it would read the body itself
        try:
            response = self._session.send(sent.request)
        finally:
            sent.request.stream_output = streaming
        if not streaming or response.status_code >= 300:
            response.raw = _BoundedBody(response.raw)
            _read_whole(sent.request.url, response)
        return response

    def close(self) -> None:
        pools = self._pools()
        self._session.close()
        for pool in pools:
            pool.close()

    def _pools(self) -> list[Any]:
        """Those that there are now, as far as they can be found."""
        managers = [getattr(self._session, "_manager", None), *getattr(self._session, "_proxy_managers", {}).values()]
        pools = [manager.pools for manager in managers if manager]
        # It refuses to be iterated over itself.
        found = [container.get(key) for container in pools for key in container.keys()]  # noqa: SIM118
        return [pool for pool in found if pool is not None]


@lru_cache
def _guarding(pool: type[Any]) -> type[Any]:
    """A kind of *pool* for whose handshakes a fork waits, and whose requests can be given up."""

    class Guarded(pool.ConnectionCls):  # type: ignore[misc, name-defined]
        def connect(self) -> None:
            call = current()
            if call is not None:
                call.connect()
            with guarded() if pool.scheme == "https" else nullcontext():
                super().connect()
            if call is not None:
                call.hold(self.sock)

        def putrequest(self, *arguments: Any, **more: Any) -> None:
            # Not in ``request``, whose arguments are the signed headers: a frame of ours would show them.
            call = current()
            if call is not None and self.sock is not None:  # else it connects first
                call.hold(self.sock)
            super().putrequest(*arguments, **more)

    class GuardedPool(pool):  # type: ignore[misc]
        ConnectionCls = Guarded

        def _put_conn(self, conn: Any) -> None:
            call = current()
            if call is not None:
                call.let_go()
            super()._put_conn(conn)

    GuardedPool.__name__ = pool.__name__
    return GuardedPool


class _BoundedBody:
    """A body that ends in an error where it goes on for too long."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def stream(self) -> Iterator[bytes]:
        length = 0
        for piece in self._raw.stream(BUFFER):
            length += len(piece)
            if length > MOST_DOCUMENT:
                self._raw.close()
                raise MalformedReplyError(f"an answer of more than {MOST_DOCUMENT} bytes")
            yield piece


class _Unseen:
    """A request, in a place that does not show it."""

    def __init__(self, request: Any) -> None:
        self.request = request


def _read_whole(url: str, response: Any) -> None:
    """Read the body, from which *response* keeps it; errors are those that the session itself makes of them."""
    from botocore import exceptions
    from urllib3.exceptions import ProtocolError, ReadTimeoutError, SSLError

    try:
        response.content  # noqa: B018
    except MalformedReplyError:
        raise
    except SSLError as error:
        raise exceptions.SSLError(endpoint_url=url, error=error) from error
    except ReadTimeoutError as error:
        raise exceptions.ReadTimeoutError(endpoint_url=url, error=error) from error
    except ProtocolError as error:
        raise exceptions.ConnectionClosedError(error=error, request=None, endpoint_url=url) from error
    except Exception as error:
        raise exceptions.HTTPClientError(error=error) from error
