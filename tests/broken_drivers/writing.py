"""Broken drivers: what goes wrong while an object is written."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from broken_drivers.defects import defect
from storagekit import errors
from storagekit.driver import (
    Absent,
    Body,
    Condition,
    Matches,
    ObjectWriter,
    Options,
    Stat,
    Upload,
    body_size,
)
from storagekit.hookspecs import hookimpl
from storagekit.location import Location
from storagekit_memory.driver import MemoryDriver


class Wrapped(ObjectWriter):
    """The honest writer, for a broken one to differ from in one place."""

    def __init__(self, driver: MemoryDriver, location: Location, options: Options, condition: Condition) -> None:
        self.driver, self.location = driver, location
        self.inner = MemoryDriver.open_write(driver, location, options, condition)

    def part_size(self, number: int, /) -> int:
        return self.inner.part_size(number)

    def put(self, body: Body, /) -> Stat:
        return self.inner.put(body)

    def write_part(self, number: int, offset: int, body: Body, /) -> None:
        self.inner.write_part(number, offset, body)

    def commit(self) -> Stat:
        return self.inner.commit()

    def abort(self) -> None:
        self.inner.abort()


class Writes(MemoryDriver):
    """A driver with another writer."""

    Writer: type[Wrapped] = Wrapped

    @hookimpl
    def open_write(self, location: Location, options: Options, condition: Condition) -> ObjectWriter:
        return self.Writer(self, location, options, condition)


@defect("sealing.exception", "driver.abort", "sealing.discard")
class PublishesOnException(Writes):
    """What was sent before an exception becomes the object."""

    class Writer(Wrapped):
        def abort(self) -> None:
            if getattr(self.inner, "_parts", None):
                self.inner.commit()


@defect("sealing.garbage", "sealing.discard", "sealing.exception", "driver.abort")
class PublishesOnCollection(Writes):
    """A writer that nobody closed publishes when it is collected."""

    class Writer(Wrapped):
        def __init__(self, driver: MemoryDriver, location: Location, options: Options, condition: Condition) -> None:
            super().__init__(driver, location, options, condition)
            self.sent: list[bytes] = []
            self.done = False

        def write_part(self, number: int, offset: int, body: Body, /) -> None:
            super().write_part(number, offset, body)
            self.sent.append(b"".join(body))

        def commit(self) -> Stat:
            self.done = True
            return super().commit()

        def __del__(self) -> None:
            if self.sent and not self.done:
                self.driver._publish(self.location, b"".join(self.sent), {}, None)


@defect("driver.parts", "writing.visible-at-close", "writing.flush")
class ShowsParts(Writes):
    """Every part is visible as soon as it was sent."""

    class Writer(Wrapped):
        def write_part(self, number: int, offset: int, body: Body, /) -> None:
            super().write_part(number, offset, body)
            self.driver._publish(self.location, b"".join(body), {}, None)


@defect("driver.parts", "writing.sizes")
class SwallowsTheErrorOfPartTwo(Writes):
    """Part 2 fails, the error is swallowed, and the object is published without it."""

    class Writer(Wrapped):
        def write_part(self, number: int, offset: int, body: Body, /) -> None:
            try:
                if number == 2:
                    raise ConnectionResetError
                super().write_part(number, offset, body)
            except ConnectionError:
                super().write_part(number, offset, [bytes(body_size(body))])


@defect("driver.parts", "writing.sizes")
class JoinsPartsAsTheyCome(Writes):
    """Parts are put together in the order of their arrival."""

    class Writer(Wrapped):
        def write_part(self, number: int, offset: int, body: Body, /) -> None:
            parts: dict[int, bytes] = self.inner._parts  # type: ignore[attr-defined]
            end = sum(len(part) for part in parts.values())
            super().write_part(number, end, body)


@defect("driver.absent", "writing.exclusive-late", "writing.exclusive-existing")
class ClosesWellAfterARefusal(Writes):
    """The store refused the write, and close() reports success."""

    class Writer(Wrapped):
        def put(self, body: Body, /) -> Stat:
            try:
                return super().put(body)
            except OSError:
                return self.driver.stat(self.location)


@defect("driver.head", "writing.empty", "driver.put", "writing.sizes", "changes.touch-new")
class WritesNoEmptyObject(Writes):
    """An object is made with its first byte, so an empty one is never made."""

    class Writer(Wrapped):
        def put(self, body: Body, /) -> Stat:
            if any(map(len, body)):
                return super().put(body)
            return Stat(self.location, size=0)


@defect("driver.matches-race", "writing.overwrite", "driver.put")
class KeepsTheOldTail(Writes):
    """A shorter object is written over a longer one, whose end stays."""

    class Writer(Wrapped):
        def put(self, body: Body, /) -> Stat:
            container = self.driver._containers.get(self.location.container)
            old = container.objects.get(self.location.path) if container else None
            new = b"".join(body)
            return super().put([new, old.data[len(new) :]] if old else [new])


@defect("driver.parts", "driver.put")
class AbortRemovesWhatWasPublished(Writes):
    """Cleaning up after a successful write removes the object."""

    class Writer(Wrapped):
        def abort(self) -> None:
            super().abort()
            MemoryDriver.delete(self.driver, self.location, None)


@defect("driver.put", "driver.parts", "stat.identity", "driver.matches")
class AnswersWithAnotherIdentity(Writes):
    """The ETag in the answer to a write is not the one that the object then has."""

    class Writer(Wrapped):
        def put(self, body: Body, /) -> Stat:
            return replace(super().put(body), identity="d41d8cd98f00b204e9800998ecf8427e")


@defect("driver.absent", "writing.exclusive-existing", "writing.exclusive-late")
class IgnoresExclusive(MemoryDriver):
    """It takes the condition that nothing is there yet, and overwrites."""

    @hookimpl
    def open_write(self, location: Location, options: Options, condition: Condition) -> ObjectWriter:
        return super().open_write(location, options, None if isinstance(condition, Absent) else condition)


@defect("writing.exclusive-late", "driver.absent")
class LooksAtOpenOnly(MemoryDriver):
    """Exclusive creation is decided by a look at open(), and not when the object is published."""

    @hookimpl
    def open_write(self, location: Location, options: Options, condition: Condition) -> ObjectWriter:
        if isinstance(condition, Absent):
            try:
                self.stat(location)
            except FileNotFoundError:
                return super().open_write(location, options, None)
            raise errors.exists(location)
        return super().open_write(location, options, condition)


@defect("concurrency.exclusive-race")
class LooksThenWrites(Writes):
    """It looks and then writes, in two steps: of racing writers several win."""

    class Writer(Wrapped):
        def __init__(self, driver: MemoryDriver, location: Location, options: Options, condition: Condition) -> None:
            super().__init__(driver, location, options, None if isinstance(condition, Absent) else condition)
            self.exclusive = isinstance(condition, Absent)

        def look(self) -> None:
            container = self.driver._containers.get(self.location.container)
            if self.exclusive and container and self.location.path in container.objects:
                raise errors.exists(self.location)
            time.sleep(0.02 * self.exclusive)

        def put(self, body: Body, /) -> Stat:
            self.look()
            return super().put(body)

        def commit(self) -> Stat:
            self.look()
            return super().commit()


@defect("driver.matches")
class IgnoresMatchesOnWrite(MemoryDriver):
    """A write under If-Match overwrites whatever is there: a lost update."""

    @hookimpl
    def open_write(self, location: Location, options: Options, condition: Condition) -> ObjectWriter:
        return super().open_write(location, options, None if isinstance(condition, Matches) else condition)


@defect("updating.conflict", "updating.race")
class EditsWithoutLooking(MemoryDriver):
    """An edit overwrites whatever has become of the object since it was opened."""

    @hookimpl
    def open_edit(self, location: Location, options: Options, base: Stat) -> ObjectWriter:
        return super().open_write(location, {**base.extra, **options}, None)


@defect("updating.kept")
class EditsForget(MemoryDriver):
    """An edit leaves the metadata of the old version behind."""

    @hookimpl
    def open_edit(self, location: Location, options: Options, base: Stat) -> ObjectWriter:
        return super().open_write(location, options, Matches(str(base.identity)))


@defect("updating.large", "updating.as-the-builtin")
class CopiesOneByteTooMany(MemoryDriver):
    """It takes the end of a part that is copied for the last byte, as HTTP does."""

    class Writer(Wrapped):
        copies = (1, 1 << 20)

        def copy_part(self, number: int, offset: int, start: int, stop: int, /) -> None:
            data = MemoryDriver.open_read(self.driver, self.location, 1 << 30).head[start : stop + 1]
            self.write_part(number, offset, [data])

    @hookimpl
    def open_edit(self, location: Location, options: Options, base: Stat) -> ObjectWriter:
        return self.Writer(self, location, options, Matches(str(base.identity)))


@defect("driver.conditional-delete")
class IgnoresMatchesOnDelete(MemoryDriver):
    """A delete under If-Match removes whatever is there."""

    @hookimpl
    def delete(self, location: Location, condition: Condition) -> Literal[True]:
        return super().delete(location, None)


@defect("sealing.uploads", "driver.abort", "sealing.exception", "sealing.garbage", "sealing.discard")
class LeaksUploads(Writes):
    """Giving a write up leaves its unfinished upload in the store."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: dict[str, Upload] = {}

    class Writer(Wrapped):
        def write_part(self, number: int, offset: int, body: Body, /) -> None:
            super().write_part(number, offset, body)
            upload = Upload(self.location, f"upload-{id(self)}")
            self.driver.begun[upload.upload_id] = upload  # type: ignore[attr-defined]

        def commit(self) -> Stat:
            self.driver.begun.pop(f"upload-{id(self)}", None)  # type: ignore[attr-defined]
            return super().commit()

    @hookimpl
    def uploads(self, location: Location) -> Iterator[Upload]:
        return iter([u for u in self.begun.values() if u.location.path.startswith(location.path)])

    @hookimpl
    def abort_upload(self, upload: Upload) -> Literal[True]:
        self.begun.pop(upload.upload_id, None)
        return True
