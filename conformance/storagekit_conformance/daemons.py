"""Test servers that are several programs: started one after the other, watched, and ended together.

Ceph and Swift are four to five programs each. A process of our own, the *supervisor*, starts them in a fresh
folder and prints the address once they answer (``serve``, which ``ceph`` and ``swift`` run as their ``main``).
The test process starts the supervisor and holds the other end of its standard input (``running``).

Nothing outlives anybody, whichever way it ends:

* the end of the ``with`` block, and the end of the test process, close the supervisor's standard input;
* the supervisor kills its programs and removes the folder;
* where the supervisor itself is killed, the kernel kills its programs (``setpriv --pdeathsig``). Being in one
  process group would not do: Swift's programs leave it.

A program that ends before its time takes all others along, because a store with a dead part does not
fail, it hangs.

Ports are *reserved* rather than looked for: ``Daemons.port`` binds one and keeps it bound, without listening. No
other process gets it then, only a program that binds it with ``SO_REUSEADDR``, as every server does; so
two stores that start at the same moment cannot meet.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from storagekit_conformance.servers import S3Server, _stop

__all__ = ["START_SECONDS", "Daemons", "NamedServer", "StartError", "lacking", "running", "serve"]

# Each needs seconds; a loaded machine may need ten times as many, and what needs a minute is broken.
START_SECONDS = 60.0
# What the supervisor needs beyond that to say why nothing started.
REPORT_SECONDS = 10.0
# Removing what the tests left can take some: Swift keeps each object in folders of its own.
END_SECONDS = 60.0
POLL_SECONDS = 0.05
# How often it is looked whether all programs still run.
WATCH_SECONDS = 0.5

# Every program is started through this: it dies with the supervisor, whatever happens to that.
_TIED = "setpriv"


class StartError(RuntimeError):
    """A program did not start; the text is one line."""


@dataclass(frozen=True)
class NamedServer(S3Server):
    """A server that does not say what it is, so that the options to reach it do."""

    kind: str | None = None
    """For the option ``server``; None where its replies say it."""

    def options(self) -> dict[str, object]:
        """What storagekit needs to reach it."""
        return super().options() | ({"server": self.kind} if self.kind else {})


def lacking(programs: Sequence[str]) -> list[str]:
    """Those of *programs*, and of what is needed to run them, that are not on ``PATH``."""
    return [name for name in (*programs, _TIED) if shutil.which(name) is None]


class Daemons:
    """The programs of one store, in a folder of their own: started in order, and killed together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._deadline = time.monotonic() + START_SECONDS
        self._reserved: list[socket.socket] = []
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        # Nothing of the user's own settings: no PYTHONPATH for the system's Python, no CEPH_ARGS, no proxy.
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C.UTF-8"}

    def port(self) -> int:
        """A port of 127.0.0.1 that stays ours until the end."""
        reserved = socket.socket()
        reserved.bind(("127.0.0.1", 0))
        # Afterwards, and not before: so it is ours alone, and only one that says the same may listen on it.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.append(reserved)
        return int(reserved.getsockname()[1])

    def write(self, name: str, text: str) -> Path:
        """Write a file of settings into the folder."""
        path = self.folder / name
        path.write_text(text)
        return path

    def run(self, *command: str | os.PathLike[str]) -> None:
        """Run a program to its end; ``StartError`` with the last line of its output where it fails."""
        name = Path(command[0]).name
        try:
            done = subprocess.run(
                [_TIED, "--pdeathsig", "KILL", *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self._environment,
                timeout=self._left(),
            )
        except subprocess.TimeoutExpired as error:
            raise StartError(f"{name}: no end after {START_SECONDS:.0f} seconds{self._logs()}") from error
        if done.returncode:
            said = done.stdout.decode(errors="replace").strip().rpartition("\n")[2]
            raise StartError(f"{name}: {said or f'exit code {done.returncode}'}{self._logs()}")

    def start(self, name: str, *command: str | os.PathLike[str]) -> None:
        """Start a program that is to run until the end; its output goes to the log of that *name*."""
        with self._log(name).open("wb") as log:
            self._running[name] = subprocess.Popen(
                [_TIED, "--pdeathsig", "KILL", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self._environment,
            )

    def wait_for_port(self, name: str, port: int) -> None:
        """Wait until somebody listens on *port*, which is for the program *name*."""
        while True:
            self._check()
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                return
            except OSError:
                time.sleep(POLL_SECONDS)
            if self._left() <= 0:
                raise StartError(f"{name}: no answer after {START_SECONDS:.0f} seconds{self._logs(name)}")

    def wait_for_an_end(self) -> NoReturn:
        """Return never: raise ``StartError`` when one of the programs has ended."""
        while True:
            self._check()
            time.sleep(WATCH_SECONDS)

    def stop(self) -> None:
        """Kill what runs."""
        for process in self._running.values():
            process.kill()
        for process in self._running.values():
            process.wait()
        for reserved in self._reserved:
            reserved.close()

    def _check(self) -> None:
        for name, process in self._running.items():
            if process.poll() is not None:
                raise StartError(f"{name} ended with {process.returncode}{self._logs(name)}")

    def _left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _logs(self, only: str | None = None) -> str:
        """The last line of each program's log, or of one's: what there is to say about a start that failed."""
        ends = []
        for name in self._running if only is None else [only]:
            if said := self._log(name).read_text(errors="replace").strip().rpartition("\n")[2]:
                ends.append(f"; {name} says: {said}")
        return "".join(ends)


def serve(name: str, start: Callable[[Daemons], str]) -> None:
    """The supervisor's life: *start* the programs, print the URL that it returns, serve until standard input ends."""
    # An interrupt at the terminal is the parent's affair.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix=f"storagekit-{name}-", ignore_cleanup_errors=True) as folder:
        daemons = Daemons(Path(folder))
        try:
            print(start(daemons), flush=True)
            daemons.wait_for_an_end()
        except StartError as error:
            print(error, file=sys.stderr, flush=True)
            # The thread still waits on standard input, and must not hold up the end.
            code = 1
        except SystemExit:
            code = 0
        finally:
            daemons.stop()
    os._exit(code)


def _end_with_standard_input() -> None:
    sys.stdin.buffer.read()
    # Not os.kill: the main thread is to be woken from whatever it waits in.
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


@contextmanager
def running(name: str) -> Iterator[str]:
    """Run the supervisor of the module *name* of this package; yields the URL at which the store answers."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", f"storagekit_conformance.{name}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            # A group of its own, so that an interrupt at the terminal does not reach it.
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], START_SECONDS + REPORT_SECONDS)
            endpoint = process.stdout.readline().decode().strip() if ready else ""
            if not endpoint:
                errors.seek(0)
                said = errors.read().decode(errors="replace").strip().rpartition("\n")[2]
                raise RuntimeError(f"the test server {name} did not start: {said or 'no output'}")
            yield endpoint
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let the supervisor clear up; what does not listen is killed."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        pass  # it is killed below
    _stop(process)
