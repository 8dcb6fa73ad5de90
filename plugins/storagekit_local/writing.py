"""Writing one file: sealed, through a hidden file beside the target.

A file is written under a name of its own (``.~storagekit-….partial``) in the folder where it is to stand, and gets
its real name in one step when it is complete: by ``os.replace``, or by ``os.link`` where nothing may be there yet,
which is the one way to publish under a name that exactly one of many can take. So nobody ever sees half
a file, and a process that dies leaves the old one in place, and a partial file that listings pass over and
``uploads()`` finds.

Because the hidden file is made at the opening, a missing folder or a missing permission shows there. The rest
follows the builtin ``open`` as closely as a replaced file can:

* symbolic links are followed, and the file that they lead to is replaced, not the link; only the exclusive mode stops
  at a link, as ``O_EXCL`` does;
* a new file gets the mode that the umask leaves; an existing one keeps its mode, and its owner where we may give it;
* a file that we may not write is refused, although its folder would let us replace it;
* devices and fifos are written straight: there is nothing to replace, and what was written cannot be taken back. So
  is the end of a file that we may write and not read: its next version cannot be made without its bytes.

"Replace it if it is still this version" is nothing that a file system can do in one step. It is decided under a lock
on the folder, which every sealed writer takes for the moment of giving the name; so among the users of this
library no change is lost. Against programs that know nothing of it a moment stays open between the last look and the
new name, and so it does on file systems without locks. Who holds the lock for long is no writer of ours, so the
waiting for it has an end.

What a replaced file loses: its other hard links keep the old content, and extended attributes do not come along.
"""

from __future__ import annotations

import errno
import os
import stat as _stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_hex

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from storagekit import errors
from storagekit.driver import Absent, Body, Condition, Matches, ObjectWriter, Stat
from storagekit.location import Location
from storagekit_local.paths import identity_of, os_path, reported, stat_of
from storagekit_local.reading import open_regular

__all__ = ["FileWriter", "SealedWriter", "is_partial", "open_straight", "open_writer"]

_PREFIX = ".~storagekit-"
_SUFFIX = ".partial"

# Large enough that handing a part to a thread is nothing beside writing it, small enough to hold several.
PART_SIZE = 4 * 1024 * 1024

# Below a mebibyte a copy costs more than the bytes: a job, and the file opened once more. Above a gibibyte nobody who
# waits for one would know whether it goes on.
COPY_SIZES = (1 << 20, 1 << 30)

# As many symbolic links in a row as Linux follows.
_MAX_LINKS = 40


# The lock on a folder is held for a rename: microseconds, on a network file system milliseconds. A thousand writers
# are through in this time; who holds it for longer was stopped, or is a program that locks folders for itself.
LOCK_SECONDS = 30.0

# Between two looks whether it is free, in seconds: at first as long as a rename takes, at last what costs nothing.
FIRST_PAUSE, LONGEST_PAUSE = 0.001, 0.05


def is_partial(name: str) -> bool:
    """True for the name of a file that is being written, or was when its writer died."""
    return name.startswith(_PREFIX) and name.endswith(_SUFFIX)


def open_writer(location: Location, condition: Condition, base: Stat | None = None) -> FileWriter:
    """Begin to write *location*; see the module's text for what happens to whatever is there."""
    exclusive = isinstance(condition, Absent)
    follow = not (isinstance(condition, Absent) and not condition.through_links)
    path = os_path(location)
    with reported(location):
        existing = _existing(path)
        if existing and _stat.S_ISDIR(existing.st_mode) and (not exclusive or path.endswith("/")):
            raise errors.is_a_directory(location)
        if not exclusive and existing and not _stat.S_ISREG(existing.st_mode):
            if condition is not None:
                raise errors.unsupported(location, "not a regular file: it has no versions to tell apart")
            return StraightWriter(location, os.open(path, os.O_WRONLY))
        target = _target(path, follow=follow)
        return SealedWriter(location, target, None if exclusive else existing, condition, base)


