"""What storagekit does, shown on a real S3 server; see ``scripts/demo``."""

from __future__ import annotations

import argparse
import io
import os
import secrets
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import storagekit

MiB = 1024 * 1024
# Far enough apart that fetching the headers alone pays; close ones are fetched with what is between them.
MEMBERS, MEMBER_SIZE = 8, 4 * MiB


def heading(text: str) -> None:
    print(f"\n── {text}")


def make_folders(path: str) -> None:
    """A file system wants a file's folder first. S3 does not, and not every server of it can keep an empty one."""
    with suppress(io.UnsupportedOperation):
        storagekit.makedirs(path, exist_ok=True)


def write_and_read(base: str) -> None:
    heading("Write a text file, and read it line by line")
    with storagekit.open(f"{base}/poem.txt", "w") as file:
        for line in ("The woods are lovely,", "dark and deep,", "but I have promises to keep."):
            file.write(line + "\n")
    with storagekit.open(f"{base}/poem.txt") as file:
        for number, line in enumerate(file, 1):
            print(f"   {number}: {line}", end="")
    print(f"   {storagekit.getsize(f'{base}/poem.txt')} bytes, at {base}/poem.txt")


def list_a_tree(base: str) -> None:
    heading("List a tree")
    make_folders(f"{base}/tree/plants/ferns")
    for path in ("plants/oak.txt", "plants/ferns/bracken.txt", "plants/ferns/maidenhair.txt", "stones.txt"):
        with storagekit.open(f"{base}/tree/{path}", "w") as file:
            file.write(path)
    for folder, _, files in storagekit.walk(f"{base}/tree"):
        depth = folder.removeprefix(base).count("/")
        print(f"   {'   ' * (depth - 1)}{folder.rstrip('/').rpartition('/')[2]}/")
        for name in files:
            print(f"   {'   ' * depth}{name}")
    found = storagekit.glob(f"{base}/tree/**/*.txt", recursive=True)
    print(f"   glob('**/*.txt') finds {len(found)}; isdir('tree/plants') is {storagekit.isdir(f'{base}/tree/plants')}")


def unfinished(base: str) -> None:
    heading("An exception while writing publishes nothing")
    try:
        with storagekit.open(f"{base}/report.csv", "w") as file:
            file.write("half of it\n")
            raise RuntimeError("the program fails here")
    except RuntimeError as error:
        print(f"   {error}; exists('report.csv') is {storagekit.exists(f'{base}/report.csv')}")
        print("   (The warning is storagekit's: bytes that were written are never dropped in silence.)")


def tar_member(base: str) -> None:
    heading("Read one member of a tar file, without fetching the file")
    with storagekit.open(f"{base}/archive.tar", "wb") as out, tarfile.open(fileobj=out, mode="w|") as tar:
        for number in range(MEMBERS):
            member = tarfile.TarInfo(f"member-{number:02}.bin")
            member.size = MEMBER_SIZE
            tar.addfile(member, io.BytesIO(bytes([number]) * MEMBER_SIZE))
    size = storagekit.getsize(f"{base}/archive.tar")
    # A Storage of its own, for its counters; storagekit.open is the same method of a default one.
    with storagekit.Storage() as storage:
        started = time.perf_counter()
        with storage.open(f"{base}/archive.tar", "rb") as file, tarfile.open(fileobj=file) as tar:
            extracted = tar.extractfile(f"member-{MEMBERS - 1:02}.bin")
            assert extracted is not None
            first = extracted.read(16)
        seconds = time.perf_counter() - started
        info = storage.cache_info()
    print(f"   the first bytes of the last member: {first.hex(' ', 4)}")
    print(f"   the tar has {size:,} bytes; tarfile looked into all {MEMBERS} headers; {seconds:.2f} s")
    if info.requests:
        print(f"   fetched: {info.fetched:,} bytes ({100 * info.fetched / size:.0f} %) in {info.requests} requests")


STEPS: list[Callable[[str], None]] = [write_and_read, list_a_tree, tar_member, unfinished]


def tour(base: str) -> None:
    """Every step below *base*, and then remove what they made."""
    if base.startswith("file://"):
        storagekit.mkdir(base)
    try:
        for step in STEPS:
            step(base)
    except BaseException:
        with suppress(OSError):  # the first error is the one to show
            remove(base)
        raise
    remove(base)
    print(f"\n   Removed {base} again.")


def remove(base: str) -> None:
    if storagekit.exists(base):
        storagekit.rmtree(base)


@contextmanager
def server_on_this_machine() -> Iterator[str]:
    """A bucket on an S3 server that runs on loopback, which boto3 finds through the environment."""
    from storagekit_conformance.servers import rclone_server

    with rclone_server() as server:
        environment = server.environment()
        os.environ.clear()
        os.environ.update(environment)
        print(f"An S3 server (rclone serve s3) runs at {server.endpoint}. AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and")
        print("AWS_SECRET_ACCESS_KEY are set to it: storagekit finds it as every program of boto3's does.")
        yield f"s3://{server.new_bucket()}"


def main() -> int:
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # in order with the warnings
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("url", nargs="?", help="where to work, for example s3://my-bucket/prefix")
    url = parser.parse_args().url
    name = f"storagekit-demo-{secrets.token_hex(4)}"
    if url:
        # A plain path goes to Python's own open, which publishes what is unfinished; file:// does not.
        top = url if "://" in url else f"file://{os.path.abspath(url)}"
        base = f"{top.rstrip('/')}/{name}"
        print(f"Everything is made below {base}, and removed again.")
        try:
            tour(base)
        except OSError as error:
            print(f"\n{type(error).__name__}: {error}", file=sys.stderr)
            return 1
        return 0
    with server_on_this_machine() as bucket:
        tour(f"{bucket}/{name}")
    with tempfile.TemporaryDirectory() as folder:
        heading("The same functions on a local folder")
        print("   Nothing in the program changes but the path.")
        tour(f"file://{folder}/{name}")
    print("\nIn a bucket of your own, with the credentials that boto3 finds (environment, profile, role):")
    print("   scripts/demo s3://my-bucket/prefix")
    return 0


if __name__ == "__main__":
    sys.exit(main())
