"""Changes: remove, copy, rename, touch, one object at a time, and ``rmtree``, which takes a whole prefix.

A rename on a store that has none is a copy, a check and a removal, each bound to the one version that was seen
first: the copy is pinned to it, the target's size is compared, and the source is removed only while it still is
that version. Where the store decides the last condition itself (``conditional_delete``), nobody's change can get
lost. Where it cannot, the source is asked about once more just before it is removed: a write that is published
in the few milliseconds between this question and the removal is lost, and that window is the price of such a
store. Every failure leaves the source alone; it may leave the target replaced, which the error then says.

Copies go through the store itself where it can and else through bounded memory into a writer that
publishes at its end or not at all. Where one side is a plain local path, that side behaves as ``shutil`` has it.

What would be slow or half done if it were called a rename is refused with EXDEV, the error that
programs know from ``os.rename`` between two disks, and which names the way out.
"""

from __future__ import annotations

import errno
import functools
import io
import os
import stat as _stat
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Literal, TypeAlias, overload

from storagekit import errors
from storagekit.backend import Resource
from storagekit.directories import entries_below, rmdir, scandir
from storagekit.driver import Matches, Stat, check_condition
from storagekit.files import EXCLUSIVE, WRITE, Streams
from storagekit.fork_guard import IMPORT_SECONDS, guarded
from storagekit.location import Location
from storagekit.lookup import find_object, isdir, isfile, refuse_directory, status
from storagekit.transfers import Transfers

__all__ = ["copy", "copyfile", "remove", "rename", "rmtree", "touch"]

# What S3 takes in one DeleteObjects request; a store that takes fewer divides it in its driver.
BATCH = 1000

# One read and one write per mebibyte: far above what a call costs, far below what anybody would miss.
CHUNK = 1024 * 1024

# An rmtree that may remove nothing meets one error per object; this many tell the story.
KEPT_ERRORS = 1000

Side: TypeAlias = Resource | str
"""One end of a copy: a resource, or a plain local path."""

OnError: TypeAlias = Callable[[Callable[..., Any], str, tuple[type[OSError], OSError, Any]], object]
OnExc: TypeAlias = Callable[[Callable[..., Any], str, OSError], object]


# ---------------------------------------------------------------- removing


def remove(resource: Resource, missing_ok: bool = False) -> None:
    """Remove one file; ``a``, not what lies below ``a/``.

    Raises ``FileNotFoundError`` unless *missing_ok*, and ``IsADirectoryError`` for a directory. With *missing_ok* it
    is one request, which cannot tell a directory from nothing: it then removes nothing and says nothing. Only a
    path with a trailing slash is looked at in any case, because its key may be a directory's marker.
    """
    location = resource.location
    if not missing_ok or location.path.endswith("/") or location.is_root:
        try:
            find_object(resource)
        except FileNotFoundError:
            if missing_ok:
                return
            if not _is_link(resource):
                raise
        except IsADirectoryError:
            # A link, to a directory or to nowhere, is removed as the file that it is.
            if not _is_link(resource):
                raise
    resource.backend.delete(location, resource.options)


def _is_link(resource: Resource) -> bool:
    """True for a symbolic link. ``stat`` follows links, so the listing above is asked; only real files are links."""
    location = resource.location
    if location.is_root or location.path.endswith("/") or resource.traits.implicit_directories:
        return False
    try:
        with scandir(resource.at(location.parent)) as scan:
            return any(entry.name == location.name and entry.is_symlink() for entry in scan)
    except (FileNotFoundError, NotADirectoryError):
        return False


