"""Which client serves a request.

Making a client may take a tenth of a second and parse megabytes of JSON, so there is one per process and
set of connection options, made under a lock and kept. The environment variables that boto3 looks at
are part of the key, so that a change of ``AWS_PROFILE`` or ``AWS_ENDPOINT_URL`` is noticed. Where a program renews the
credentials there every hour, most of what was made is never asked for again: so ``MOST_CLIENTS`` are kept, and the one
that was made first goes when another is needed. Open files that use it keep it alive.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from storagekit.location import Location
from storagekit_s3.api import Api
from storagekit_s3.options import Connection
from storagekit_s3.processes import generation

__all__ = ["Client", "Clients"]

# Room for as many users, buckets and roles as one process is likely to serve at a time. A client through boto3 takes
# most of a megabyte, and making one again takes some 16 ms.
MOST_CLIENTS = 128

# What boto3 reads from the environment and a running program is likely to change.
_VARIABLES = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
)

# Asking ``os.environ`` encodes a name and decodes a value, each time: a dozen times for every request, a tenth of what
# a small one costs. Below it CPython keeps the variables as they are.
_ENVIRONMENT: Mapping[Any, Any] = getattr(os.environ, "_data", os.environ)
_NAMES = tuple(os.environ.encodekey(name) if _ENVIRONMENT is not os.environ else name for name in _VARIABLES)


class Client(Protocol):
    """What serves the requests with one set of connection options."""

    def api(self, location: Location) -> Api:
        """The port for a location's bucket; *location* is named in the error if there can be none."""

    def close(self) -> None:
        """Let go of the connections."""


class Clients:
    """The clients of one driver: made on demand, kept as long as there is room, and never used across a fork."""

    def __init__(self, make: Callable[[Connection], Client]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._clients: dict[object, Client] = {}
        self._inherited: list[object] = []

    def get(self, connection: Connection, location: Location) -> Api:
        """The port for *connection* in this process; *location* is named in the error if there can be none."""
        return self._client(connection).api(location)

    def _client(self, connection: Connection) -> Client:
        # A function of its own, so that no frame below which an error is raised holds the variables.
        key = (generation(), connection, *map(_ENVIRONMENT.get, _NAMES))
        client = self._clients.get(key)
        if client is None:
            with self._lock:
                client = self._clients.get(key)
                if client is None:
                    client = self._make(connection)
                    while len(self._clients) >= MOST_CLIENTS:
                        # Not closed: it may be in use. Its idle connections close when it is collected.
                        del self._clients[next(iter(self._clients))]
                    self._clients[key] = client
        return client

    def reset_after_fork(self) -> None:
        """Forget the parent's clients and lock. The clients are kept alive: ending them would touch shared sockets."""
        self._inherited.append(self._clients)
        self._lock = threading.Lock()
        self._clients = {}

    def close(self) -> None:
        """Close every client of this process."""
        with self._lock:
            clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            client.close()
