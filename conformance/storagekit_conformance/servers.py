"""Real S3 servers on loopback, for tests and for the demo.

Two quite different ones, because no single server shows every mistake: ``moto_server`` is close to
S3 in its semantics (conditional writes, odd keys) but checks no signature; ``rclone_server`` checks
signatures and is a real program over real files, with a file system's idea of a key.

Each runs in a process of its own, on a port that the system chose, and ends with its ``with`` block;
it also ends when the process that started it dies. ``https`` matters: boto3 sends checksum
trailers and unsigned payloads only there, so plain http alone never tests the mode that is used
against the real thing.

>>> from storagekit_conformance.servers import moto_server
>>> with moto_server() as server:  # doctest: +SKIP
...     bucket = server.new_bucket()
...     storagekit.open(f"s3://{bucket}/key", "w", options=server.options())
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

__all__ = [
    "S3Server",
    "ServerMissingError",
    "make_certificate",
    "missing_moto",
    "missing_rclone",
    "moto_server",
    "rclone_server",
]

# A loaded two-core machine needs seven seconds to import moto; a server that takes a minute is broken.
START_SECONDS = 60.0
REGION = "us-east-1"


class ServerMissingError(RuntimeError):
    """A server cannot be started because something is not installed; the text is one line and says what."""


@dataclass(frozen=True)
class S3Server:
    """A running server: where it is, and the credentials that it accepts."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = REGION
    ca_bundle: str | None = None
    """The file with the certificate to trust, where the endpoint is https."""

    def options(self) -> dict[str, object]:
        """What storagekit needs to reach it, for ``options=`` or ``Storage(options={"s3": …})``."""
        options: dict[str, object] = {
            "endpoint_url": self.endpoint,
            "aws_access_key_id": self.access_key,
            "aws_secret_access_key": self.secret_key,
            "region_name": self.region,
        }
        if self.ca_bundle:
            options["ca_bundle"] = self.ca_bundle
        return options

    def environment(self, base: Mapping[str, str] = os.environ) -> dict[str, str]:
        """*base* as a program's environment in which boto3 finds this server, and nothing of anybody's own account."""
        own = {name: value for name, value in base.items() if not name.startswith(("AWS_", "STORAGEKIT_"))}
        own |= {
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        if self.ca_bundle:
            own["AWS_CA_BUNDLE"] = self.ca_bundle
        return own

    def client(self) -> Any:
        """A plain boto3 client: a second, independent way in, that shares nothing with storagekit."""
        import boto3
        from botocore.config import Config

        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
            verify=self.ca_bundle,
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                retries={"mode": "standard", "max_attempts": 5},
                max_pool_connections=32,
            ),
        )

    def new_bucket(self) -> str:
        """Create a bucket under a fresh name and return the name."""
        bucket = f"storagekit-{uuid.uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=bucket)
        return bucket


def missing_moto(*, tls: bool = False) -> str | None:
    """One line that says what ``moto_server`` lacks here, or None."""
    wanted = ["boto3", "moto", "flask", "werkzeug", "cheroot"] + (["cryptography"] if tls else [])
    lacking = [name for name in wanted if importlib.util.find_spec(name) is None]
    if not lacking:
        return None
    return f"moto_server needs {', '.join(lacking)}: pip install 'storagekit[servers]'"


def missing_rclone() -> str | None:
    """One line that says what ``rclone_server`` lacks here, or None."""
    if _rclone_binary() is None:
        return "rclone_server needs the program rclone: pip install 'storagekit[servers]'"
    return None


@contextmanager
def moto_server(*, tls: bool = False) -> Iterator[S3Server]:
    """moto's S3 on loopback; any credentials are right. With *tls*, over https with a fresh certificate."""
    if lacking := missing_moto(tls=tls):
        raise ServerMissingError(lacking)
    with tempfile.TemporaryDirectory(prefix="storagekit-moto-") as name:
        folder = Path(name)
        arguments = ["moto"]
        certificate, key = folder / "certificate.pem", folder / "key.pem"
        if tls:
            make_certificate(certificate, key)
            arguments += ["--certificate", str(certificate), "--key", str(key)]
        with _running(arguments, folder) as endpoint:
            yield S3Server(endpoint, "testkey", "testsecret", ca_bundle=str(certificate) if tls else None)


@contextmanager
def rclone_server() -> Iterator[S3Server]:
    """``rclone serve s3`` on loopback, over a temporary folder; it checks signatures."""
    binary = _rclone_binary()
    if binary is None:
        raise ServerMissingError(missing_rclone())
    with tempfile.TemporaryDirectory(prefix="storagekit-rclone-") as name:
        data = Path(name, "data")
        data.mkdir()
        with _running(["rclone", binary, str(data), "testkey", "testsecret"], Path(name)) as endpoint:
            yield S3Server(endpoint, "testkey", "testsecret")


def _rclone_binary() -> str | None:
    beside = Path(sys.executable).with_name("rclone.exe" if os.name == "nt" else "rclone")
    return str(beside) if os.access(beside, os.X_OK) else shutil.which("rclone")


@contextmanager
def _running(arguments: Sequence[str], folder: Path) -> Iterator[str]:
    """Run ``_serve`` with *arguments* and yield the URL that it announces once it answers."""
    log = folder / "server.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "storagekit_conformance._serve", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            # A group of its own, so that the server and what it started can be ended together.
            start_new_session=True,
        )
    try:
        yield _announced(process, log, arguments[0])
    finally:
        _stop(process)


def _announced(process: subprocess.Popen[bytes], log: Path, name: str) -> str:
    """The first line of the server's output; an error with the end of its log if none comes in time."""
    assert process.stdout is not None
    line: list[bytes] = []
    reader = threading.Thread(target=_read_line, args=(process.stdout, line), daemon=True)
    reader.start()
    reader.join(START_SECONDS)
    endpoint = b"".join(line).decode().strip()
    if not endpoint.startswith("http"):
        end = log.read_text(errors="replace").strip().rpartition("\n")[2]
        raise RuntimeError(f"the test server {name} did not start: {end or 'no output'}")
    return endpoint


def _read_line(stream: IO[bytes], into: list[bytes]) -> None:
    into.append(stream.readline())


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server: ask by closing its standard input, then end its whole group."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        pass  # the group is ended below, whether it listened or not
    _end_group(process.pid)
    process.wait()
    process.stdout.close()


def _end_group(group: int) -> None:
    """Kill what is left of a process group; it has usually gone by itself."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # gone; macOS says EPERM for a group of zombies
            return
        time.sleep(0.01)


def make_certificate(certificate: Path, key: Path) -> None:
    """Write a self-signed certificate for 127.0.0.1 and localhost that strict verification accepts."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "storagekit test server")])
    now = datetime.now(UTC)
    usage = x509.KeyUsage(True, False, False, False, False, True, False, False, False)  # signatures and certificates
    addresses = [x509.IPAddress(ipaddress.IPv4Address("127.0.0.1")), x509.DNSName("localhost")]
    subject_key = x509.SubjectKeyIdentifier.from_public_key(secret.public_key())
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=7))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .add_extension(subject_key, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_key), critical=False)
        .sign(secret, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key.touch(mode=0o600)
    key.write_bytes(
        secret.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
