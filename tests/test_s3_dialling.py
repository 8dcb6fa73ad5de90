"""Dialling: which of a host's addresses is reached, and how long it takes where none is."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from storagekit import deadlines
from storagekit_s3 import dialling
from storagekit_s3.dialling import dial

ALIVE, DEAD, CLOSED = "alive", "dead", "closed"


@contextmanager
def host(monkeypatch: pytest.MonkeyPatch, *kinds: str) -> Iterator[int]:
    """A name with an address of each of these kinds, in this order; gives their port."""
    with ExitStack() as stack:
        port = 0
        for number, kind in enumerate(kinds, 2):
            listener = stack.enter_context(socket.socket())
            listener.bind((f"127.0.0.{number}", port))
            port = listener.getsockname()[1]
            if kind == CLOSED:
                continue
            listener.listen(0 if kind == DEAD else 8)
            for _ in range(3 if kind == DEAD else 0):  # whoever comes when the queue is full gets no answer
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(listener.getsockname())
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{n}", port)) for n in range(2, 2 + len(kinds))]
        monkeypatch.setattr(dialling.socket, "getaddrinfo", lambda *_: found)  # type: ignore[attr-defined]
        yield port


@pytest.mark.parametrize(
    ("kinds", "reached"),
    [
        ([ALIVE], "127.0.0.2"),
        ([ALIVE, ALIVE], "127.0.0.2"),
        ([CLOSED, ALIVE], "127.0.0.3"),
        ([DEAD, ALIVE], "127.0.0.3"),
        ([DEAD, CLOSED, DEAD, ALIVE], "127.0.0.5"),
    ],
)
def test_the_first_that_answers(kinds: list[str], reached: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with host(monkeypatch, *kinds) as port:
        connection, end = dial("many.test", port, 4.0)
        with connection:
            assert connection.getpeername() == (reached, port)
            assert end - time.monotonic() <= 4.0


def test_many_dead_addresses_take_no_longer_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with host(monkeypatch, *[DEAD] * 16) as port:
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            dial("many.test", port, 1.0)
        with deadlines.within(1.0), pytest.raises(TimeoutError):
            dial("many.test", port, 60.0)
        assert time.monotonic() - begun < 14


def test_where_all_refuse_the_last_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with host(monkeypatch, CLOSED, CLOSED) as port, pytest.raises(ConnectionRefusedError):
        dial("many.test", port, 60.0)


def test_a_family_that_the_system_does_not_have_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with host(monkeypatch, ALIVE) as port:
        found = socket.getaddrinfo("many.test", port)
        found.insert(0, (-5, socket.SOCK_STREAM, 6, "", ("::1", port)))  # type: ignore[arg-type]
        connection, _ = dial("many.test", port, 60.0)
        connection.close()


def test_a_name_that_was_looked_up_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    with host(monkeypatch, ALIVE) as port, deadlines.within(0.0), pytest.raises(TimeoutError):
        dial("many.test", port, 60.0)
