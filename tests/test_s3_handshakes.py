"""Handshakes: no fork amid one, unless it waits for its server."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable

import pytest

from storagekit.location import Location
from storagekit_conformance.support import in_child
from storagekit_s3 import handshakes
from storagekit_s3.driver import S3Driver
from storagekit_s3.handshakes import guarded

LONG = 60.0


class Inside:
    """A thread that is there until it is told to leave."""

    def __init__(self) -> None:
        self._leave = threading.Event()
        entered = threading.Event()

        def stay() -> None:
            with guarded(), guarded():
                entered.set()
                self._leave.wait(LONG)

        self._thread = threading.Thread(target=stay)
        self._thread.start()
        assert entered.wait(LONG)

    def leave(self) -> None:
        self._leave.set()
        self._thread.join()


def forking(child: Callable[[], None] = lambda: None) -> threading.Thread:
    thread = threading.Thread(target=in_child, args=(child,))
    thread.start()
    return thread


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_fork_waits_for_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "FORK_SECONDS", LONG)
    first, second = Inside(), Inside()
    thread = forking()
    first.leave()
    thread.join(0.2)
    assert thread.is_alive()
    second.leave()
    thread.join()


def test_a_fork_waits_no_longer_than_that_and_its_child_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "FORK_SECONDS", 0.05)
    inside = Inside()

    def child() -> None:
        with guarded():
            in_child(lambda: None)  # and its own children do not wait for whom it does not have

    forking(child).join()
    with guarded():  # nor is the parent kept from it
        pass
    inside.leave()


def test_a_thread_does_not_wait_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "FORK_SECONDS", LONG)
    with guarded():
        in_child(lambda: in_child(lambda: None))
    assert not handshakes._inside


def test_nobody_begins_amid_a_fork_nor_waits_for_it_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fork of another thread may be waiting for a lock that this one holds."""
    monkeypatch.setattr(handshakes, "FORK_SECONDS", 0.2)
    handshakes._before_fork()
    begun = time.monotonic()
    with guarded():
        assert time.monotonic() - begun >= 0.2
    handshakes._after_fork_in_parent()
    handshakes._after_fork_in_parent()  # an interrupt came before it was counted
    assert handshakes._forks == 0


def test_it_is_left_with_an_error() -> None:
    with pytest.raises(LookupError), guarded():
        raise LookupError
    assert not handshakes._inside


@pytest.mark.parametrize("transport", ["wire", "boto3"])
def test_where_tls_is_agreed_on(transport: str) -> None:
    """A server that accepts connections, and says nothing."""
    driver = S3Driver()
    with socket.create_server(("127.0.0.1", 0)) as server:
        options = {
            "endpoint_url": f"https://127.0.0.1:{server.getsockname()[1]}",
            "transport": transport,
            "aws_access_key_id": "id",
            "aws_secret_access_key": "secret",
            "max_attempts": 1,
            "verify": False,
        }
        failed: list[OSError] = []

        def ask() -> None:
            try:
                driver.stat(Location("s3", "box", "key"), options)
            except OSError as error:
                failed.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        connection, _ = server.accept()
        assert connection.recv(1)  # the first byte of the client's greeting
        until(lambda: thread.ident in handshakes._inside)
        connection.close()
        thread.join()
    assert failed
    assert not handshakes._inside
    driver.close()


def test_the_system_forks_once_everybody_has_left() -> None:
    """Many threads go in and out, and a fork always finds a moment without them."""
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            with guarded():
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    inside: list[int] = []
    for _ in range(20):
        child = os.fork()
        if not child:
            os._exit(len(handshakes._inside))
        inside.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    over.set()
    for thread in threads:
        thread.join()
    assert inside == [0] * 20
