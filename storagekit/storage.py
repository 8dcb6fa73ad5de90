"""Storage: every public function, as a method.

Each has the signature of its namesake in ``os``, ``os.path``, ``shutil`` or ``glob``, and keyword-only extras. A plain
local path or a file descriptor goes to that namesake untouched; a URL goes to the driver of its scheme.
What means something for local files only (``dir_fd``, ``follow_symlinks``) is passed over for a URL, as ``os`` passes
over ``dir_fd`` for an absolute path. ``bytes`` paths give ``bytes`` results. The module functions of ``storagekit``
are the methods of ``default``, whose settings come from the environment.

The examples use ``memory://``, which needs no server; they read the same with ``s3://``.
"""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, AnyStr, Literal, TypeVar, cast, overload

from storagekit import bulk, bulk_writing, changes, directories, files, globbing, lookup, walking
from storagekit.backend import Resource
from storagekit.directories import Scan
from storagekit.driver import Options, Traits, Upload
from storagekit.engine import AnyPath, BytesPath, StrPath
from storagekit.errors import InvalidArgumentError, invalid
from storagekit.hiding import hides_options
from storagekit.location import join_path, scheme_of
from storagekit.opening import Opener
from storagekit.settings import Settings

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["Storage", "default"]

P = TypeVar("P", bound=AnyPath)


