"""fork_guard: no fork amid a handshake or an import, unless it takes too long."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from storagekit import fork_guard
from storagekit.fork_guard import guarded
from storagekit.location import Location
from storagekit_conformance.servers import S3Server
from storagekit_conformance.support import in_child
from storagekit_s3.driver import S3Driver

pytest_plugins = ["s3_support"]

LONG = 60.0


class Inside:
    """A thread that is there until it is told to leave; a fork waits for it for so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._leave = threading.Event()
        entered = threading.Event()

        def stay() -> None:
            with guarded(seconds), guarded(seconds):
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


def test_a_fork_waits_for_all_of_them() -> None:
    first, second = Inside(LONG), Inside(LONG)
    thread = forking()
    first.leave()
    thread.join(0.2)
    assert thread.is_alive()
    second.leave()
    thread.join()


def test_a_fork_waits_no_longer_than_that_and_its_child_is_free() -> None:
    inside = Inside(0.05)

    def child() -> None:
        with guarded():
            in_child(lambda: None)  # and its own children do not wait for whom it does not have

    forking(child).join()
    with guarded():  # nor is the parent kept from it
        pass
    inside.leave()


def test_a_thread_does_not_wait_for_itself() -> None:
    with guarded(LONG):
        in_child(lambda: in_child(lambda: None))
    assert not fork_guard._inside


def test_nobody_begins_amid_a_fork_nor_waits_for_it_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fork of another thread may be waiting for a lock that this one holds."""
    monkeypatch.setattr(fork_guard, "HANDSHAKE_SECONDS", 0.2)
    fork_guard._before_fork()
    begun = time.monotonic()
    with guarded():
        assert time.monotonic() - begun >= 0.2
    fork_guard._after_fork_in_parent()
    fork_guard._after_fork_in_parent()  # an interrupt came before it was counted
    assert fork_guard._forks == 0


def test_it_is_left_with_an_error() -> None:
    with pytest.raises(LookupError), guarded():
        raise LookupError
    assert not fork_guard._inside


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
        until(lambda: thread.ident in [inside for inside, _ in fork_guard._inside])
        connection.close()
        thread.join()
    assert failed
    assert not fork_guard._inside
    driver.close()


def test_a_fork_finds_nobody_within() -> None:
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            with guarded():
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    found: list[object] = []
    for _ in range(20):
        fork_guard._before_fork()
        for _ in range(20):
            found += fork_guard._inside
            time.sleep(0)
        fork_guard._after_fork_in_parent()
    over.set()
    for thread in threads:
        thread.join()
    assert found == []


FIRST_USE = """
import json, os, sys, threading, time, storagekit
options, delay = json.loads(sys.argv[1]), float(sys.argv[2])
look = lambda: storagekit.exists("s3://no-such-bucket-anywhere/key", options=options)
thread = threading.Thread(target=look)
thread.start()
time.sleep(delay)
child = os.fork()
if not child:
    look()
    os._exit(0)
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize("delay", [0.0, 0.005, 0.02, 0.05])
def test_a_child_of_a_program_that_is_importing_a_driver(moto: S3Server, transport: str, delay: float) -> None:
    """As where a worker is started while a thread opens the first object of all."""
    given = json.dumps(moto.options() | {"transport": transport})
    command = [sys.executable, "-W", "ignore", "-c", FIRST_USE, given, str(delay)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONG)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


IMPORTS = """
import json, sys, threading
import storagekit
from storagekit import fork_guard
given = json.loads(sys.argv[1])
base = given["base"]
unguarded = []
def look(event, arguments):
    if event == "import" and not any(thread == threading.get_ident() for thread, _ in fork_guard._inside):
        unguarded.append(arguments[0])
sys.addaudithook(look)
with storagekit.Storage(options={"s3": given["options"]}) as storage:
    for name, size in (("small.txt", 10), ("large.bin", 11 << 20), ("packed.gz", 100)):
        with storage.open(f"{base}/{name}", "wb", options={"part_size": 5 << 20}, compression="infer") as file:
            file.write(b"x" * size)
        assert len(storage.open(f"{base}/{name}", "rb", compression="infer").read()) == size
    assert len(list(storage.read_many([f"{base}/small.txt", f"{base}/large.bin"]))) == 2
    storage.copyfile(f"{base}/small.txt", f"{base}/copy")
    with storage.open(f"{base}/copy", "r+") as file:
        file.write("y")
    storage.rename(f"{base}/copy", f"{base}/moved")
    assert storage.stat(f"{base}/moved").st_size == 10
    assert len(storage.listdir(base)) == 4 and len(list(storage.walk(base))) == 1
    assert not storage.exists(f"{base}/absent") and not list(storage.uploads(base))
    storage.remove(f"{base}/moved")
print(unguarded)
"""


def test_whatever_is_imported_is_guarded(moto: S3Server, transport: str) -> None:
    given = {"base": f"s3://{moto.new_bucket()}", "options": moto.options() | {"transport": transport}}
    command = [sys.executable, "-W", "ignore", "-c", IMPORTS, json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONG)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


FIRST_SIGNATURES = """
import os, signal, sys, threading, time
from storagekit_s3.signing import UNSIGNED_PAYLOAD, Credentials, Signer

def sign():
    Signer("us-east-1").sign("GET", "/", "", {"host": "h"}, UNSIGNED_PAYLOAD, Credentials("id", "secret"), 1e9)

def first(waits):
    sys.setswitchinterval(1e-6)
    ready = threading.Barrier(9)
    threads = [threading.Thread(target=lambda: (ready.wait(), sign())) for _ in range(8)]
    for thread in threads:
        thread.start()
    ready.wait()
    for _ in range(waits):
        time.sleep(0)
    child = os.fork()
    if not child:
        signal.alarm(20)
        sign()
        os._exit(0)
    for thread in threads:
        thread.join()
    os._exit(os.waitpid(child, 0)[1] != 0)

statuses = []
for number in range(50):  # this one never signs, so that the first signatures of a process are made in each
    worker = os.fork()
    if not worker:
        first(number % 4)
    statuses.append(os.waitpid(worker, 0)[1])
print(statuses.count(0))
"""


def test_a_child_that_is_forked_beside_the_first_signatures() -> None:
    """Nothing is guarded there, because a thread that signs lets no other run while it is within OpenSSL."""
    command = [sys.executable, "-W", "ignore", "-c", FIRST_SIGNATURES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20 * LONG)
    assert (done.returncode, done.stdout) == (0, "50\n"), done.stderr