class _Report:
    """Where the failures of an ``rmtree`` go: nowhere, to the caller's function, or into one error at the end."""

    def __init__(self, resource: Resource, ignore: bool, onerror: OnError | None, onexc: OnExc | None) -> None:
        self._resource = resource
        self._ignore = ignore
        self._onerror = onerror
        self._onexc = onexc
        self._errors: list[OSError] = []
        self._count = 0

    def __call__(self, function: Callable[..., Any], path: str, error: OSError) -> None:
        """Report that *function* failed on *path*; *function*, as the caller gets it, takes a URL."""
        if self._ignore:
            return
        if self._onexc is not None:
            self._onexc(self._again(function), path, error)
        elif self._onerror is not None:
            self._onerror(self._again(function), path, (type(error), error, error.__traceback__))
        else:
            self._count += 1
            if len(self._errors) < KEPT_ERRORS:
                self._errors.append(error)

    def _again(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function as users know it: with the same name, and called with a URL, so that it can be tried again."""

        @functools.wraps(function)
        def call(path: str) -> Any:
            return function(self._resource.at(self._resource.backend.parse(path)))

        return call

    def finish(self) -> None:
        """Raise what was collected: the one error, or one of the first's class that holds them as ``errors``."""
        if not self._errors:
            return
        first = self._errors[0]
        if self._count == 1:
            raise first
        text = f"{first.strerror or first} (the first of {self._count} failures)"
        where = first.filename or self._resource.location
        if isinstance(first, io.UnsupportedOperation):  # a class that no errno leads to
            summary = errors.unsupported(where, text)
        else:
            summary = errors.os_error(first.errno or errno.EIO, where, text)
        summary.errors = tuple(self._errors)  # type: ignore[attr-defined]
        for error in self._errors[1:10]:
            summary.add_note(str(error))
        raise summary from first


@overload
def rmtree(
    resource: Resource,
    ignore_errors: bool = ...,
    onerror: OnError | None = ...,
    onexc: OnExc | None = ...,
    dry_run: Literal[False] = ...,
    transfers: Transfers | None = ...,
) -> None: ...


@overload
def rmtree(
    resource: Resource,
    ignore_errors: bool = ...,
    onerror: OnError | None = ...,
    onexc: OnExc | None = ...,
    *,
    dry_run: Literal[True],
    transfers: Transfers | None = ...,
) -> list[str]: ...


@overload
def rmtree(
    resource: Resource,
    ignore_errors: bool = ...,
    onerror: OnError | None = ...,
    onexc: OnExc | None = ...,
    dry_run: bool = ...,
    transfers: Transfers | None = ...,
) -> list[str] | None: ...


def rmtree(
    resource: Resource,
    ignore_errors: bool = False,
    onerror: OnError | None = None,
    onexc: OnExc | None = None,
    dry_run: bool = False,
    transfers: Transfers | None = None,
) -> list[str] | None:
    """Remove a directory and everything below it; with *dry_run*, change nothing and return the URLs that would go.

    What fails does not stop the rest. *onexc* (function, path, error) or the older *onerror* (function, path,
    ``sys.exc_info()``) is called for each failure, as ``shutil.rmtree`` does; without either, one ``OSError`` is
    raised at the end, of the first failure's class, with them all as its ``errors`` (the first thousand).

    Raises ``FileNotFoundError``; ``NotADirectoryError`` for a file and for a symbolic link; and, whatever is to be
    ignored, ``io.UnsupportedOperation`` for a container.
    """
    location = resource.location
    if location.is_root:
        raise errors.unsupported(
            location,
            "rmtree does not empty a whole container; list it and remove what you mean, one name after another",
        )
    report = _Report(resource, ignore_errors, onerror, onexc)
    going: list[str] | None = [] if dry_run else None
    if resource.traits.implicit_directories:
        _remove_keys(resource, report, going, transfers)
    elif _is_link(resource.at(location.bare)):
        refusal = errors.os_error(errno.ENOTDIR, location, "Not a directory but a symbolic link")
        report(scandir, location.url, refusal)
    else:
        _remove_real(resource, report, going)
    report.finish()
    return going


def _remove_keys(resource: Resource, report: _Report, going: list[str] | None, transfers: Transfers | None) -> None:
    """One flat listing, removed batch by batch as it comes: memory holds a batch, however large the tree."""
    for batch in _batches(resource, report, transfers):
        if going is None:
            _remove_batch(resource, batch, report)
        else:
            going.extend(location.url for location in batch)


def _batches(resource: Resource, report: _Report, transfers: Transfers | None) -> Iterator[list[Location]]:
    """The keys below a directory, by the batch; a failure of the listing is reported and ends it."""
    try:
        found = entries_below(resource, recursive=True, transfers=transfers)
        while batch := [entry.location for entry in islice(found, BATCH)]:
            yield batch
    except OSError as error:
        report(scandir, resource.location.url, error)


def _remove_real(resource: Resource, report: _Report, going: list[str] | None) -> None:
    """Every directory after what is in it; links are removed and never followed."""
    for place, files in _post_order(resource, report):
        directory = place.location.directory
        if going is not None:
            going += [*(location.url for location in files), directory.url]
            continue
        for start in range(0, len(files), BATCH):
            _remove_batch(resource, files[start : start + BATCH], report)
        try:
            place.backend.delete(directory, place.options)
        except OSError as error:
            report(rmdir, directory.url, error)


def _post_order(resource: Resource, report: _Report) -> Iterator[tuple[Resource, list[Location]]]:
    """Each directory with its files, the deepest first; a stack instead of recursion, as in ``walk``."""
    todo: list[tuple[Resource, list[Location] | None]] = [(resource, None)]
    while todo:
        place, files = todo.pop()
        if files is not None:
            yield place, files
            continue
        files, below = [], []
        try:
            with scandir(place) as scan:
                for entry in scan:
                    if entry.is_dir(follow_symlinks=False):
                        below.append(entry.resource)
                    else:  # a link to a directory may be listed with a slash, but it is removed as a file
                        files.append(entry.resource.location.bare)
        except OSError as error:
            report(scandir, place.location.url, error)
            continue
        todo.append((place, files))
        todo.extend((directory, None) for directory in reversed(below))


def _remove_batch(resource: Resource, batch: Sequence[Location], report: _Report) -> None:
    try:
        failed = resource.backend.delete_many(batch, resource.options)
    except OSError as failure:
        failure.filename = resource.location.url  # a batch is about a container, to the store
        report(remove, batch[0].url, failure)
        return
    for location, error in failed:
        report(remove, location.url, error)


# ---------------------------------------------------------------- copying


def copyfile(source: Side, target: Side, streams: Streams) -> str:
    """Copy one file's bytes to exactly *target*, replacing what is there; return the target's path.

    Within one store its metadata goes along. One side may be a plain local path, and is then treated as
    ``shutil.copyfile`` treats it: in particular a local target is written in place.
    Raises ``FileNotFoundError``, ``IsADirectoryError`` for a source or target that is one by its name or nature (on a
    store a file may stand beside a directory of its name, so there a target is one only with its slash), and
    ``shutil.SameFileError``. After a failure a store has no target that was not there before.
    """
    with guarded(IMPORT_SECONDS):
        import shutil  # slow, and most programs copy nothing

    if isinstance(source, str) and isinstance(target, str):
        return shutil.copyfile(source, target)
    if isinstance(target, str):
        assert isinstance(source, Resource)
        with streams.open_reader(source) as reader:
            _write_local(reader, target, source.location.url)
        return target
    refuse_directory(target)
    traits = target.traits
    if traits.implicit_directories and not traits.file_beside_directory and isdir(target):
        # Such a server may well accept the file, and then list nothing of the directory any more.
        raise errors.is_a_directory(target.location)
    if isinstance(source, str):
        _refuse_pipe(source)
        with open(source, "rb", buffering=0) as file, streams.open_writer(target) as writer:
            _pour(file, writer)
    elif source.same_store(target):
        found = find_object(source)
        if source.location == target.location:
            raise shutil.SameFileError(f"{source.location} and {target.location} are the same file")
        if source.backend.copy(found, target.location, target.options) is None:
            _stream(source, target, streams)
    else:
        _stream(source, target, streams)
    return target.location.url


def copy(source: Side, target: Side, streams: Streams) -> str:
    """As ``copyfile``, but into *target* where that is a directory; return the path of what was written."""
    name = os.path.basename(source if isinstance(source, str) else source.location.path)
    if isinstance(target, str):
        if isinstance(source, str):
            import shutil  # slow, and most programs copy nothing

            return shutil.copy(source, target)
        return copyfile(source, os.path.join(target, name) if os.path.isdir(target) else target, streams)
    if name and _is_target_directory(target):
        target = target.at(target.location.child(name))
    return copyfile(source, target, streams)


def _is_target_directory(target: Resource) -> bool:
    location = target.location
    if location.is_root:
        # A container is one without being asked: what is wrong with it, the copy will say. The list of all
        # containers is none to write into; a real root directory is.
        return bool(location.container) or not target.traits.implicit_directories
    return isdir(target)


def _stream(
    source: Resource, target: Resource, streams: Streams, expected: Stat | None = None, if_match: str | None = None
) -> Stat | None:
    """Copy through the client; with *expected*, publish only if the source is still that version at the end.

    The Stat of what was published, where the writer knows it.
    """
    with streams.open_reader(source) as reader, streams.open_writer(target, if_match=if_match) as writer:
        _pour(reader, writer)
        if expected is not None and not _same_version(expected, source.stat()):
            raise errors.changed(source.location)
    return writer.stat


def _pour(reader: io.BufferedReader | io.FileIO, writer: io.BufferedIOBase) -> None:
    buffer = memoryview(bytearray(CHUNK))
    while n := reader.readinto(buffer):
        writer.write(buffer[:n])


def _write_local(reader: io.BufferedReader, target: str, source: str) -> None:
    """Into a plain local path, in place and with its errors, as ``shutil.copyfile`` does."""
    _refuse_pipe(target)
    try:
        # A store of local files gives real ones, and truncating the source would be the end of it.
        same = os.path.samestat(os.fstat(reader.fileno()), os.stat(target))
    except OSError:  # no descriptor, or nothing at the target yet
        same = False
    if same:
        with guarded(IMPORT_SECONDS):
            from shutil import SameFileError  # slow, and most programs copy nothing

        raise SameFileError(f"{source!r} and {target!r} are the same file")
    with open(target, "wb") as file:
        _pour(reader, file)


def _refuse_pipe(path: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return  # opening it says what is wrong
    if _stat.S_ISFIFO(mode):
        from shutil import SpecialFileError  # slow, and most programs copy nothing

        raise SpecialFileError(f"`{path}` is a named pipe")


# ---------------------------------------------------------------- renaming


def rename(source: Side, target: Side, streams: Streams, if_match: str | None = None) -> None:
    """Rename a file, replacing a file at *target*, as ``os.replace`` does; a directory where the store can.

    On a store that cannot rename in one step it is a copy of the version that is there now, a check, and the removal
    of that version. A name onto itself changes nothing, if it exists. Raises ``FileNotFoundError``;
    ``IsADirectoryError`` for a target that is a directory; ``OSError`` (EXDEV) for a directory, and from one store to
    another; ``ObjectChangedError`` where somebody changed the source meanwhile: it is then kept as they left it,
    and *target* may hold the earlier version; ``io.UnsupportedOperation`` for a container. With *if_match* only
    where the target is that version, which no renaming in one step can ask for, so it is copied there too.
    """
    condition = None if if_match is None else Matches(if_match)
    if isinstance(source, str) or isinstance(target, str):
        if isinstance(source, str) and isinstance(target, str) and condition is None:
            return os.replace(source, target)
        raise _crossing(source, target, "renaming does not cross from one store to another")
    if source.location.is_root:
        raise errors.unsupported(source.location, "a container is not renamed through a path")
    if not source.same_store(target):
        raise _crossing(source, target, "renaming does not cross from one store to another")
    in_one_step = source.traits.atomic_rename and condition is None
    if in_one_step and source.backend.rename(source.location, target.location, source.options):
        return None
    if source.location == target.location:
        check_condition(condition, target.location, status(source))
        return None
    return _rename_object(source, target, streams, condition)


def _rename_object(source: Resource, target: Resource, streams: Streams, condition: Matches | None) -> None:
    """Copy, check, remove; see the top of this module for what each step is bound to."""
    try:
        found = find_object(source)
    except IsADirectoryError as error:
        raise _crossing(source, target, "this store renames no directory in one step") from error
    refuse_directory(target)
    if isdir(target) and not isfile(target):
        raise errors.is_a_directory(target.location)
    if not source.backend.removes:  # found out after the copy, it would have cost what was at the target
        text = f"the driver {source.backend.name} neither renames in one step nor removes (it has no delete hook)"
        raise errors.unsupported(source.location, text)
    copied = source.backend.copy(found, target.location, target.options, condition)
    if copied is None:
        copied = _stream(source, target, streams, expected=found, if_match=condition.identity if condition else None)
    if copied is None or copied.size is None:
        copied = target.stat()
    if None not in (found.size, copied.size) and found.size != copied.size:
        text = f"The copy has {copied.size} bytes where the source has {found.size}; the source was kept"
        raise errors.os_error(errno.EIO, target.location, text)
    _remove_version(source, found, target)


def _remove_version(source: Resource, found: Stat, target: Resource) -> None:
    """Remove the source, if it still is the version that was copied."""
    text = f"The object changed while it was renamed, and was kept; {target.location} holds the earlier version"
    try:
        if found.identity is not None and source.traits.conditional_delete:
            try:
                source.backend.delete(source.location, source.options, Matches(found.identity))
            except errors.ObjectChangedError as error:
                source.stat()  # another version, or none any more? The refusal does not tell
                raise errors.changed(source.location, text) from error
            return
        now = source.stat()
    except FileNotFoundError:
        return  # somebody removed it already: what was to be done is done
    if not _same_version(found, now):
        raise errors.changed(source.location, text)
    source.backend.delete(source.location, source.options)


def _same_version(one: Stat, other: Stat) -> bool:
    """By identity where the store has them, else as well as size and time can tell."""
    if one.identity is not None or other.identity is not None:
        return one.identity == other.identity
    return (one.size, one.modified_ns) == (other.size, other.modified_ns)


def _crossing(source: Side, target: Side, text: str) -> OSError:
    """EXDEV with both names, as ``os.rename`` reports it, and the way out."""
    names = [side if isinstance(side, str) else side.location.url for side in (source, target)]
    return OSError(
        errno.EXDEV, f"{text}; copy it and remove the original, which is what a move does", names[0], None, names[1]
    )


# ---------------------------------------------------------------- touching


def touch(resource: Resource, streams: Streams, exist_ok: bool = True) -> None:
    """Make an empty file, or renew the time of what is there without changing anything else of it.

    A real directory gets a new time, as with ``pathlib.Path.touch``; on a store where keys imply directories they
    have no time of their own, so that is ``IsADirectoryError``. Raises ``FileExistsError`` unless *exist_ok*, and
    ``io.UnsupportedOperation`` where the store cannot renew a time without rewriting the object.
    """
    location = resource.location
    try:
        found = status(resource)
    except FileNotFoundError:
        if location.is_root or location.path.endswith("/"):
            raise
        try:
            # Where the store can decide it, never over an object that somebody else has made meanwhile.
            with streams.open_writer(resource, EXCLUSIVE if resource.traits.exclusive_create else WRITE):
                pass
        except FileExistsError:
            if not exist_ok:
                raise
        return
    if not exist_ok:
        raise errors.exists(location)
    if found.is_directory and resource.traits.implicit_directories:
        raise errors.is_a_directory(location)
    resource.backend.touch(found, resource.options)
