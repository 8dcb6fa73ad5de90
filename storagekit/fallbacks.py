"""Fallbacks: what a driver left out, done with what it has, or refused loudly.

One object of this class is registered behind each driver (``trylast``), so pluggy reaches it only
when the driver does not implement a hook. ``copy`` and ``rename`` have no fallback here: they
need streams and threads, and ``changes`` does them.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from storagekit.driver import Matches, ObjectWriter, Option, Options, Stat, Traits, Upload
from storagekit.errors import os_error, unsupported
from storagekit.findings import Finding
from storagekit.hookspecs import hookimpl
from storagekit.location import Location, parse_location

__all__ = ["Fallbacks"]


class Fallbacks:
    """The optional hooks, out of the required ones of the same driver."""

    def __init__(self, hooks: Any, driver: str, *, removes: bool) -> None:
        self._hooks = hooks
        self._driver = driver
        self._removes = removes

    def _refuse(self, what: str, where: object) -> OSError:
        return unsupported(where, f"the driver {self._driver} cannot {what}")

    @hookimpl(trylast=True)
    def known_options(self) -> Sequence[Option]:
        return ()

    @hookimpl(trylast=True)
    def traits(self) -> Traits:
        # What a flat list of keys amounts to; every other promise must be the driver's own.
        return Traits(implicit_directories=True)

    @hookimpl(trylast=True)
    def parse(self, url: str) -> Location:
        return parse_location(url)

    @hookimpl(trylast=True)
    def open_edit(self, location: Location, options: Options, base: Stat) -> ObjectWriter | None:
        # A driver that knows nothing of conditions may not even take the argument.
        traits = self._hooks.traits(location=location, options=options)
        if base.identity is None or not traits.conditional_replace:
            raise self._refuse("tell whether an object is still the same version, so write it anew", location)
        writer: ObjectWriter | None = self._hooks.open_write(
            location=location, options=options, condition=Matches(base.identity)
        )
        return writer

    @hookimpl(trylast=True)
    def open_in_place(self, location: Location) -> ObjectWriter:
        raise self._refuse("write into what is there", location)

    @hookimpl(trylast=True)
    def delete(self, location: Location) -> Literal[True]:
        if self._removes:  # what it did is not known, so this is no refusal
            text = f"the driver {self._driver} answered None to delete: a hook that did its work returns True"
            raise os_error(errno.EIO, location, text)
        raise self._refuse("remove anything (it has no delete hook)", location)

    @hookimpl(trylast=True)
    def delete_many(self, locations: Sequence[Location], options: Options) -> Sequence[tuple[Location, OSError]]:
        failed = []
        for location in locations:
            try:
                self._hooks.delete(location=location, options=options, condition=None)
            except OSError as error:
                failed.append((location, error))
        return failed

    @hookimpl(trylast=True)
    def make_directory(self, location: Location, options: Options) -> Literal[True]:
        writer = self._hooks.open_write(location=location.directory, options=options, condition=None)
        if writer is None:
            raise self._refuse("write (it answered None to open_write)", location)
        try:
            writer.put([])
        except BaseException:
            writer.abort()
            raise
        return True

    @hookimpl(trylast=True)
    def touch(self, stat: Stat, options: Options) -> Stat:
        raise self._refuse("renew the time of an existing object", stat.location)

    @hookimpl(trylast=True)
    def uploads(self, location: Location) -> Iterator[Upload]:
        raise self._refuse("tell unfinished uploads", location)

    @hookimpl(trylast=True)
    def abort_upload(self, upload: Upload) -> Literal[True]:
        raise self._refuse("abort uploads", upload.location)

    @hookimpl(trylast=True)
    def presign(self, location: Location) -> str:
        raise self._refuse("presign URLs", location)

    @hookimpl(trylast=True)
    def counts(self) -> Mapping[str, int]:
        return {}

    @hookimpl(trylast=True)
    def diagnose(self, location: Location) -> Sequence[str]:
        raise self._refuse("diagnose itself", location)

    @hookimpl(trylast=True)
    def examine(self) -> Iterator[Finding]:
        return iter(())
