"""Dialling: from a host's name to a TCP connection with one of its addresses, in a time that is given for all of them.

The addresses are tried in the system's order, which puts IPv6 first where there is a way to it. One that refuses costs
nothing. One that is silent costs half of the time that is left, while there is another behind it: a host whose first
address is dead is still reached, and a host with many dead ones (a name of S3's has eight) makes nobody wait for longer
than a host with one.

Looking the name up is the system's, and cannot be ended from here; the time for the connection begins behind it.
Python imports a codec for the first of them, which is loaded here instead: with the driver, while no fork can come
(``fork_guard``).
"""

from __future__ import annotations

import codecs
import errno
import socket
import time

from storagekit.deadlines import remaining

__all__ = ["LEAST_WAIT", "dial"]

# The shortest wait, in seconds: to the system 0 is for ever.
LEAST_WAIT = 0.001

codecs.lookup("idna")


def dial(host: str, port: int, seconds: float) -> tuple[socket.socket, float]:
    """A connection, and when its *seconds* are over, or the caller's time; the error of the address tried last."""
    found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    left = remaining()
    end = time.monotonic() + (seconds if left is None else min(left, seconds))
    failure: OSError = TimeoutError(errno.ETIMEDOUT, "the name was not looked up in time")
    for behind in range(len(found) - 1, -1, -1):
        left = end - time.monotonic()
        if left <= 0:
            break
        family, kind, protocol, _, address = found[len(found) - 1 - behind]
        try:
            return _connected(socket.socket(family, kind, protocol), address, left / 2 if behind else left), end
        except OSError as error:  # of the socket too: there are systems without IPv6
            failure = error
    raise failure


def _connected(connection: socket.socket, address: object, seconds: float) -> socket.socket:
    try:
        connection.settimeout(max(seconds, LEAST_WAIT))
        connection.connect(address)  # type: ignore[arg-type]
    except BaseException:
        connection.close()
        raise
    return connection
