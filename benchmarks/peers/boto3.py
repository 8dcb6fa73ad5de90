"""boto3: the body of ``get_object``, which is one stream, and the transfer functions, which use ranges and threads."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from benchmarks.peers.base import CHUNK, MiB, NotOfferedError, Peer, Sink

__all__ = ["Boto3", "Boto3Download", "Boto3DownloadTuned"]


class Boto3(Peer):
    """The plain client."""

    imports = "boto3"

    def set_up(self) -> None:
        import boto3
        from botocore.config import Config

        # Threads wait for one of ten connections by default, and botocore then warns and recommends this.
        self.client = boto3.client("s3", endpoint_url=self.place.endpoint, config=Config(max_pool_connections=64))

    def _where(self, key: str) -> dict[str, str]:
        return {"Bucket": self.place.bucket, "Key": self.place.key(key)}

    def open(self, key: str) -> Any:
        return self.client.get_object(**self._where(key))["Body"]

    def open_random(self, key: str) -> Any:
        return io.BufferedReader(_Ranges(self.client, self._where(key)))

    @contextmanager
    def open_text(self, key: str) -> Iterator[Iterable[str]]:
        with closing(self.client.get_object(**self._where(key))["Body"]) as body:
            yield (line.decode() for line in body.iter_lines(CHUNK, keepends=True))

    def write_through(self, key: str, chunks: Iterable[bytes]) -> None:
        self.client.upload_fileobj(_Chunks(chunks), self.place.bucket, self.place.key(key))

    def write(self, key: str, data: bytes) -> None:
        self.client.put_object(**self._where(key), Body=data)

    def list_flat(self, prefix: str) -> list[str]:
        skip = len(self.place.prefix)
        return [entry["Key"][skip:] for page in self._pages(prefix) for entry in page.get("Contents", ())]

    def list_folders(self, prefix: str) -> list[str]:
        skip = len(self.place.prefix)
        found, folders = [], [prefix]
        while folders:
            for page in self._pages(folders.pop(), Delimiter="/"):
                found += [entry["Key"][skip:] for entry in page.get("Contents", ())]
                folders += [entry["Prefix"][skip:] for entry in page.get("CommonPrefixes", ())]
        return found

    def _pages(self, prefix: str, **arguments: str) -> Iterable[Any]:
        paginator = self.client.get_paginator("list_objects_v2")
        pages: Iterable[Any] = paginator.paginate(Bucket=self.place.bucket, Prefix=self.place.key(prefix), **arguments)
        return pages


class Boto3Download(Boto3):
    """``download_fileobj`` and ``upload_fileobj``, which cut an object into ranges of 8 MiB for ten threads."""

    settings: dict[str, Any] = {}  # noqa: RUF012 (nobody changes it)

    def set_up(self) -> None:
        from boto3.s3.transfer import TransferConfig

        super().set_up()
        self._config = TransferConfig(**self.settings)

    def open(self, key: str) -> Any:
        # It writes into a file; there is none to read from.
        raise NotOfferedError

    def open_random(self, key: str) -> Any:
        raise NotOfferedError

    def open_text(self, key: str) -> Any:
        raise NotOfferedError

    def read_through(self, key: str, sink: Sink) -> None:
        self.client.download_fileobj(self.place.bucket, self.place.key(key), _File(sink), Config=self._config)

    def read(self, key: str) -> Any:
        file = io.BytesIO()
        self.client.download_fileobj(self.place.bucket, self.place.key(key), file, Config=self._config)
        return file.getbuffer()

    def write_through(self, key: str, chunks: Iterable[bytes]) -> None:
        self.client.upload_fileobj(_Chunks(chunks), self.place.bucket, self.place.key(key), Config=self._config)


class Boto3DownloadTuned(Boto3Download):
    """Larger ranges and more of them, as the guide recommends for a fast network.

    https://docs.aws.amazon.com/boto3/latest/guide/s3.html (``max_concurrency``, ``multipart_chunksize``): 16 ranges of
    16 MiB keep 16 connections busy; pieces of a MiB go to the file rather than of 256 KiB.
    """

    settings = {"multipart_chunksize": 16 * MiB, "max_concurrency": 16, "io_chunksize": MiB}  # noqa: RUF012


class _File:
    """A file without ``seek``, so that what is written into it comes in order."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def write(self, data: Any) -> int:
        self._sink(data)
        return len(data)


class _Chunks:
    """A file without ``seek`` over chunks that somebody makes."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._left = b""

    def read(self, size: int = -1) -> bytes:
        pieces, missing = [], size
        while missing:
            self._left = self._left or next(self._chunks, b"")
            if not self._left:
                break
            piece = self._left if missing < 0 else self._left[:missing]
            self._left = self._left[len(piece) :]
            pieces.append(piece)
            missing -= len(piece) if missing > 0 else 0
        return b"".join(pieces)


class _Ranges(io.RawIOBase):
    """A file of ranged GETs, as the answers on the web recommend for ``zipfile`` over boto3."""

    def __init__(self, client: Any, where: dict[str, str]) -> None:
        self._client, self._where = client, where
        self._place = 0
        self._size = client.head_object(**where)["ContentLength"]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._place = offset + (0, self._place, self._size)[whence]
        return self._place

    def readinto(self, buffer: Any, /) -> int:
        stop = min(self._place + len(buffer), self._size)
        if stop <= self._place:
            return 0
        answer = self._client.get_object(**self._where, Range=f"bytes={self._place}-{stop - 1}")
        data = answer["Body"].read()
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)
