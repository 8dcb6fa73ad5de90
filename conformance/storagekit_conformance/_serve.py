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
from pathlib import Path

_ADDRESS = re.compile(r"https?://127\.0\.0\.1:[1-9][0-9]*")


def serve_moto(certificate: str | None, key: str | None) -> None:
    """moto's S3 in this process, threaded, with keep-alive, over TLS where a certificate is given."""
    import ssl

    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"
        # Headers and body are two writes; with Nagle's algorithm the second waits for a delayed ACK (40 ms).
        disable_nagle_algorithm = True

        def log(self, type: str, message: str, *args: object) -> None:
            """Requests are not logged: the tests make tens of thousands."""

    application = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        # The handshake happens in the connection's own thread, at its first read: in accept() one slow
        # client would hold up all others.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.ssl_context = context
    _announce(f"{'https' if certificate else 'http'}://127.0.0.1:{server.port}")
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    server.serve_forever()


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
