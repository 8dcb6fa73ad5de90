"""The built-in targets: memory, file, and S3 over four servers, one of them also over https, by both transports.

Each S3 target starts its server once per process and gives every test a prefix of its own in one
bucket. What a *server* cannot do stands here as its gaps; no test knows which server it runs against.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from storagekit_conformance.ceph import ceph_server, missing_ceph
from storagekit_conformance.memory_target import memory_target
from storagekit_conformance.s3_target import s3_target
from storagekit_conformance.servers import missing_moto, missing_rclone, moto_server, rclone_server
from storagekit_conformance.swift import missing_swift, swift_server
from storagekit_conformance.target import Client, Root, Target

__all__ = ["TARGETS"]


class _FileClient(Client):
    """The files below a folder, through the builtin functions."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, key: str, data: bytes) -> None:
        path = os.path.join(self._folder, key)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        # As careful programs replace a file: whole, under a new inode.
        descriptor, temporary = tempfile.mkstemp(dir=self._folder)
        with open(descriptor, "wb") as file:
            file.write(data)
        os.replace(temporary, path)

    def get(self, key: str) -> bytes:
        try:
            return Path(self._folder, key).read_bytes()
        except FileNotFoundError:
            raise KeyError(key) from None

    def delete(self, key: str) -> None:
        os.remove(os.path.join(self._folder, key))

    def keys(self) -> list[str]:
        found = []
        for folder, folders, files in os.walk(self._folder):
            below = os.path.relpath(folder, self._folder)
            found += [os.path.normpath(os.path.join(below, name)) for name in files]
            if below != "." and not folders and not files:
                found.append(below + "/")
        return found


@contextmanager
def _file_root() -> Iterator[Root]:
    folder = Path(tempfile.mkdtemp(prefix="storagekit-conformance-")).resolve()
    try:
        yield Root(f"file://{folder}", client=_FileClient(folder), shared=True)
    finally:
        shutil.rmtree(folder)


_MOTO_GAPS: Mapping[str, str] = {
    "names.newline": "moto answers 404 for a key with a newline",
    "names.round-trip/newline": "moto answers 404 for a key with a newline",
}

_MOTO_UNRELIABLE: Mapping[str, str] = {
    "concurrency.exclusive-race/parts": "moto looks and completes in two steps, and other requests come between",
}

_RCLONE_GAPS: Mapping[str, str] = {
    "errors.open-trailing-slash": "rclone answers a GET of f/ with the file f",
    "listing.directory-then-file": "rclone writes a over the directory of a/b, which it then no longer lists",
}

_RCLONE_UNRELIABLE: Mapping[str, str] = {
    "bulk.changing/*": "rclone sends the ETag of one version with the bytes of another, at times",
    "concurrency.changed-while-running": "rclone sends the ETag of one version with the bytes of another, at times",
    "concurrency.replace-is-whole/*": "rclone answers 500 to a GET of an object that is being replaced",
    "concurrency.writers-of-one-object/parts": "rclone answers 500 to one of several writers at its end",
}

_CEPH_UNDECIDED = "Ceph 16 ignores If-None-Match at the end of a multipart upload: the driver refuses x beyond one part"
_CEPH_GAPS: Mapping[str, str] = {
    "concurrency.exclusive-race/parts": _CEPH_UNDECIDED,
    "driver.absent/parts": _CEPH_UNDECIDED,
    "outcomes.lost-exclusive/parts-*": _CEPH_UNDECIDED,
    "writing.exclusive-late/parts": _CEPH_UNDECIDED,
    "writing.exclusive-new/parts": _CEPH_UNDECIDED,
}

# Only where a key has such a character in a directory's name, which not every run makes up.
_CEPH_UNRELIABLE: Mapping[str, str] = {
    "names.round-trip/control": "Ceph 16 answers 500 to a listing whose prefix has a control character",
}

_SWIFT_UNRELIABLE: Mapping[str, str] = {
    "concurrency.replace-is-whole/*": "Swift answers 404 to a GET of an object that is being replaced, now and then",
    "faults.list-later": "Swift removes a page of keys one after the other, which takes longer than the test waits",
}


def _s3_targets() -> Iterator[Target]:
    """Each server over both of the driver's transports: ``NAME`` over the wire, ``NAME-boto3`` through boto3."""
    for ending, transport in (("", "wire"), ("-boto3", "boto3")):
        yield s3_target(
            f"s3-moto{ending}",
            moto_server,
            missing_moto,
            checks_secrets=False,
            gaps=_MOTO_GAPS,
            unreliable=_MOTO_UNRELIABLE,
            transport=transport,
        )
        yield s3_target(
            f"s3-moto-https{ending}",
            lambda: moto_server(tls=True),
            lambda: missing_moto(tls=True),
            checks_secrets=False,
            gaps=_MOTO_GAPS,
            unreliable=_MOTO_UNRELIABLE,
            transport=transport,
        )
        yield s3_target(
            f"s3-rclone{ending}",
            rclone_server,
            missing_rclone,
            checks_secrets=True,
            gaps=_RCLONE_GAPS,
            unreliable=_RCLONE_UNRELIABLE,
            transport=transport,
        )
        yield s3_target(
            f"s3-ceph{ending}",
            ceph_server,
            missing_ceph,
            checks_secrets=True,
            gaps=_CEPH_GAPS,
            unreliable=_CEPH_UNRELIABLE,
            transport=transport,
        )
        yield s3_target(
            f"s3-swift{ending}",
            swift_server,
            missing_swift,
            checks_secrets=True,
            gaps={},
            unreliable=_SWIFT_UNRELIABLE,
            transport=transport,
        )


TARGETS: Mapping[str, Target] = {
    target.name: target for target in (memory_target("memory"), Target("file", _file_root), *_s3_targets())
}
"""The targets that ``--target`` knows by name."""
