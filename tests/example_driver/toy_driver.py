"""``toy://``: a whole driver for storagekit in four hooks. Its store is a dictionary of keys and bytes."""

from collections.abc import Iterator
from itertools import islice

from storagekit.driver import Body, BytesReader, Condition, RangeReader, Stat, WholeObjectWriter, body_size
from storagekit.errors import not_found, unsupported
from storagekit.hookspecs import hookimpl
from storagekit.location import Location


class ToyDriver:
    def __init__(self) -> None:
        self.objects: dict[Location, bytes] = {}

    @hookimpl
    def open_read(self, location: Location) -> RangeReader:
        return BytesReader(self.stat(location), self.objects[location])

    @hookimpl
    def open_write(self, location: Location, condition: Condition) -> "ToyWriter":
        if condition is not None:
            raise unsupported(location, "a toy store decides no conditions; write without one")
        return ToyWriter(self.objects, location)

    @hookimpl
    def stat(self, location: Location) -> Stat:
        if location.is_root:
            return Stat(location, "directory")
        if location not in self.objects:
            raise not_found(location)
        return Stat(location, size=len(self.objects[location]))

    @hookimpl(specname="list")
    def entries(self, location: Location, recursive: bool, limit: int | None, start_after: str) -> Iterator[Stat]:
        found = {}
        for key in sorted(self.objects):
            if key.container == location.container and key.path.startswith(location.prefix):
                segment, slash, _ = key.path[len(location.prefix) :].partition("/")
                stat = self.stat(key) if recursive or not slash else Stat(location.child(segment + slash), "directory")
                found[stat.location] = stat
        return islice((stat for stat in found.values() if stat.location.path > start_after), limit)


class ToyWriter(WholeObjectWriter):
    def __init__(self, objects: dict[Location, bytes], location: Location) -> None:
        super().__init__()
        self.objects, self.location = objects, location

    def put(self, body: Body) -> Stat:
        self.objects[self.location] = b"".join(body)
        return Stat(self.location, size=body_size(body))
