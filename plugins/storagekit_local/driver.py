"""``file://``: the files of the operating system, through the same hooks as any store.

Plain paths never come here: ``storagekit`` gives them to the builtins. The URL form exists so that one program can
be pointed at a folder or a bucket, and so it promises what a store promises where a file system can: a file
is published whole (see ``writing``), a listing is sorted (see ``listing``), and every error names the URL.

Directories are real, and the operating system resolves ``//``, ``.`` and ``..``. A file system decides no change on
a condition other than "there is nothing yet"; that a file is still the same version is decided among the writers of
this library (see ``writing``), and no removal under that condition is offered.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from typing import IO, Literal

from storagekit import errors
from storagekit.driver import Condition, Matches, ObjectWriter, RangeReader, Stat, Traits, Upload
from storagekit.hookspecs import hookimpl
from storagekit.location import Location
from storagekit_local.listing import list_directory, list_partials
from storagekit_local.paths import identity_of, os_path, parse_file_url, reported, stat_of
from storagekit_local.reading import FileReader, open_regular
from storagekit_local.writing import SealedWriter, is_partial, open_straight, open_writer

__all__ = ["LocalDriver"]

_COPY_CHUNK = 1024 * 1024


class LocalDriver:
    """The hooks of ``file://``; it keeps no state."""

    @hookimpl
    def parse(self, url: str) -> Location:
        return parse_file_url(url)

    @hookimpl
    def traits(self) -> Traits:
        return Traits(
            empty_directories=True,
            exclusive_create=True,
            conditional_replace=True,
            ranged_reads=True,
            sorted_listing=True,
            server_copy=True,
            atomic_rename=True,
        )

    @hookimpl
    def diagnose(self, location: Location) -> Sequence[str]:
        return [f"the local path {os_path(location)}", f"which is {os.path.realpath(os_path(location))}"]

    # reading

    @hookimpl
    def open_file(self, location: Location, mode: Literal["rb"], buffering: int) -> IO[bytes]:
        with reported(location):
            return open(os_path(location), mode, buffering)

    @hookimpl
    def open_read(self, location: Location, head: int) -> RangeReader:
        return FileReader(location, head)

    @hookimpl
    def stat(self, location: Location) -> Stat:
        with reported(location):
            return stat_of(location, os.stat(os_path(location)))

    @hookimpl(specname="list")
    def entries(self, location: Location, recursive: bool, limit: int | None, start_after: str) -> Iterator[Stat]:
        return list_directory(location, recursive, limit, start_after)

    # changing

    @hookimpl
    def open_write(self, location: Location, condition: Condition) -> ObjectWriter:
        return open_writer(location, condition)

    @hookimpl
    def open_edit(self, location: Location, base: Stat) -> ObjectWriter:
        assert base.identity is not None  # every regular file has one
        return open_writer(location, Matches(base.identity), base)

    @hookimpl
    def open_in_place(self, location: Location, appending: bool) -> ObjectWriter:
        return open_straight(location, appending)

    @hookimpl
    def delete(self, location: Location, condition: Condition) -> Literal[True]:
        if condition is not None:
            raise errors.unsupported(location, "files cannot be removed on a condition in one step")
        path = os_path(location)
        with reported(location):
            try:
                if path.endswith("/"):
                    _remove_directory(path)
                else:
                    os.unlink(path)
            except FileNotFoundError:
                pass
            except PermissionError:
                # What macOS answers for a directory, where Linux says EISDIR.
                if not path.endswith("/") and os.path.isdir(path) and not os.path.islink(path):
                    raise errors.is_a_directory(location) from None
                raise
            except OSError as error:
                if error.errno == errno.ENOTEMPTY and _holds_only_partials(path):
                    hint = "it holds nothing but unfinished writes, which uploads() lists"
                    raise errors.os_error(errno.ENOTEMPTY, location, hint=hint) from error
                raise
        return True

    @hookimpl
    def make_directory(self, location: Location, mode: int) -> Literal[True]:
        with reported(location):
            os.mkdir(os_path(location), mode)
        return True

    @hookimpl
    def rename(self, source: Location, target: Location) -> Stat:
        with reported(source, target):
            os.replace(os_path(source), os_path(target))
        with reported(target):
            try:
                return stat_of(target, os.stat(os_path(target)))
            except FileNotFoundError:  # a link that leads nowhere was renamed
                return stat_of(target, os.lstat(os_path(target)), symlink=True)

    @hookimpl
    def copy(self, source: Stat, target: Location, condition: Condition) -> Stat:
        fd = open_regular(source.location)
        try:
            before = os.fstat(fd)
            if source.identity not in (None, identity_of(before)):
                raise errors.changed(source.location)
            _refuse_same_file(before, source.location, target)
            writer = open_writer(target, condition)
            try:
                with reported(target):
                    if isinstance(writer, SealedWriter):
                        writer.take_mode(before)  # before the bytes: what is private stays so on the way
                    _copy_bytes(fd, writer.fileno())
                if identity_of(os.fstat(fd)) != identity_of(before):
                    raise errors.changed(source.location)
                return writer.commit()
            except BaseException:
                writer.abort()
                raise
        finally:
            os.close(fd)

    @hookimpl
    def touch(self, stat: Stat) -> Stat:
        with reported(stat.location):
            os.utime(os_path(stat.location))
        return self.stat(stat.location)

    # what was left behind

    @hookimpl
    def uploads(self, location: Location) -> Iterator[Upload]:
        return list_partials(location)

    @hookimpl
    def abort_upload(self, upload: Upload) -> Literal[True]:
        if not is_partial(upload.location.name):
            raise errors.invalid(upload.location, "not an unfinished write")
        with reported(upload.location):
            try:
                os.unlink(os_path(upload.location))
            except FileNotFoundError:
                pass
        return True


def _copy_bytes(source: int, target: int) -> None:
    """Copy from one descriptor to the other, from where they stand to the end of the source."""
    if hasattr(os, "copy_file_range"):
        # In the kernel, and on some file systems by sharing blocks. Whatever it cannot do (another file
        # system, a device) is left for the loop below, which goes on from where this stopped.
        try:
            while os.copy_file_range(source, target, 1 << 30):
                pass
        except OSError:
            pass
    while chunk := memoryview(os.read(source, _COPY_CHUNK)):
        while chunk:
            chunk = chunk[os.write(target, chunk) :]


def _remove_directory(path: str) -> None:
    """``os.rmdir`` of a path with its slash, which on some systems would follow a link and remove what it leads to."""
    if os.path.islink(path.rstrip("/")):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    os.rmdir(path)


def _holds_only_partials(path: str) -> bool:
    """True for a directory that looks empty in a listing and is not."""
    try:
        names = os.listdir(path)
    except OSError:
        return False
    return bool(names) and all(map(is_partial, names))


def _refuse_same_file(source: os.stat_result, name: Location, target: Location) -> None:
    """Refuse to copy a file onto itself under another name, as ``shutil`` does: a link would end up beside a copy."""
    try:
        same = os.path.samestat(source, os.stat(os_path(target)))
    except OSError:
        return  # nothing there; what is wrong with the target, opening it says
    if same:
        raise shutil.SameFileError(errno.EINVAL, f"the same file as {name}", target.url)
