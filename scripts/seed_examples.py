"""The four examples with which this library was first described, as a program that runs.

They are kept as they were written, word for word, but for what was wrong in the third one (a missing
parenthesis, ``isdir`` not imported, ``list_dir`` called where ``list_dir_recursive`` is meant,
``basedir`` used where the argument is meant, and names joined by hand).

The bucket is real for as long as the program runs: an S3 server on this machine. storagekit finds it as
boto3 does, through the environment.
"""

from __future__ import annotations

import io
import os
import random
import tarfile

from storagekit.s3filestream import isdir, listdir, open, path_exists
from storagekit_conformance.servers import rclone_server


def reading() -> None:
    with open("s3://my-test-bucket/path/to/file") as fd:
        for line in fd:
            # do something with line
            print(line)


def writing() -> None:
    filepath = "s3://my-test-bucket/path/to/file"
    with open(filepath, "w") as fd:
        for i in range(1000):
            fd.write(f"{i}\n".encode("utf-8"))  # noqa: UP012 (as it was written)


def iterating_files_in_a_directory() -> None:
    def list_dir_recursive(dirname: str) -> None:
        for filename in listdir(dirname):
            filepath = dirname + filename
            if isdir(filepath):
                # Recurse into directories
                list_dir_recursive(filepath + "/")
            else:
                # Print file contents
                with open(filepath) as fd:
                    print(filepath + ":")
                    for line in fd:
                        print(line)

    basedir = "s3://my-test-bucket/path/to/directory/"

    if path_exists(basedir):
        list_dir_recursive(basedir)


def extracting_files_from_a_tar_file() -> None:
    with open("s3://my-test-bucket/path/to/test-data.tar", "rb") as fd, tarfile.open(fileobj=fd) as tardata:
        names = tardata.getnames()
        print(names)
        # Extract and print a random file
        compressedfile = tardata.extractfile(random.choice(names))
        assert compressedfile is not None
        print(compressedfile.read())


def prepare() -> None:
    """What the examples expect to find in the bucket."""
    for path, text in {"a": "in a\n", "b/c": "in c\n", "b/d/e": "in e\n"}.items():
        with open(f"s3://my-test-bucket/path/to/directory/{path}", "w") as fd:
            fd.write(text)
    with open("s3://my-test-bucket/path/to/test-data.tar", "wb") as fd, tarfile.open(fileobj=fd, mode="w") as tar:
        for name in ("first", "second", "third"):
            member = tarfile.TarInfo(name)
            member.size = len(name)
            tar.addfile(member, io.BytesIO(name.encode()))


def main() -> None:
    with rclone_server() as server:
        environment = server.environment()
        os.environ.clear()
        os.environ.update(environment)
        server.client().create_bucket(Bucket="my-test-bucket")
        prepare()
        for example in writing, reading, iterating_files_in_a_directory, extracting_files_from_a_tar_file:
            print(f"# {example.__name__.replace('_', ' ')}")
            example()


if __name__ == "__main__":
    main()
