"""obstore: Python over the Rust crate object_store."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from benchmarks.peers.base import POOL, MiB, Peer, RawFile, Sink, gathered, scattered

__all__ = ["Obstore", "ObstoreTuned"]


class Obstore(Peer):
    """As it comes."""

    imports = "obstore, obstore.store"
    buffer_size: int | None = None
    """Of a reader: what it fetches at a time."""

    def set_up(self) -> None:
        import obstore
        from obstore.store import S3Store

        self._module = obstore
        self._store = S3Store(
            self.place.bucket,
            endpoint=self.place.endpoint,
            region=self.place.region,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
        )

    def open(self, key: str) -> Any:
        arguments = {} if self.buffer_size is None else {"buffer_size": self.buffer_size}
        return RawFile(self._module.open_reader(self._store, self.place.key(key), **arguments))

    def read(self, key: str) -> Any:
        return memoryview(self._module.get(self._store, self.place.key(key)).bytes())

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> Sequence[Any]:
        starts, ends = zip(*ranges, strict=True)
        data: list[Any] = self._module.get_ranges(
            self._store, self.place.key(key), starts=list(starts), ends=list(ends)
        )
        return [memoryview(piece) for piece in data]

    def read_many(self, keys: Sequence[str]) -> Iterator[tuple[str, Any]]:
        async def one(key: str) -> Any:
            answer = await self._module.get_async(self._store, self.place.key(key))
            return memoryview(await answer.bytes_async())

        return gathered(one, keys)

    def open_write(self, key: str) -> Any:
        return self._module.open_writer(self._store, self.place.key(key))

    def write(self, key: str, data: bytes) -> None:
        self._module.put(self._store, self.place.key(key), data)

    def write_many(self, objects: Mapping[str, bytes]) -> None:
        scattered(lambda key, data: self._module.put_async(self._store, self.place.key(key), data), objects)

    def list_flat(self, prefix: str) -> list[str]:
        skip = len(self.place.prefix)
        pages = self._module.list(self._store, self.place.key(prefix), chunk_size=1000)
        return [entry["path"][skip:] for page in pages for entry in page]

    def list_folders(self, prefix: str) -> list[str]:
        skip = len(self.place.prefix)
        found, folders = [], [self.place.key(prefix)]
        while folders:
            answer = self._module.list_with_delimiter(self._store, folders.pop())
            found += [entry["path"][skip:] for entry in answer["objects"]]
            folders += answer["common_prefixes"]
        return found


class ObstoreTuned(Obstore):
    """Readers that fetch 8 MiB at a time; and a large object by many ranges at once, in order.

    The docstring of ``open_reader`` says that ``buffer_size`` is the least that one request reads. A reader has one
    request at a time; more at once are calls of ``get_range``, which give the interpreter free, in threads.
    """

    buffer_size = 8 * MiB

    def open_random(self, key: str) -> Any:
        # A jump of 64 KiB in a buffer of 8 MiB would fetch 8 MiB.
        return io.BufferedReader(
            RawFile(self._module.open_reader(self._store, self.place.key(key), buffer_size=64 * 1024)), 64 * 1024
        )

    def read_through(self, key: str, sink: Sink) -> None:
        name = self.place.key(key)
        size = self._module.head(self._store, name)["size"]
        starts = iter(range(0, size, self.buffer_size))
        waiting: deque[Future[Any]] = deque()
        with ThreadPoolExecutor(POOL) as pool:

            def more() -> None:
                if (start := next(starts, None)) is not None:
                    stop = min(size, start + self.buffer_size)
                    waiting.append(pool.submit(self._module.get_range, self._store, name, start=start, end=stop))

            for _ in range(POOL):
                more()
            while waiting:
                sink(memoryview(waiting.popleft().result()))
                more()
