"""``toy://``: a whole driver for storagekit in four hooks. Its store is a dictionary of keys and bytes."""

from collections.abc import Iterator

from storagekit import driver, errors
from storagekit.hookspecs import hookimpl
from storagekit.location import Location


class ToyDriver:
    def __init__(self) -> None:
        self.objects: dict[Location, bytes] = {}

    @hookimpl
    def open_read(self, location: Location) -> driver.RangeReader:
        return driver.BytesReader(self.stat(location), self.objects[location])

    @hookimpl
    def open_write(self, location: Location, condition: driver.Condition) -> driver.ObjectWriter:
        def put(body: driver.Body) -> driver.Stat:
            data = self.objects[location] = b"".join(body)
            return driver.Stat(location, size=len(data))

        if condition is not None:
            raise errors.unsupported(location, "a toy store decides no conditions; write without one")
        return driver.WholeObjectWriter(put)

    @hookimpl
    def stat(self, location: Location) -> driver.Stat:
        if location.is_root:
            return driver.Stat(location, "directory")
        if location not in self.objects:
            raise errors.not_found(location)
        return driver.Stat(location, size=len(self.objects[location]))

    @hookimpl(specname="list")
    def entries(
        self, location: Location, recursive: bool, limit: int | None, start_after: str
    ) -> Iterator[driver.Stat]:
        def page(after: str) -> list[driver.Stat]:
            below = [key for key in self.objects if key.container == location.container and key.path > after]
            return [self.stat(key) for key in sorted(below) if key.path.startswith(location.prefix)]

        return driver.sorted_entries(location, recursive, limit, start_after, page)
