"""The child process of a test server: runs one server until its standard input ends.

Started by ``servers`` as ``python -m storagekit_conformance._serve``. It prints one line, the URL
at which the server answers, and serves until the other end of its standard input is closed. The
parent holds that end, so a parent that dies, however it dies, takes its servers along.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

# Each answers one request at a time; a connection that waits for its next one needs none.
THREADS = 80
_ADDRESS = re.compile(r"https?://127\.0\.0\.1:[1-9][0-9]*")


def serve_moto(certificate: str | None, key: str | None) -> None:
    """moto's S3 in this process, over TLS where a certificate is given.

    Under cheroot, because real stores keep connections and moto's own server closes them after each answer.
    """
    from cheroot.ssl.builtin import BuiltinSSLAdapter
    from cheroot.wsgi import Gateway_10, Server
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    class Gateway(Gateway_10):
        """Tells moto the path as it came."""

        def get_environ(self) -> Any:
            environ: dict[str, object] = super().get_environ()  # type: ignore[no-untyped-call]
            uri = str(environ["REQUEST_URI"])
            path = unquote_to_bytes(uri.partition("?")[0]).decode("latin-1")
            return {**environ, "RAW_URI": uri, "PATH_INFO": path}

    backend = DomainDispatcherApplication(create_backend_app)

    def application(environ: dict[str, object], start: Callable[..., object]) -> object:
        """moto without the header by which it says that it is Amazon's, which its own server puts its name before."""

        def begin(status: str, headers: list[tuple[str, str]], *error: object) -> object:
            return start(status, [(name, value) for name, value in headers if name.lower() != "server"], *error)

        return backend(environ, begin)

    server = Server(("127.0.0.1", 0), application, numthreads=THREADS, request_queue_size=128, timeout=60)
    server.gateway = Gateway
    server.server_name = f"Werkzeug/{version('werkzeug')}"
    if certificate:
        server.ssl_adapter = BuiltinSSLAdapter(certificate, key)
    server.prepare()
    _announce(f"{'https' if certificate else 'http'}://127.0.0.1:{server.bind_addr[1]}")
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    server.serve()


def serve_rclone(binary: str, folder: str, access_key: str, secret_key: str) -> None:
    """``rclone serve s3`` over *folder*, as this process's child."""
    command = [binary, "--config", os.devnull, "serve", "s3", "--addr", "127.0.0.1:0"]
    command += ["--auth-key", f"{access_key},{secret_key}", folder]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert child.stderr is not None

    def stop() -> None:
        sys.stdin.buffer.read()
        child.kill()

    threading.Thread(target=stop, daemon=True).start()
    announced = False
    for line in child.stderr:
        sys.stderr.write(line)
        if not announced and (found := _ADDRESS.search(line)):
            announced = True
            _announce(found.group())
    sys.stderr.flush()
    # Not sys.exit: a thread still waits on standard input, and the interpreter would wait for it in vain.
    os._exit(child.wait())


def _announce(url: str) -> None:
    print(url, flush=True)


def _exit_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    """Read the arguments that ``servers`` wrote, and serve."""
    parser = argparse.ArgumentParser(prog=Path(__file__).stem)
    kinds = parser.add_subparsers(dest="kind", required=True)
    moto = kinds.add_parser("moto")
    moto.add_argument("--certificate")
    moto.add_argument("--key")
    rclone = kinds.add_parser("rclone")
    for name in ("binary", "folder", "access_key", "secret_key"):
        rclone.add_argument(name)
    arguments = parser.parse_args()
    # An interrupt at the terminal reaches the whole group; the parent decides when its servers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if arguments.kind == "moto":
        serve_moto(arguments.certificate, arguments.key)
    else:
        serve_rclone(arguments.binary, arguments.folder, arguments.access_key, arguments.secret_key)


if __name__ == "__main__":
    main()