def open_straight(location: Location, appending: bool) -> FileWriter:
    """Begin to write into what is at *location*: no regular file, or with *appending* one that we may not read."""
    path = os_path(location)
    with reported(location):
        regular = _stat.S_ISREG(os.stat(path).st_mode)
        readable = os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids)
        if regular and (readable or not appending):
            raise errors.unsupported(location, "a regular file is replaced whole, and never changed in place")
        return StraightWriter(location, os.open(path, os.O_WRONLY | (os.O_APPEND if appending else 0)))


def _existing(path: str) -> os.stat_result | None:
    """What is at *path*; None for nothing, as long as a file could be made there."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        if path.endswith("/"):  # only a directory can have this name
            raise
        return None


def _target(path: str, *, follow: bool) -> str:
    """Where a file written as *path* will stand: its folder, which must exist, free of links, and the name in it.

    Not ``os.path.realpath`` of the whole, which takes ``missing/../name`` for ``name``.
    """
    for _ in range(_MAX_LINKS):
        folder = os.path.realpath(os.path.dirname(path), strict=True)
        path = os.path.join(folder, os.path.basename(path))
        if not follow or not os.path.islink(path):
            return path
        path = os.path.join(folder, os.readlink(path))
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


class FileWriter(ObjectWriter):
    """What the two ways of writing share: a descriptor, and parts that go to it."""

    def __init__(self, location: Location, fd: int) -> None:
        self._location = location
        self._fd = fd

    def fileno(self) -> int:
        """The descriptor that is written to."""
        if self._fd < 0:
            raise ValueError("write to a closed writer")
        return self._fd

    def part_size(self, number: int, /) -> int:
        return PART_SIZE

    def put(self, body: Body, /) -> Stat:
        self.write_part(1, 0, body)
        return self.commit()

    def _close(self) -> None:
        # Whatever close() says, the descriptor is gone: a second try could close somebody else's.
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class SealedWriter(FileWriter):
    """Writes a hidden file and gives it its name at the end. Parts may come in any order, from any thread."""

    def __init__(
        self,
        location: Location,
        target: str,
        existing: os.stat_result | None,
        condition: Condition,
        base: Stat | None = None,
    ) -> None:
        if existing and not os.access(target, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), target)
        self._target = target
        self._condition = condition
        self._base = base
        if base is not None and hasattr(os, "copy_file_range"):
            self.copies = COPY_SIZES
        self._partial = os.path.join(os.path.dirname(target), f"{_PREFIX}{token_hex(8)}{_SUFFIX}")
        # What will be private must never have been open to others, not even while it was empty.
        mode = 0o600 if existing else 0o666
        super().__init__(location, os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode))
        try:
            if existing:
                self._take_owner(existing)
                self.take_mode(existing)
        except BaseException:
            self.abort()
            raise

    def take_mode(self, model: os.stat_result) -> None:
        """Give the file the permission bits of *model*."""
        os.fchmod(self._fd, _stat.S_IMODE(model.st_mode))

    def _take_owner(self, model: os.stat_result) -> None:
        """Give the file the owner and the group of *model*, or what we may of them."""
        mine = os.fstat(self._fd)
        if (mine.st_uid, mine.st_gid) == (model.st_uid, model.st_gid):
            return
        for owner in (model.st_uid, -1):  # only root gives files away, but a member may choose the group
            try:
                os.fchown(self._fd, owner, model.st_gid)
                return
            except PermissionError:
                pass

    def write_part(self, number: int, offset: int, body: Body, /) -> None:
        fd = self.fileno()
        with reported(self._location):
            for buffer in body:
                view = memoryview(buffer).cast("B")
                while view:  # a write may be short: near a full disk, and beyond 2 GiB on Linux
                    n = os.pwrite(fd, view, offset)
                    offset += n
                    view = view[n:]

    def copy_part(self, number: int, offset: int, start: int, stop: int, /) -> None:
        assert self._base is not None
        try:
            source = open_regular(self._base.location)
        except FileNotFoundError as error:
            raise errors.changed(self._location, "The file is gone") from error
        try:
            with reported(self._location):
                if identity_of(os.fstat(source)) != self._base.identity:
                    raise errors.changed(self._location)
                while start < stop:
                    # In the kernel, and on some file systems by sharing blocks.
                    count = os.copy_file_range(source, self.fileno(), stop - start, start, offset)
                    if not count:
                        raise errors.changed(self._location)
                    start, offset = start + count, offset + count
        except OSError as error:
            if error.errno in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
                raise errors.unsupported(self._location, "this file system copies nothing by itself") from error
            raise
        finally:
            os.close(source)

    def commit(self) -> Stat:
        fd = self.fileno()
        with reported(self._location):
            # Before the name: after a power cut there is the old file or the new one, not an empty one.
            os.fsync(fd)
            found = os.fstat(fd)
            self._close()
            if isinstance(self._condition, Absent):
                self._link()
            else:
                with _locked(self._location, os.path.dirname(self._target)):
                    if isinstance(self._condition, Matches) and self._identity() != self._condition.identity:
                        raise errors.changed(self._location)
                    os.replace(self._partial, self._target)
        return stat_of(self._location, found)

    def _identity(self) -> str | None:
        """The version that stands at the target now; None for nothing."""
        try:
            return identity_of(os.stat(self._target))
        except FileNotFoundError:
            return None

    def _link(self) -> None:
        """Take the name if nobody has it."""
        try:
            os.link(self._partial, self._target)
        except OSError as error:
            if error.errno in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
                hint = "creating exclusively needs a file system with hard links"
                raise errors.os_error(errno.ENOTSUP, self._location, hint=hint) from error
            raise
        try:
            os.unlink(self._partial)
        except OSError:
            pass  # the file is published, and that is what is to be said; listings hide the other name

    def abort(self) -> None:
        try:
            self._close()
        except OSError:
            pass  # a delayed write that failed: it was to be thrown away
        try:
            os.unlink(self._partial)
        except OSError:
            pass  # published, removed before, or in a folder that is out of reach: listings hide it


@contextmanager
def _locked(location: Location, folder: str) -> Iterator[None]:
    """Hold the folder against the other sealed writers, where that can be had; *location* is what an error is about."""
    fd = -1
    try:
        if fcntl is not None:
            try:
                fd = os.open(folder, os.O_RDONLY)
                free = _lock(fd)
            except OSError:
                free = True  # a folder that we may write and not read, or a file system without locks
            if not free:
                text = f"Somebody has held a lock on the folder for {LOCK_SECONDS:.0f} s, so nothing is published"
                hint = f"lslocks shows who holds {folder!r}: end it, or write again when it is done"
                raise errors.os_error(errno.ETIMEDOUT, location, text, hint=hint)
        yield
    finally:
        if fd >= 0:
            os.close(fd)  # which ends the lock


def _lock(fd: int) -> bool:
    """Take the lock, waiting for it for a while; False where it was not to be had."""
    pause, last = FIRST_PAUSE, time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            left = last - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE)


class StraightWriter(FileWriter):
    """Writes to a device, a fifo or the like as it comes: nothing can be held back or taken back."""

    ordered = True

    def write_part(self, number: int, offset: int, body: Body, /) -> None:
        fd = self.fileno()
        with reported(self._location):
            for buffer in body:
                view = memoryview(buffer).cast("B")
                while view:
                    view = view[os.write(fd, view) :]

    def commit(self) -> Stat:
        with reported(self._location):
            found = os.fstat(self.fileno())
            self._close()
        return stat_of(self._location, found)

    def abort(self) -> None:
        try:
            self._close()
        except OSError:
            pass  # as above