@hides_options
class Storage(Opener):
    """The functions of this library over one set of settings, drivers, cache and threads.

    *settings* is a ``Settings``; *changes* are single settings by name. A ``Storage`` is a context manager that
    closes itself; two share nothing, so the ``memory://`` of one is not that of another.

    >>> import storagekit
    >>> with storagekit.Storage(cache_bytes=64 << 20) as storage:
    ...     with storage.open("memory://box/hello.txt", "w") as f:
    ...         _ = f.write("hello")
    ...     storage.listdir("memory://box")
    ['hello.txt']
    """

    # ---------------------------------------------------------------- many at once

    @overload
    def read_many(
        self,
        urls: Iterable[P],
        *,
        in_flight: int = bulk.IN_FLIGHT,
        on_error: Literal["return"] = "return",
        options: Options | None = None,
    ) -> Generator[tuple[P, bytes | OSError], None, None]: ...

    @overload
    def read_many(
        self,
        urls: Iterable[P],
        *,
        in_flight: int = bulk.IN_FLIGHT,
        on_error: Literal["raise"],
        options: Options | None = None,
    ) -> Generator[tuple[P, bytes], None, None]: ...

    def read_many(
        self,
        urls: Iterable[P],
        *,
        in_flight: int = bulk.IN_FLIGHT,
        on_error: Literal["return", "raise"] = "return",
        options: Options | None = None,
    ) -> Generator[tuple[P, Any], None, None]:
        """Whole files and objects, *in_flight* of them at once: pairs of a URL and its bytes, as they arrive.

        *urls* may be any iterable of URLs and plain local paths, mixed; it is drawn from as results are taken, at most
        *in_flight* ahead. Each comes back as it was given, in no particular order, one that is given twice twice.
        What ``open(url, "rb", options=options).read()`` would raise as an ``OSError`` comes in place of the bytes; with
        ``on_error="raise"`` the first one is raised, and the rest given up. Other exceptions are raised at once.

        An object of up to 1 MiB is one request and passes the block cache by. At most *in_flight* objects are in memory
        beside those you hold, up to 1 MiB of each; of longer ones 128 MiB together, or one alone if it is longer still.
        Leaving the loop, or closing the generator, ends the reading. ``ValueError`` once the ``Storage`` is closed.

        >>> import storagekit
        >>> for number in range(3):
        ...     with storagekit.open(f"memory://read-many/{number}", "w") as f:
        ...         _ = f.write("x" * number)
        >>> urls = [f"memory://read-many/{number}" for number in range(4)]
        >>> for url, data in sorted(storagekit.read_many(urls)):
        ...     print(url, data if isinstance(data, bytes) else type(data).__name__)
        memory://read-many/0 b''
        memory://read-many/1 b'x'
        memory://read-many/2 b'xx'
        memory://read-many/3 FileNotFoundError
        """
        return bulk.read_many(
            urls,
            lambda url: self._resource(url, options, lazy=True),
            self._streams,
            in_flight=in_flight,
            on_error=on_error,
            closed=lambda: self._closed,
        )

    def write_many(
        self,
        objects: Mapping[P, ReadableBuffer] | Iterable[tuple[P, ReadableBuffer]],
        *,
        in_flight: int = bulk_writing.IN_FLIGHT,
        on_error: Literal["return", "raise"] = "raise",
        options: Options | None = None,
    ) -> list[tuple[P, OSError]]:
        """Write many files and objects, *in_flight* of them at once, each whole, as ``open(url, "wb")`` writes one.

        *objects* is a mapping of URLs to their bytes, or any iterable of pairs, from which is drawn as there is room.
        The first ``OSError`` is raised, when what was on its way is over; what was written until then stays. With
        ``on_error="return"`` the others go on, and the failures are returned, each URL with its error. An object that
        fits in a first part (8 MiB on S3) is one request. Of a URL that is given twice, either may be the last to be
        written. ``ValueError`` once the ``Storage`` is closed.

        >>> import storagekit
        >>> storagekit.write_many({f"memory://write-many/{number}": b"x" * number for number in range(3)})
        []
        >>> storagekit.listdir("memory://write-many")
        ['0', '1', '2']
        """
        return bulk_writing.write_many(
            objects,
            lambda url: self._resource(url, options, lazy=True),
            self._streams,
            in_flight=in_flight,
            on_error=on_error,
        )

    # ---------------------------------------------------------------- what is there

    @overload
    def listdir(self, path: StrPath | int = ".", *, options: Options | None = None) -> list[str]: ...

    @overload
    def listdir(self, path: BytesPath, *, options: Options | None = None) -> list[bytes]: ...

    def listdir(self, path: AnyPath | int = ".", *, options: Options | None = None) -> list[Any]:
        """The names in a directory, sorted, each once (a plain local path: in the system's order).

        Raises ``FileNotFoundError``; ``NotADirectoryError`` for a file.

        >>> import storagekit
        >>> storagekit.touch("memory://listdir/a/one"); storagekit.touch("memory://listdir/a/b/two")
        >>> storagekit.listdir("memory://listdir/a")
        ['b', 'one']
        """
        resource = self._resource(path, options)
        if resource is None:
            return os.listdir(cast(Any, path))
        return [_like(path, name) for name in directories.listdir(resource, self._transfers)]

    @overload
    def scandir(self, path: StrPath | int = ".", *, options: Options | None = None) -> Scan[str]: ...

    @overload
    def scandir(self, path: BytesPath, *, options: Options | None = None) -> Scan[bytes]: ...

    def scandir(self, path: AnyPath | int = ".", *, options: Options | None = None) -> Scan[Any]:
        """The entries of a directory, lazily, each with ``name``, ``path``, ``is_dir()``, ``is_file()``, ``stat()``.

        An iterator and a context manager, as ``os.scandir`` gives; on a store, sizes and times come with the
        listing, so ``stat()`` costs no request. Raises as ``listdir`` does, at the call.

        >>> import storagekit
        >>> with storagekit.open("memory://scandir/five", "wb") as f:
        ...     _ = f.write(b"12345")
        >>> with storagekit.scandir("memory://scandir") as entries:
        ...     [(entry.name, entry.is_file(), entry.stat().st_size) for entry in entries]
        [('five', True, 5)]
        """
        resource = self._resource(path, options, lazy=True)
        if resource is None:
            return cast("Scan[Any]", os.scandir(cast(Any, path)))
        return directories.scandir(resource, os.fspath(cast(AnyPath, path)), self._transfers)

    def walk(
        self,
        top: AnyStr | os.PathLike[AnyStr],
        topdown: bool = True,
        onerror: Callable[[OSError], object] | None = None,
        followlinks: bool = False,
        *,
        options: Options | None = None,
    ) -> Iterator[tuple[AnyStr, list[AnyStr], list[AnyStr]]]:
        """Every directory below and with *top*: its path, the names of directories, the names of files.

        As ``os.walk``; but on a store every error other than a missing *top* is raised, unless *onerror* is given.
        There the directories whose turn comes are listed ahead, up to 32 at a time: the same tuples in the same
        order, in bounded memory. What lies below a directory is asked for only after you had its tuple, and the
        chance to prune its names.

        >>> import storagekit
        >>> storagekit.touch("memory://walk/a/b/two"); storagekit.touch("memory://walk/a/one")
        >>> list(storagekit.walk("memory://walk/a"))
        [('memory://walk/a', ['b'], ['one']), ('memory://walk/a/b', [], ['two'])]
        """
        resource = self._resource(top, options, lazy=True)
        if resource is None:
            return os.walk(cast(Any, top), topdown, cast(Any, onerror), followlinks)
        walk = walking.walk(resource, os.fsdecode(top), topdown, onerror, followlinks, self._transfers)
        found: Any = walk if isinstance(_like(top, ""), str) else _walk_in_bytes(walk)
        return cast("Iterator[tuple[AnyStr, list[AnyStr], list[AnyStr]]]", found)

    def glob(
        self,
        pathname: AnyStr | os.PathLike[AnyStr],
        *,
        root_dir: AnyPath | None = None,
        dir_fd: int | None = None,
        recursive: bool = False,
        include_hidden: bool = False,
        options: Options | None = None,
    ) -> list[AnyStr]:
        """The paths that match a pattern with ``*``, ``?``, ``[…]`` and, with *recursive*, ``**``; as ``glob.glob``.

        >>> import storagekit
        >>> for name in ("a.txt", "b.csv", "c/d.txt"):
        ...     storagekit.touch(f"memory://glob/{name}")
        >>> storagekit.glob("memory://glob/**/*.txt", recursive=True)
        ['memory://glob/a.txt', 'memory://glob/c/d.txt']
        """
        return list(
            self.iglob(
                pathname,
                root_dir=root_dir,
                dir_fd=dir_fd,
                recursive=recursive,
                include_hidden=include_hidden,
                options=options,
            )
        )

    def iglob(
        self,
        pathname: AnyStr | os.PathLike[AnyStr],
        *,
        root_dir: AnyPath | None = None,
        dir_fd: int | None = None,
        recursive: bool = False,
        include_hidden: bool = False,
        options: Options | None = None,
    ) -> Iterator[AnyStr]:
        """As ``glob``, lazily.

        >>> import storagekit
        >>> storagekit.touch("memory://iglob/a.txt")
        >>> next(storagekit.iglob("memory://iglob/*.txt"))
        'memory://iglob/a.txt'
        """
        if root_dir is not None and type(_like(pathname, "")) is not type(_like(root_dir, "")):
            raise TypeError("Can't mix strings and bytes in path components")
        pattern, base = os.fsdecode(pathname), os.fsdecode(root_dir or "")
        if scheme_of(pattern) is None and scheme_of(base) is None:
            self._resource(pathname, options)  # refuses options, and a pathlib.Path that was a URL
            import glob  # slow, and for local patterns only

            return glob.iglob(
                cast(Any, pathname),
                root_dir=cast(Any, root_dir),
                dir_fd=dir_fd,
                recursive=recursive,
                include_hidden=include_hidden,
            )
        found = globbing.iglob(
            lambda url: self._url(url, options, lazy=True),
            pattern,
            root_dir=base or None,
            dir_fd=dir_fd,
            recursive=recursive,
            include_hidden=include_hidden,
            transfers=self._transfers,
        )
        return (_like(pathname, path) for path in found)

    # ---------------------------------------------------------------- one path

    def stat(
        self,
        path: AnyPath | int,
        *,
        dir_fd: int | None = None,
        follow_symlinks: bool = True,
        options: Options | None = None,
    ) -> Any:
        """What is known of a file or directory: ``st_size``, ``st_mtime``, ``st_mode`` …, as ``os.stat`` gives.

        On a store it is a ``Stat``, which also has ``etag``, ``version_id``, ``storage_class``, ``content_type`` and
        ``metadata``. Where ``a`` is an object beside ``a/``, it speaks of the object. Raises ``FileNotFoundError``.

        >>> import storagekit
        >>> with storagekit.open("memory://stat/five", "wb") as f:
        ...     _ = f.write(b"12345")
        >>> storagekit.stat("memory://stat/five").st_size
        5
        """
        resource = self._resource(path, options)
        if resource is None:
            return os.stat(cast(Any, path), dir_fd=dir_fd, follow_symlinks=follow_symlinks)
        return lookup.status(resource)

    def exists(self, path: AnyPath | int, *, options: Options | None = None) -> bool:
        """True for a file or a directory.

        On a store "not allowed to know" is not "no": whatever hinders the answer is raised.

        >>> import storagekit
        >>> storagekit.exists("memory://exists/nothing")
        False
        """
        resource = self._resource(path, options)
        return os.path.exists(cast(Any, path)) if resource is None else lookup.exists(resource)

    def path_exists(self, path: AnyPath | int, *, options: Options | None = None) -> bool:
        """Another name of ``exists``.

        >>> import storagekit
        >>> storagekit.path_exists("memory://exists/nothing")
        False
        """
        return self.exists(path, options=options)

    def isfile(self, path: AnyPath | int, *, options: Options | None = None) -> bool:
        """True for a file or an object; False with a trailing slash. Raises as ``exists`` does.

        >>> import storagekit
        >>> storagekit.touch("memory://isfile/a/b")
        >>> storagekit.isfile("memory://isfile/a/b"), storagekit.isfile("memory://isfile/a")
        (True, False)
        """
        resource = self._resource(path, options)
        return os.path.isfile(cast(Any, path)) if resource is None else lookup.isfile(resource)

    def isdir(self, path: AnyPath | int, *, options: Options | None = None) -> bool:
        """True for a directory: a marker, a key below it, or a container. Raises as ``exists`` does.

        >>> import storagekit
        >>> storagekit.touch("memory://isdir/a/b")
        >>> storagekit.isdir("memory://isdir/a"), storagekit.isdir("memory://isdir/a/b")
        (True, False)
        """
        resource = self._resource(path, options)
        return os.path.isdir(cast(Any, path)) if resource is None else lookup.isdir(resource)

    def getsize(self, path: AnyPath | int, *, options: Options | None = None) -> int:
        """The size in bytes. Raises as ``stat`` does.

        >>> import storagekit
        >>> storagekit.touch("memory://getsize/empty")
        >>> storagekit.getsize("memory://getsize/empty")
        0
        """
        resource = self._resource(path, options)
        return os.path.getsize(cast(Any, path)) if resource is None else lookup.getsize(resource)

    def getmtime(self, path: AnyPath | int, *, options: Options | None = None) -> float:
        """The time of the last change, in seconds since the epoch. Raises as ``stat`` does.

        >>> import storagekit
        >>> storagekit.touch("memory://getmtime/new")
        >>> storagekit.getmtime("memory://getmtime/new") > 1e9
        True
        """
        resource = self._resource(path, options)
        return os.path.getmtime(cast(Any, path)) if resource is None else lookup.getmtime(resource)

    def traits(self, path: AnyPath, *, options: Options | None = None) -> Traits:
        """What the store at a URL promises, as its driver says.

        >>> import storagekit
        >>> storagekit.Storage().traits("memory://box/key").exclusive_create
        True
        """
        return self._url(path, options).traits

    # ---------------------------------------------------------------- directories

    def mkdir(
        self, path: AnyPath, mode: int = 0o777, *, dir_fd: int | None = None, options: Options | None = None
    ) -> None:
        """Create a directory, whose parent must exist. On an object store it is a marker, an empty object.

        Raises ``FileExistsError``, ``FileNotFoundError``. A container (bucket) is never created.

        >>> import storagekit
        >>> storagekit.mkdir("memory://mkdir/new")
        >>> storagekit.listdir("memory://mkdir/new")
        []
        """
        resource = self._resource(path, options)
        if resource is None:
            os.mkdir(cast(Any, path), mode, dir_fd=dir_fd)
        else:
            directories.mkdir(resource, mode)

    def makedirs(
        self, name: AnyPath, mode: int = 0o777, exist_ok: bool = False, *, options: Options | None = None
    ) -> None:
        """Create a directory and every level above it that is missing.

        >>> import storagekit
        >>> storagekit.makedirs("memory://makedirs/a/b", exist_ok=True)
        >>> storagekit.isdir("memory://makedirs/a/b")
        True
        """
        resource = self._resource(name, options)
        if resource is None:
            os.makedirs(cast(Any, name), mode, exist_ok)
        else:
            directories.makedirs(resource, mode, exist_ok)

    def rmdir(self, path: AnyPath, *, dir_fd: int | None = None, options: Options | None = None) -> None:
        """Remove an empty directory. Raises ``OSError`` (ENOTEMPTY), ``FileNotFoundError``, ``NotADirectoryError``.

        >>> import storagekit
        >>> storagekit.mkdir("memory://rmdir/empty")
        >>> storagekit.rmdir("memory://rmdir/empty")
        >>> storagekit.exists("memory://rmdir/empty")
        False
        """
        resource = self._resource(path, options)
        if resource is None:
            os.rmdir(cast(Any, path), dir_fd=dir_fd)
        else:
            directories.rmdir(resource)

    # ---------------------------------------------------------------- changes

    def remove(
        self,
        path: AnyPath,
        *,
        dir_fd: int | None = None,
        missing_ok: bool = False,
        options: Options | None = None,
    ) -> None:
        """Remove a file. Raises ``FileNotFoundError`` (unless *missing_ok*), ``IsADirectoryError``.

        On an object store *missing_ok* makes it a single request.

        >>> import storagekit
        >>> storagekit.touch("memory://remove/old")
        >>> storagekit.remove("memory://remove/old")
        >>> storagekit.remove("memory://remove/old", missing_ok=True)
        """
        self._remove(os.remove, path, dir_fd, missing_ok, options)

    def _remove(
        self, builtin: Callable[..., None], path: AnyPath, dir_fd: int | None, missing_ok: bool, options: Options | None
    ) -> None:
        resource = self._resource(path, options)
        if resource is not None:
            changes.remove(resource, missing_ok)
            return
        try:
            builtin(path, dir_fd=dir_fd)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def unlink(
        self,
        path: AnyPath,
        *,
        dir_fd: int | None = None,
        missing_ok: bool = False,
        options: Options | None = None,
    ) -> None:
        """Another name of ``remove``.

        >>> import storagekit
        >>> storagekit.unlink("memory://remove/nothing", missing_ok=True)
        """
        self._remove(os.unlink, path, dir_fd, missing_ok, options)

    def rmtree(
        self,
        path: AnyPath,
        ignore_errors: bool = False,
        onerror: Callable[..., object] | None = None,
        *,
        onexc: Callable[..., object] | None = None,
        dir_fd: int | None = None,
        dry_run: bool = False,
        options: Options | None = None,
    ) -> list[Any] | None:
        """Remove a directory and everything below it, on an object store in batches; as ``shutil.rmtree``.

        With *dry_run* (URLs only) nothing is removed and the list of what would be is returned. A container's root is
        refused. Raises ``FileNotFoundError``, ``NotADirectoryError``, one ``OSError`` for what could not be removed.

        >>> import storagekit
        >>> storagekit.touch("memory://rmtree/a/b/c")
        >>> storagekit.rmtree("memory://rmtree/a", dry_run=True)
        ['memory://rmtree/a/b/c']
        >>> storagekit.rmtree("memory://rmtree/a")
        >>> storagekit.exists("memory://rmtree/a")
        False
        """
        resource = self._url(path, options) if dry_run else self._resource(path, options)
        if resource is not None:
            removed = changes.rmtree(resource, ignore_errors, onerror, onexc, dry_run, self._transfers)
            return None if removed is None else [_like(path, url) for url in removed]
        import shutil  # slow, and for local files only

        if onexc is not None and sys.version_info < (3, 12):
            handler = onexc
            shutil.rmtree(cast(Any, path), ignore_errors, lambda f, p, e: handler(f, p, e[1]), dir_fd=dir_fd)
        elif onexc is not None:
            shutil.rmtree(cast(Any, path), ignore_errors, dir_fd=dir_fd, **cast(Any, {"onexc": onexc}))
        else:
            shutil.rmtree(cast(Any, path), ignore_errors, cast(Any, onerror), dir_fd=dir_fd)
        return None

    def rename(
        self,
        src: AnyPath,
        dst: AnyPath,
        *,
        src_dir_fd: int | None = None,
        dst_dir_fd: int | None = None,
        options: Options | None = None,
    ) -> None:
        """Rename a file, replacing what is at *dst*.

        On an object store: copy exactly the version that was seen, verify, remove the original if it is still that
        version. A directory where the store cannot rename in one step, and another store: ``OSError`` (EXDEV).
        Raises ``FileNotFoundError``, ``IsADirectoryError`` (*dst*), ``ObjectChangedError``.

        >>> import storagekit
        >>> storagekit.touch("memory://rename/old")
        >>> storagekit.rename("memory://rename/old", "memory://rename/new")
        >>> storagekit.listdir("memory://rename")
        ['new']
        """
        source, target = self._pair(src, dst, options)
        if source is None and target is None:
            os.rename(cast(Any, src), cast(Any, dst), src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        else:
            with self._limit(source, target):
                changes.rename(source or os.fsdecode(src), target or os.fsdecode(dst), self._streams)

    def replace(
        self,
        src: AnyPath,
        dst: AnyPath,
        *,
        src_dir_fd: int | None = None,
        dst_dir_fd: int | None = None,
        if_match: str | None = None,
        options: Options | None = None,
    ) -> None:
        """Rename a file, replacing what is at *dst*: what ``rename`` does, and ``os.replace`` on every platform.

        With *if_match*, an ``etag`` as ``stat`` gives it, only where *dst* still is that version, else
        ``ObjectChangedError``; ``io.UnsupportedOperation`` where the store does not decide that.

        >>> import storagekit
        >>> storagekit.touch("memory://replace/old"); storagekit.touch("memory://replace/new")
        >>> etag = storagekit.stat("memory://replace/new").etag
        >>> storagekit.replace("memory://replace/old", "memory://replace/new", if_match=etag)
        """
        source, target = self._pair(src, dst, options)
        files.check_if_match(if_match, "w", dst)
        if source is None and target is None:
            if if_match is not None:
                raise invalid(dst, "if_match is for URLs: a plain local path is replaced by the system")
            os.replace(cast(Any, src), cast(Any, dst), src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        else:
            with self._limit(source, target):
                changes.rename(source or os.fsdecode(src), target or os.fsdecode(dst), self._streams, if_match)

    def copyfile(self, src: AnyPath, dst: P, *, follow_symlinks: bool = True, options: Options | None = None) -> P:
        """Copy a file to *dst* and return *dst*; between any two stores, and to or from a plain local path.

        Within a store the server copies where it can; otherwise the bytes stream through, in bounded memory. A store
        shows the copy only when it is whole. Raises ``shutil.SameFileError``, ``FileNotFoundError``,
        ``IsADirectoryError``.

        >>> import storagekit
        >>> storagekit.touch("memory://copyfile/a")
        >>> storagekit.copyfile("memory://copyfile/a", "memory://copyfile/b")
        'memory://copyfile/b'
        """
        source, target = self._pair(src, dst, options)
        if source is None and target is None:
            import shutil  # slow, and for local files only

            return cast(P, shutil.copyfile(cast(Any, src), cast(Any, dst), follow_symlinks=follow_symlinks))
        with self._limit(source, target):
            changes.copyfile(source or os.fsdecode(src), target or os.fsdecode(dst), self._streams)
        return dst

    def copy(self, src: AnyPath, dst: AnyPath, *, follow_symlinks: bool = True, options: Options | None = None) -> Any:
        """Copy a file to *dst*, or into the directory *dst*, and return the path of the copy. Raises as ``copyfile``.

        >>> import storagekit
        >>> storagekit.touch("memory://copy/a"); storagekit.mkdir("memory://copy/into")
        >>> storagekit.copy("memory://copy/a", "memory://copy/into")
        'memory://copy/into/a'
        """
        source, target = self._pair(src, dst, options)
        if source is None and target is None:
            import shutil  # slow, and for local files only

            return shutil.copy(cast(Any, src), cast(Any, dst), follow_symlinks=follow_symlinks)
        with self._limit(source, target):
            return _like(dst, changes.copy(source or os.fsdecode(src), target or os.fsdecode(dst), self._streams))

    def touch(self, path: AnyPath, mode: int = 0o666, exist_ok: bool = True, *, options: Options | None = None) -> None:
        """Create an empty file, or renew the time of an existing one, which is never truncated; as ``Path.touch``.

        Raises ``FileExistsError`` without *exist_ok*; ``io.UnsupportedOperation`` where a store cannot renew a time.

        >>> import storagekit
        >>> storagekit.touch("memory://touch/empty")
        >>> storagekit.getsize("memory://touch/empty")
        0
        """
        resource = self._resource(path, options)
        if resource is None:
            from pathlib import Path  # slow, and needed here only

            Path(os.fsdecode(path)).touch(mode, exist_ok)
        else:
            with resource.limit():
                changes.touch(resource, self._streams, exist_ok)

    # ---------------------------------------------------------------- names and uploads

    def join(
        self,
        path: AnyStr | os.PathLike[AnyStr],
        *paths: AnyStr | os.PathLike[AnyStr],
        options: Options | None = None,
    ) -> AnyStr:
        """Join path segments as ``os.path.join`` does. Nothing is normalised, and no driver is asked.

        >>> import storagekit
        >>> storagekit.join("s3://bucket/a", "b", "c.txt")
        's3://bucket/a/b/c.txt'
        """
        parts = [os.fspath(cast(AnyPath, part)) for part in (path, *paths)]
        if len({isinstance(part, bytes) for part in parts}) > 1:
            raise TypeError("Can't mix strings and bytes in path components")
        if any(scheme_of(os.fsdecode(part)) for part in parts):
            return cast(AnyStr, _like(parts[0], join_path(*map(os.fsdecode, parts))))
        return cast(AnyStr, os.path.join(*cast(Any, parts)))

    def presign(
        self,
        path: AnyPath,
        method: Literal["GET", "PUT"] = "GET",
        *,
        expires: int = 3600,
        options: Options | None = None,
    ) -> str:
        """A URL that lets its bearer read (``"GET"``) or write (``"PUT"``) one object for *expires* seconds.

        No request is made, so nothing tells whether the object exists or the signer may do what the URL allows.
        Raises ``io.UnsupportedOperation`` where the store has no such thing.

        >>> import storagekit
        >>> options = {"endpoint_url": "https://s3.example", "region_name": "r"}
        >>> options |= {"aws_access_key_id": "id", "aws_secret_access_key": "secret"}
        >>> url = storagekit.presign("s3://my-bucket/report.pdf", expires=600, options=options)
        >>> url.partition("?")[0]
        'https://s3.example/my-bucket/report.pdf'
        """
        resource = self._url(path, options)
        return resource.backend.presign(resource.location, resource.options, method, operator.index(expires))

    def uploads(self, path: AnyPath, *, options: Options | None = None) -> Iterator[Upload]:
        """The unfinished uploads below a URL: what a killed writer left. They are invisible, but they cost storage.

        Raises ``io.UnsupportedOperation`` where the driver cannot tell.

        >>> import storagekit
        >>> for upload in storagekit.uploads("s3://my-bucket/logs"):  # doctest: +SKIP
        ...     print(upload.location, upload.started_ns)
        """
        resource = self._url(path, options, lazy=True)
        return resource.backend.uploads(resource.location, resource.options)

    def abort_upload(self, upload: Upload, *, options: Options | None = None) -> None:
        """Remove an unfinished upload, as ``uploads`` gave it. It must not be one that somebody is still writing.

        >>> import storagekit
        >>> for upload in storagekit.uploads("s3://my-bucket/logs"):  # doctest: +SKIP
        ...     storagekit.abort_upload(upload)
        """
        resource = self._url(upload.location.url, options)
        resource.backend.abort_upload(upload, resource.options)

    def abort_uploads(self, path: AnyPath, *, older_than: float, options: Options | None = None) -> list[Upload]:
        """Remove the unfinished uploads below a URL that were begun more than *older_than* seconds ago; return those.

        One of which the store does not say when it was begun stays. Choose more than your longest write takes: whoever
        still writes one of these fails. Raises what ``uploads`` and ``abort_upload`` raise, at the first failure.

        >>> import storagekit
        >>> week = 7 * 24 * 3600
        >>> storagekit.abort_uploads("s3://my-bucket/logs", older_than=week)  # doctest: +SKIP
        [Upload(location=..., upload_id='...', started_ns=...)]
        >>> try:
        ...     storagekit.abort_uploads("memory://box", older_than=week)
        ... except OSError as error:  # which has no uploads to be left
        ...     print(type(error).__name__, error.filename)
        UnsupportedOperation memory://box/
        """
        if not isinstance(older_than, int | float) or not older_than >= 0:  # nor NaN
            raise invalid(path, f"older_than is a number of seconds, 0 or more, not {older_than!r}")
        resource = self._url(path, options)
        found = resource.backend.uploads(resource.location, resource.options)
        old = [upload for upload in found if upload.age is not None and upload.age > older_than]
        for upload in old:
            resource.backend.abort_upload(upload, resource.options)
        return old


def _like(path: object, text: str) -> Any:
    """*text* in the type that *path* came in."""
    return os.fsencode(text) if isinstance(os.fspath(cast(AnyPath, path)), bytes) else text


def _walk_in_bytes(
    walk: Iterator[tuple[str, list[str], list[str]]],
) -> Iterator[tuple[bytes, list[bytes], list[bytes]]]:
    for path, names, filenames in walk:
        pruned = [os.fsencode(name) for name in names]
        yield os.fsencode(path), pruned, [os.fsencode(name) for name in filenames]
        names[:] = [os.fsdecode(name) for name in pruned]


class _Default(Storage):
    """The Storage of the module functions; it pickles as "the default one" of whatever process it is in.

    Its settings are those of the environment. Where a variable is wrong, that is said when a URL is used, and not by
    the import, which programs make that never use one, and ``storagekit.cli`` before it can say anything.
    """

    def __init__(self) -> None:
        self._wrong: InvalidArgumentError | None = None
        try:
            settings = Settings.from_environment()
        except InvalidArgumentError as error:
            self._wrong, settings = error.with_traceback(None), Settings()
        super().__init__(settings)

    def _resource(self, path: AnyPath | int, options: Options | None, *, lazy: bool = False) -> Resource | None:
        if self._wrong is not None and isinstance(path, str | bytes | os.PathLike) and scheme_of(os.fsdecode(path)):
            raise invalid(self._wrong.filename, str(self._wrong.strerror))
        return super()._resource(path, options, lazy=lazy)

    def __reduce__(self) -> str:
        return "default"


default = _Default()
