"""The hooks: the control plane, and the whole of what a driver implements.

A driver is a class, named by an entry point of the group ``storagekit.drivers`` whose name is the
URL scheme. It is instantiated once per ``Storage``, without arguments, when the first URL of its
scheme is used. Its methods marked with ``hookimpl`` are its hooks; four are required:
``open_read``, ``open_write``, ``stat`` and ``list``. With those it can be opened, read, written,
listed and stat'ed; removing also needs ``delete``; the rest makes it faster or richer, and where it is
missing the core does the same work with what there is, or refuses loudly.

The contract, for every hook:

* **None means "not implemented" and nothing else.** Return a value from every hook that did its work
  (the specifications say which); after a None the core's own fallback runs.
* An implementation may leave out arguments that it does not need.
* Errors are ``OSError`` with ``errno`` and ``filename`` (the URL): ``FileNotFoundError`` where there is
  nothing at the location, ``PermissionError``, ``ConnectionError``, ``TimeoutError`` …
* ``options`` holds only names that the driver lists in ``known_options``; their values are the driver's to check.
  A text that is marked as a secret comes as a ``str`` whose ``repr`` does not show it (``hiding.Secret``).
* A hook may be called from many threads at once, and in a forked child after ``reset_after_fork``.

>>> from storagekit.hookspecs import hookimpl
>>> class Driver:
...     @hookimpl
...     def stat(self, location): ...
...
...     @hookimpl(specname="list")  # under another name, so that ``list`` keeps meaning the builtin
...     def entries(self, location, recursive): ...
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Literal

import pluggy

from storagekit.driver import Condition, ObjectWriter, Option, Options, RangeReader, Stat, Traits, Upload
from storagekit.findings import Finding
from storagekit.location import Location

__all__ = ["ENTRY_POINT_GROUP", "PROJECT", "DriverHooks", "hookimpl", "hookspec"]

PROJECT = "storagekit"
ENTRY_POINT_GROUP = "storagekit.drivers"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class DriverHooks:
    """Every hook there is. The first four that follow are required of a driver."""

    @hookspec(firstresult=True)
    def open_read(self, location: Location, options: Options, head: int) -> RangeReader | None:
        """Open the object at exactly *location* and pin its version.

        *head* is a number of bytes that are wanted anyway: a store that can sends them along in the
        same request (``RangeReader.head``), so that opening and reading a small object is one request.
        ``FileNotFoundError`` where there is no such object, a directory of that name or not.
        """

    @hookspec(firstresult=True)
    def open_write(self, location: Location, options: Options, condition: Condition) -> ObjectWriter | None:
        """Begin an object at *location*, to be published whole at the end, if *condition* then holds.

        A store that cannot decide *condition* atomically raises ``io.UnsupportedOperation`` here.
        """

    @hookspec(firstresult=True)
    def stat(self, location: Location, options: Options) -> Stat | None:
        """What is at exactly *location*, else ``FileNotFoundError``.

        A store with implicit directories answers for objects only (the core asks ``list`` about the
        directory); one with real directories answers with kind ``"directory"`` for those.
        A container's own location (empty path) is a directory where the container exists.
        """

    # `list` stands last in this class: its name would shadow the builtin in the annotations below it.

    @hookspec(firstresult=True)
    def known_options(self) -> Sequence[Option] | None:
        """The options that this driver takes. The core refuses every other. Without this hook: none."""

    @hookspec(firstresult=True)
    def traits(self, location: Location, options: Options) -> Traits | None:
        """What the store promises at *location* under *options*. Without it: implicit directories, nothing else."""

    @hookspec(firstresult=True)
    def parse(self, url: str) -> Location | None:
        """Read *url* in the driver's own way. Without this hook: ``scheme://container/path``."""

    @hookspec(firstresult=True)
    def open_file(self, location: Location, options: Options, mode: Literal["rb"], buffering: int) -> IO[bytes] | None:
        """A native binary file object, for stores that have real ones; it goes to the user as it is.

        Without this hook files are read through ``open_read``.
        """

    @hookspec(firstresult=True)
    def open_edit(self, location: Location, options: Options, base: Stat) -> ObjectWriter | None:
        """Begin the next version of the object that *base* was seen of, to be published only if it still is that one.

        What the store keeps beside its bytes stays, as far as *options* do not say otherwise, and the store may copy
        parts of it (``ObjectWriter.copies``). Without this hook: ``open_write`` under ``Matches(base.identity)``.
        """

    @hookspec(firstresult=True)
    def open_in_place(self, location: Location, options: Options, appending: bool) -> ObjectWriter | None:
        """Begin to write straight into what is at *location* and has no versions, as a device or a pipe.

        Asked only after ``open_read`` has refused an edit with ``io.UnsupportedOperation``, or one that reads nothing
        with ``PermissionError``; with *appending* what is written goes behind what is there. What has versions is
        ``io.UnsupportedOperation``; then, and without this hook, the first refusal stands.
        """

    @hookspec(firstresult=True)
    def delete(self, location: Location, options: Options, condition: Condition) -> Literal[True] | None:
        """Remove the object at exactly *location*; return True, also where there was none.

        A location with a trailing slash is a directory's marker, or the empty directory itself
        (``OSError`` ENOTEMPTY where it is not empty). *condition* is None or ``Matches``.
        """

    @hookspec(firstresult=True)
    def delete_many(self, locations: Sequence[Location], options: Options) -> Sequence[tuple[Location, OSError]] | None:
        """Remove many objects of one container; return those that failed, each with its error.

        Without this hook: ``delete`` for one after another.
        """

    @hookspec(firstresult=True)
    def copy(self, source: Stat, target: Location, options: Options, condition: Condition) -> Stat | None:
        """Copy within the store, data and metadata, publishing *target* whole; return what it is now.

        *source* is what ``stat`` answered just before: where it has an identity, exactly that version
        is copied, else ``ObjectChangedError``. *condition* is about the target.
        Without this hook the bytes go through the client.
        """

    @hookspec(firstresult=True)
    def rename(self, source: Location, target: Location, options: Options) -> Stat | None:
        """Rename a file or a directory in one step, replacing a file at *target*; return what is there now.

        Only for stores whose ``atomic_rename`` trait is true.
        """

    @hookspec(firstresult=True)
    def make_directory(self, location: Location, options: Options, mode: int) -> Literal[True] | None:
        """Create one empty directory, whose parent exists; return True. ``FileExistsError`` where there is one.

        Without this hook an empty object with a trailing slash marks the directory.
        """

    @hookspec(firstresult=True)
    def touch(self, stat: Stat, options: Options) -> Stat | None:
        """Renew the modification time of an existing object, keeping its bytes and metadata; return its new Stat.

        *stat* is what was seen just before. Without this hook touching an existing object is refused.
        """

    @hookspec(firstresult=True)
    def uploads(self, location: Location, options: Options) -> Iterator[Upload] | None:
        """The unfinished uploads whose key starts with ``location.path``."""

    @hookspec(firstresult=True)
    def abort_upload(self, upload: Upload, options: Options) -> Literal[True] | None:
        """Remove one unfinished upload; return True, also where it is gone already."""

    @hookspec(firstresult=True)
    def presign(self, location: Location, options: Options, method: Literal["GET", "PUT"], expires: int) -> str | None:
        """A URL that lets its bearer do *method* at *location* for *expires* seconds."""

    @hookspec(firstresult=True)
    def diagnose(self, location: Location, options: Options) -> Sequence[str] | None:
        """Lines for a person about how this location is reached: endpoint, region, server, whose credentials.

        Best as ``name: value``. No secret may stand in one: of credentials they say only where they come from.
        """

    @hookspec(firstresult=True)
    def examine(self, location: Location, options: Options) -> Iterator[Finding] | None:
        """Try what only the driver knows to try, and yield what was found, for ``storagekit doctor``.

        *location* is a directory of its own, with nothing in it: all that is written lies below it and is removed
        again, at the latest when the iterator is closed. (The core then removes what a listing still shows.) What
        the store refuses is a finding; an error that makes going on useless is raised. Without this hook: nothing.
        """

    @hookspec(firstresult=True)
    def counts(self) -> Mapping[str, int] | None:
        """What was counted since the driver was made, for ``Storage.stats``: ``requests``, ``retries``, ``errors``,
        ``bytes_sent``, ``bytes_received`` where there are such things, and what else is worth counting.

        What was a request is to be told to ``tracing.note`` as well, for ``storagekit.trace``.
        """

    @hookspec
    def reset_after_fork(self) -> None:
        """Called in a forked child, before it uses the driver: drop inherited connections and locks, without I/O."""

    @hookspec
    def close(self) -> None:
        """Let go of connections and whatever else is held. Called once, when the ``Storage`` is closed."""

    @hookspec(firstresult=True)
    def list(
        self, location: Location, options: Options, recursive: bool, limit: int | None, start_after: str
    ) -> Iterator[Stat] | None:
        """What lies below the directory *location*, its own marker included where there is one.

        ``recursive=True``: every object whose path starts with ``location.prefix``. ``recursive=False``: those
        with no further slash, and for the others one Stat of kind ``"directory"`` per next segment, its
        path ending in a slash. For a location without container: the containers, as directories.
        Yield at most *limit*, and only paths after *start_after* (``""``: all), lazily, page by page.
        Another thread than the one that called may go on with the iterator, but only one at a time.

        The first page is fetched by the call, so that errors are raised there: ``FileNotFoundError`` where
        the container does not exist; for a missing directory that, or nothing yielded.
        """
