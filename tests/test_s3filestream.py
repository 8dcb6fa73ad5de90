"""The seed's four examples, on a real S3 server, each in a process of its own; and what ``"w"`` takes."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import storagekit
from storagekit import s3filestream
from storagekit_conformance.servers import S3Server, rclone_server

BUCKET = "my-test-bucket"

READING = """
from storagekit.s3filestream import open

with open('s3://my-test-bucket/path/to/file') as fd:
    for line in fd:
        # do something with line
        print(line)
"""

WRITING = """
from storagekit.s3filestream import open

filepath = 's3://my-test-bucket/path/to/file'
with open(filepath, 'w') as fd:
    for i in range(1000):
        fd.write(f'{i}\\n'.encode('utf-8'))
"""

ITERATING = """
from storagekit.s3filestream import open, listdir, isdir, isfile, path_exists

def list_dir_recursive(dirname):
    for filename in listdir(dirname):
        filepath = dirname + filename
        if isdir(filepath):
            # Recurse into directories
            list_dir_recursive(filepath + '/')
        else:
            # Print file contents
            with open(filepath) as fd:
                print(filepath + ':')
                for line in fd:
                    print(line)

basedir = 's3://my-test-bucket/path/to/directory/'

if path_exists(basedir):
    list_dir_recursive(basedir)
"""

EXTRACTING = """
from storagekit.s3filestream import open
import tarfile
import random

with open('s3://my-test-bucket/path/to/test-data.tar', 'rb') as fd:
    with tarfile.open(fileobj=fd) as tardata:
        names = tardata.getnames()
        print(names)
        # Extract and print a random file
        compressedfile = tardata.extractfile(random.choice(names))
        print(compressedfile.read())
"""


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with rclone_server() as running:
        running.client().create_bucket(Bucket=BUCKET)
        yield running


Put = Callable[[str, bytes], None]


@pytest.fixture
def put(server: S3Server) -> Iterator[Put]:
    """Put an object into the bucket, by other means than ours; the bucket is empty again afterwards."""
    client = server.client()
    yield lambda key, data: client.put_object(Bucket=BUCKET, Key=key, Body=data)
    for item in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=item["Key"])


def run(code: str, server: S3Server, folder: Path) -> str:
    """What the program *code* prints; it finds the server through its environment, as any program of boto3's would."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        env=server.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_reading(server: S3Server, put: Put, tmp_path: Path) -> None:
    put("path/to/file", "eins\nzwei\ndrei ü\n".encode())
    assert run(READING, server, tmp_path) == "eins\n\nzwei\n\ndrei ü\n\n"


def test_writing(server: S3Server, put: Put, tmp_path: Path) -> None:
    assert run(WRITING, server, tmp_path) == ""
    written = server.client().get_object(Bucket=BUCKET, Key="path/to/file")["Body"].read()
    assert written == b"".join(b"%d\n" % i for i in range(1000))


def test_iterating_files_in_a_directory(server: S3Server, put: Put, tmp_path: Path) -> None:
    for key in ("a", "b/c", "b/d/e"):
        put(f"path/to/directory/{key}", f"in {key}\n".encode())
    top = f"s3://{BUCKET}/path/to/directory"
    assert run(ITERATING, server, tmp_path) == (f"{top}/a:\nin a\n\n{top}/b/c:\nin b/c\n\n{top}/b/d/e:\nin b/d/e\n\n")


def test_iterating_a_directory_that_does_not_exist(server: S3Server, tmp_path: Path) -> None:
    code = ITERATING.replace("path/to/directory", "path/to/nothing")
    assert run(code, server, tmp_path) == ""


def test_extracting_files_from_a_tar_file(server: S3Server, put: Put, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("first", "second"):
            member = tarfile.TarInfo(name)
            member.size = 3
            tar.addfile(member, io.BytesIO(b"tar"))
    put("path/to/test-data.tar", buffer.getvalue())
    assert run(EXTRACTING, server, tmp_path) == "['first', 'second']\nb'tar'\n"


def test_it_exports_the_seeds_five_names() -> None:
    assert sorted(s3filestream.__all__) == ["isdir", "isfile", "listdir", "open", "path_exists"]


@pytest.mark.parametrize("root", ["memory://s3filestream", "{folder}", "file://{folder}"])
def test_a_text_file_takes_bytes_and_str_alike(root: str, tmp_path: Path) -> None:
    path = root.format(folder=tmp_path) + "/mixed"
    with s3filestream.open(path, "w") as file:
        file.write("ä1\n")
        file.write("ä2\n".encode())
        file.write(bytearray(b"3\n"))
        file.write(memoryview(b"4\n"))
        file.write("5\n")
    with storagekit.open(path, encoding="utf-8") as text:
        assert text.read() == "ä1\nä2\n3\n4\n5\n"
    storagekit.remove(path)


def test_what_is_neither_bytes_nor_str_is_refused() -> None:
    path = "memory://s3filestream/neither"
    with s3filestream.open(path, "w") as file:
        with pytest.raises(TypeError):
            file.write(1)
        file.write("kept")
    assert storagekit.getsize(path) == 4


def test_an_exception_publishes_nothing() -> None:
    path = "memory://s3filestream/unfinished"
    with contextlib.suppress(ZeroDivisionError), s3filestream.open(path, "w") as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert not s3filestream.path_exists(path)


def test_reading_gives_str_and_binary_gives_bytes() -> None:
    path = "memory://s3filestream/read"
    with s3filestream.open(path, "wb") as out:
        out.write(b"line\n")
    with s3filestream.open(path) as file:
        assert list(file) == ["line\n"]
    with s3filestream.open(path, "rb") as raw:
        assert raw.read() == b"line\n"
    assert s3filestream.isfile(path)
    assert s3filestream.isdir("memory://s3filestream")
    assert "read" in s3filestream.listdir("memory://s3filestream")


def test_storagekit_itself_is_strict() -> None:
    path = "memory://s3filestream/strict"
    with storagekit.open(path, "w") as file:
        with pytest.raises(TypeError):
            file.write(b"bytes")  # type: ignore[call-overload,arg-type,unused-ignore]
        file.write("text")
    with storagekit.open(path) as text:
        assert text.read() == "text"


def test_open_takes_its_arguments_by_position_as_the_builtin_does(tmp_path: Path) -> None:
    for url in ("memory://by-position/key", str(tmp_path / "file")):
        with s3filestream.open(url, "w", 1, "utf-16") as file:
            assert file.mode == "w"
            file.write("text\n")
        with s3filestream.open(url, "r", -1, "utf-16") as file:
            assert file.read() == "text\n"
        with pytest.raises(ValueError, match="unbuffered"):
            s3filestream.open(url, "w", 0)
