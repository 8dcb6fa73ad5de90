"""files: ``open`` on URLs puts the builtin's layers together, takes what it takes, and refuses what it refuses."""

from __future__ import annotations

import errno
import gzip
import io
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

import storagekit
from storagekit.driver import (
    Absent,
    Body,
    BytesReader,
    Condition,
    RangeReader,
    Stat,
    Traits,
    WholeObjectWriter,
)
from storagekit.errors import InvalidArgumentError, exists, not_found, os_error
from storagekit.hookspecs import hookimpl
from storagekit.location import Location
from storagekit.native import NativeReader
from storagekit.reading import READ_BUFFER, BufferedReader, ReadStream
from storagekit.storage import Storage
from storagekit.writing import BinaryWriter, TextWriter, WriteSink


class Toy:
    """A store in a dictionary, which counts what it is asked and can refuse single hooks."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.calls: list[str] = []
        self.refuse: dict[str, BaseException] = {}
        self.racing: bytes | None = None
        """What another client puts there between our look and our commit."""

    def _called(self, hook: str, location: Location) -> None:
        self.calls.append(f"{hook} {location.path}")
        if hook in self.refuse:
            raise self.refuse[hook]

    @hookimpl
    def traits(self) -> Traits:
        return Traits(implicit_directories=True, sorted_listing=True)

    @hookimpl
    def open_read(self, location: Location, head: int) -> RangeReader:
        self._called("open_read", location)
        if location.path not in self.objects:
            raise not_found(location)
        data = self.objects[location.path]
        return BytesReader(Stat(location, size=len(data), identity="v1"), data, head=head)

    @hookimpl
    def open_write(self, location: Location, condition: Condition) -> WholeObjectWriter:
        self._called("open_write", location)

        def put(body: Body) -> Stat:
            if self.racing is not None:
                self.objects[location.path] = self.racing
            if isinstance(condition, Absent) and location.path in self.objects:
                raise exists(location)
            data = self.objects[location.path] = b"".join(body)
            return Stat(location, size=len(data))

        return WholeObjectWriter(put)

    @hookimpl
    def stat(self, location: Location) -> Stat:
        self._called("stat", location)
        if location.path not in self.objects:
            raise not_found(location)
        return Stat(location, size=len(self.objects[location.path]))

    @hookimpl(specname="list")
    def entries(self, location: Location, limit: int | None) -> Iterator[Stat]:
        self._called("list", location)
        below = sorted(key for key in self.objects if key.startswith(location.prefix))
        return iter(
            [
                Stat(Location(location.scheme, location.container, key), size=len(self.objects[key]))
                for key in below[:limit]
            ]
        )


@pytest.fixture
def toy() -> Toy:
    return Toy()


@pytest.fixture
def storage(toy: Toy) -> Iterator[Storage]:
    with Storage(drivers={"toy": lambda: toy}) as made:
        yield made


def put(toy: Toy, **objects: bytes) -> None:
    toy.objects.update(objects)


# ---------------------------------------------------------------- layers


def test_the_types_of_the_layers(toy: Toy, storage: Storage) -> None:
    put(toy, key=b"text\n")
    with storage.open("toy://box/key") as text:
        assert type(text) is io.TextIOWrapper
        assert type(text.buffer) is BufferedReader
        assert isinstance(text.buffer, io.BufferedReader)
        assert (text.name, text.mode, text.encoding, text.errors) == ("toy://box/key", "r", "utf-8", "strict")
    with storage.open("toy://box/key", "rb") as binary:
        assert type(binary) is BufferedReader
        assert type(binary.raw) is ReadStream
        assert (binary.name, binary.mode) == ("toy://box/key", "rb")
        assert binary.stat.size == 5
    with storage.open("toy://box/key", "rb", buffering=0) as raw:
        assert isinstance(raw, ReadStream)
        assert (raw.name, raw.mode) == ("toy://box/key", "rb")
    with storage.open("toy://box/new", "w") as text:
        assert type(text) is TextWriter
        assert isinstance(text, io.TextIOWrapper)
        assert type(text.buffer) is BinaryWriter
        assert (text.name, text.mode, text.encoding) == ("toy://box/new", "w", "utf-8")
    with storage.open("toy://box/new", "wb") as binary:
        assert type(binary) is BinaryWriter
        assert isinstance(binary, io.BufferedWriter)
        assert type(binary.raw) is WriteSink
        assert (binary.name, binary.mode) == ("toy://box/new", "wb")


@pytest.mark.parametrize("mode", ["r", "rt", "tr", "w", "wt", "x", "xt"])
def test_a_text_file_has_the_mode_it_was_opened_with(toy: Toy, storage: Storage, mode: str) -> None:
    put(toy, key=b"")
    with storage.open("toy://box/key" if "r" in mode else "toy://box/new", mode) as file:
        assert file.mode == mode


@pytest.mark.parametrize(("mode", "says"), [("rb", "rb"), ("br", "rb"), ("wb", "wb"), ("xb", "xb"), ("bx", "xb")])
def test_a_binary_file_has_its_mode_as_the_builtin_says_it(toy: Toy, storage: Storage, mode: str, says: str) -> None:
    put(toy, key=b"")
    with storage.open("toy://box/key" if "r" in mode else "toy://box/new", mode) as file:
        assert file.mode == says


@pytest.mark.parametrize("buffering", [-5, -1, 0, 1, 2, 100, 1_000_000])
@pytest.mark.parametrize("mode", ["rb", "wb"])
def test_any_buffering_of_binary(toy: Toy, storage: Storage, buffering: int, mode: str) -> None:
    put(toy, key=bytes(range(256)) * 10)
    if mode == "rb":
        with storage.open("toy://box/key", mode, buffering) as file:
            assert b"".join(iter(lambda: file.read(77), b"")) == toy.objects["key"]
    else:
        with storage.open("toy://box/new", mode, buffering) as file:
            for _ in range(10):
                assert file.write(bytes(range(256))) == 256
            assert "new" not in toy.objects
        assert toy.objects["new"] == toy.objects["key"]


def test_buffering_of_text(toy: Toy, storage: Storage) -> None:
    file: Any
    with storage.open("toy://box/new", "w", buffering=1) as file:
        assert file.line_buffering
        file.write("one\ntwo")
        assert "new" not in toy.objects
    with storage.open("toy://box/new", buffering=1) as file:
        assert file.line_buffering
        assert file.read() == "one\ntwo"
    with storage.open("toy://box/new", buffering=2) as file:
        assert not file.line_buffering
        assert file.readlines() == ["one\n", "two"]


def test_a_buffer_that_cannot_be_had(toy: Toy, storage: Storage) -> None:
    put(toy, key=b"data")
    for mode in ("rb", "r"):
        with pytest.raises((MemoryError, OverflowError)):
            storage.open("toy://box/key", mode, buffering=1 << 61)
    with pytest.raises((MemoryError, OverflowError)):
        storage.open("toy://box/new", "wb", buffering=1 << 61)
    assert "new" not in toy.objects
    assert not storage._reaper._unfinished


# ---------------------------------------------------------------- text


def test_text_is_utf_8_whatever_the_locale_says(toy: Toy, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locale.getpreferredencoding", lambda *_: "latin-1")
    with storage.open("toy://box/key", "w") as file:
        file.write("grüße\u2028")
    assert toy.objects["key"] == "grüße\u2028".encode()
    assert storage.open("toy://box/key").read() == "grüße\u2028"
    with storage.open("toy://box/key", "w", encoding="latin-1", errors="replace") as file:
        file.write("grüße\u2028")
    assert toy.objects["key"] == b"gr\xfc\xdfe?"
    assert storage.open("toy://box/key", errors="ignore").read() == "gre?"


@pytest.mark.parametrize(
    ("newline", "stored"),
    [(None, b"a\nb\r\nc"), ("", b"a\nb\r\nc"), ("\n", b"a\nb\r\nc"), ("\r\n", b"a\r\nb\r\r\nc"), ("\r", b"a\rb\r\rc")],
)
def test_line_ends_in_writing(
    toy: Toy, storage: Storage, newline: str | None, stored: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.linesep", "\r\n")
    with storage.open("toy://box/key", "w", newline=newline) as file:
        file.write("a\nb\r\nc")
    assert toy.objects["key"] == stored


@pytest.mark.parametrize("newline", [None, "", "\n", "\r", "\r\n"])
def test_line_ends_in_reading_are_the_builtins(toy: Toy, storage: Storage, newline: str | None, tmp_path: Any) -> None:
    data = b"a\nb\r\nc\rd"
    put(toy, key=data)
    path = tmp_path / "file"
    path.write_bytes(data)
    with open(path, newline=newline) as local, storage.open("toy://box/key", newline=newline) as file:
        assert file.readlines() == local.readlines()


WRONG: list[dict[str, Any]] = [
    {"mode": "rb", "encoding": "utf-8"},
    {"mode": "rb", "errors": "strict"},
    {"mode": "rb", "newline": "\n"},
    {"mode": "wb", "encoding": "utf-8"},
    {"mode": "r", "buffering": 0},
    {"mode": "w", "buffering": 0},
    {"mode": ""},
    {"mode": "b"},
    {"mode": "rw"},
    {"mode": "wx"},
    {"mode": "rr"},
    {"mode": "rbt"},
    {"mode": "U"},
    {"mode": "rU"},
    {"mode": "q"},
    {"mode": "r "},
    {"mode": None},
    {"mode": b"r"},
    {"mode": 3},
    {"encoding": "no-such-encoding"},
    {"mode": "w", "encoding": "no-such-encoding"},
    {"newline": "x"},
    {"mode": "w", "newline": "x"},
    {"newline": 3},
    {"encoding": 3},
    {"buffering": "3"},
    {"buffering": None},
]


@pytest.mark.parametrize("arguments", WRONG, ids=str)
def test_wrong_arguments_are_refused_as_by_the_builtin(
    toy: Toy, storage: Storage, arguments: dict[str, Any], tmp_path: Any
) -> None:
    put(toy, key=b"data")
    path = tmp_path / "key"
    path.write_bytes(b"data")
    with pytest.raises((TypeError, ValueError, LookupError)) as expected:
        open(path, **arguments)
    with pytest.raises(expected.type):
        storage.open("toy://box/key", **arguments)
    assert toy.objects == {"key": b"data"}, "an error of the caller publishes nothing"


@pytest.mark.parametrize("mode", ["a", "ab", "r+", "rb+", "a+t"])
def test_edits_need_a_store_that_decides_conditions(toy: Toy, storage: Storage, mode: str) -> None:
    put(toy, key=b"data")
    with pytest.raises(io.UnsupportedOperation, match="same version") as caught:
        storage.open("toy://box/key", mode)
    assert caught.value.errno == errno.ENOTSUP
    assert caught.value.filename == "toy://box/key"
    assert toy.objects == {"key": b"data"}


@pytest.mark.parametrize("mode", ["r+", "w+b", "x+", "a+t"])
def test_edits_do_not_go_with_compression(toy: Toy, storage: Storage, mode: str) -> None:
    with pytest.raises(InvalidArgumentError, match="compression") as caught:
        storage.open("toy://box/key", mode, compression="gzip")
    assert repr(mode) in str(caught.value)
    assert toy.calls == []


def test_an_unknown_compression_is_refused_before_anything_is_asked(toy: Toy, storage: Storage) -> None:
    for mode in ("r", "wb"):
        with pytest.raises(InvalidArgumentError, match="unknown compression 'zip'"):
            storage.open("toy://box/key", mode, compression="zip")
    assert toy.calls == []


def test_compression_reaches_through_all_layers(toy: Toy, storage: Storage) -> None:
    with storage.open("toy://box/a.gz", "w", compression="infer") as file:
        assert type(file) is TextWriter
        assert file.name == "toy://box/a.gz"
        file.write("text\n")
    assert gzip.decompress(toy.objects["a.gz"]) == b"text\n"
    with storage.open("toy://box/a.gz", compression="infer") as file:
        assert file.name == "toy://box/a.gz"
        assert file.readlines() == ["text\n"]
    with storage.open("toy://box/a.gz", "rb", compression="gzip", buffering=0) as binary:
        assert binary.read() == b"text\n"
    with storage.open("toy://box/a.gz", "rb") as binary:
        assert binary.read(2) == b"\x1f\x8b"


# ---------------------------------------------------------------- what is not a file


@pytest.mark.parametrize("mode", ["r", "rb"])
@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("folder", IsADirectoryError),
        ("folder/", IsADirectoryError),
        ("marked", IsADirectoryError),
        ("marked/", IsADirectoryError),
        ("file/", NotADirectoryError),
        ("nothing", FileNotFoundError),
        ("nothing/", FileNotFoundError),
        ("file/below", FileNotFoundError),
        ("", IsADirectoryError),
    ],
)
def test_opening_what_is_not_there(toy: Toy, storage: Storage, mode: str, key: str, error: type[OSError]) -> None:
    toy.objects = {"file": b"data", "folder/file": b"data", "marked/": b""}
    with pytest.raises(error) as caught:
        storage.open(f"toy://box/{key}", mode)
    assert caught.value.filename == f"toy://box/{key}"
    assert type(caught.value) is error
    assert caught.value.errno in (errno.EISDIR, errno.ENOTDIR, errno.ENOENT)


def test_data_under_a_key_with_a_slash_is_read(toy: Toy, storage: Storage) -> None:
    toy.objects = {"odd/": b"data"}
    with storage.open("toy://box/odd/", "rb") as file:
        assert file.read() == b"data"


def test_a_present_file_costs_one_question(toy: Toy, storage: Storage) -> None:
    put(toy, key=b"data")
    storage.open("toy://box/key").read()
    assert toy.calls == ["open_read key"]


DENIED = os_error(errno.EACCES, "toy://box/key")


@pytest.mark.parametrize("hooks", [("list",), ("stat",), ("list", "stat")])
@pytest.mark.parametrize("failure", [DENIED, ConnectionResetError(errno.ECONNRESET, "reset"), TimeoutError()], ids=repr)
def test_a_failing_diagnosis_never_replaces_the_answer(
    toy: Toy, storage: Storage, hooks: tuple[str, ...], failure: OSError
) -> None:
    toy.refuse = dict.fromkeys(hooks, failure)
    for key in ("nothing", "nothing/"):
        with pytest.raises(FileNotFoundError) as caught:
            storage.open(f"toy://box/{key}")
        assert caught.value.filename == f"toy://box/{key}"


def test_other_failures_are_not_diagnosed(toy: Toy, storage: Storage) -> None:
    toy.objects = {"folder/file": b""}
    toy.refuse = {"open_read": DENIED}
    with pytest.raises(PermissionError):
        storage.open("toy://box/folder")
    assert toy.calls == ["open_read folder"]


@pytest.mark.parametrize("mode", ["w", "wb", "x", "xb"])
@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("", IsADirectoryError),
        ("folder/", IsADirectoryError),
        ("nothing/", FileNotFoundError),
        ("file/", NotADirectoryError),
    ],
)
def test_writing_to_the_name_of_a_directory(
    toy: Toy, storage: Storage, mode: str, key: str, error: type[OSError]
) -> None:
    toy.objects = before = {"file": b"data", "folder/file": b"data"}
    with pytest.raises(error) as caught:
        storage.open(f"toy://box/{key}", mode)
    assert caught.value.filename == f"toy://box/{key}"
    assert toy.objects == before


def test_a_file_may_be_written_beside_a_directory(toy: Toy, storage: Storage) -> None:
    toy.objects = {"folder/file": b"data"}
    storage.open("toy://box/folder", "x").close()
    assert toy.objects["folder"] == b""


# ---------------------------------------------------------------- x


def test_x_looks_early(toy: Toy, storage: Storage) -> None:
    put(toy, key=b"data")
    with pytest.raises(FileExistsError) as caught:
        storage.open("toy://box/key", "x")
    assert caught.value.filename == "toy://box/key"
    assert toy.calls == ["stat key"]


def test_x_is_decided_at_the_end(toy: Toy, storage: Storage) -> None:
    file = storage.open("toy://box/new", "x")
    file.write("mine")
    toy.racing = b"theirs"
    with pytest.raises(FileExistsError):
        file.close()
    assert toy.objects["new"] == b"theirs"
    assert file.closed


def test_w_does_not_look(toy: Toy, storage: Storage) -> None:
    put(toy, key=b"data")
    storage.open("toy://box/key", "w").close()
    assert toy.calls == ["open_write key"]
    assert toy.objects == {"key": b""}


def test_a_failure_of_the_early_look_is_raised(toy: Toy, storage: Storage) -> None:
    toy.refuse = {"stat": ConnectionResetError(errno.ECONNRESET, "reset", "toy://box/new")}
    with pytest.raises(ConnectionResetError):
        storage.open("toy://box/new", "x")
    assert toy.calls == ["stat new"]


def test_who_may_write_need_not_be_allowed_to_look(toy: Toy, storage: Storage) -> None:
    toy.refuse = {"stat": DENIED}
    with storage.open("toy://box/new", "x") as file:
        file.write("decided at the commit")
    assert toy.objects["new"] == b"decided at the commit"


def test_a_refused_write_leaves_nothing_open(toy: Toy, storage: Storage) -> None:
    toy.refuse = {"open_write": DENIED}
    for mode in ("w", "wb", "x"):
        with pytest.raises(PermissionError):
            storage.open("toy://box/new", mode)
    assert toy.objects == {}


# ---------------------------------------------------------------- sizes


def test_an_unknown_size_is_refused_and_the_reader_closed(toy: Toy, storage: Storage) -> None:
    closed = []

    class Endless(BytesReader):
        def close(self) -> None:
            closed.append(self)

    class Streaming(Toy):
        @hookimpl
        def open_read(self, location: Location, head: int) -> RangeReader:
            return Endless(Stat(location), b"data")

    with Storage(drivers={"toy": Streaming}) as other, pytest.raises(io.UnsupportedOperation, match="size"):
        other.open("toy://box/key")
    assert len(closed) == 1


def test_a_marker_that_was_opened_is_closed(toy: Toy, storage: Storage) -> None:
    closed = []

    class Marker(BytesReader):
        def close(self) -> None:
            closed.append(self)

    class Marked(Toy):
        @hookimpl
        def open_read(self, location: Location, head: int) -> RangeReader:
            return Marker(Stat(location, size=0), b"")

    with Storage(drivers={"toy": Marked}) as other, pytest.raises(IsADirectoryError):
        other.open("toy://box/key/")
    assert len(closed) == 1


def test_arguments_about_descriptors(toy: Toy, storage: Storage) -> None:
    put(toy, key=b"data")
    for mode in ("r", "wb", "x"):
        with pytest.raises(InvalidArgumentError, match="closefd"):
            storage.open("toy://box/key", mode, closefd=False)
    assert toy.calls == []
    with storage.open("toy://box/key", opener=lambda *_: 3) as file:  # means nothing for a URL
        assert file.read() == "data"


def test_a_native_file_is_the_builtins_with_ranges_beside(tmp_path: Any) -> None:
    (tmp_path / "file").write_bytes(b"one\ntwo\n")
    with Storage() as storage:
        with storage.open(f"file://{tmp_path}/file", "rb") as file:
            assert isinstance(file, io.BufferedReader)
            assert file.fileno() > 0
            assert isinstance(file, NativeReader)
            assert file.pread(4, 3) == b"two"
            assert file.read_ranges([(4, 7), (0, 3)]) == [b"two", b"one"]
        with storage.open(f"file://{tmp_path}/file", "rb", buffering=0) as raw:
            assert isinstance(raw, io.RawIOBase)
        with storage.open(f"file://{tmp_path}/file") as text:
            assert type(text) is io.TextIOWrapper
            assert text.mode == "r"
            assert list(text) == ["one\n", "two\n"]


@pytest.mark.parametrize("buffering", [-1, 2, 4096, 1_000_000])
def test_a_native_files_buffer_is_as_large_as_was_asked(tmp_path: Any, buffering: int) -> None:
    (tmp_path / "file").write_bytes(bytes(2_000_000))
    with Storage() as storage, storage.open(f"file://{tmp_path}/file", "rb", buffering) as file:
        assert len(file.peek(1)) == (READ_BUFFER if buffering == -1 else buffering)


# ---------------------------------------------------------------- hints


@pytest.mark.parametrize("access", [None, "sequential", "random"])
@pytest.mark.parametrize("mode", ["r", "rb"])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_hint_goes_with_every_way_of_reading(
    toy: Toy, storage: Storage, access: Any, mode: str, compression: Any
) -> None:
    put(toy, key=gzip.compress(b"text") if compression else b"text")
    with storage.open("toy://box/key", mode, compression=compression, access=access) as file:
        assert file.read() == ("text" if mode == "r" else b"text")


@pytest.mark.parametrize("access", ["sequential", "random"])
def test_a_hint_reaches_the_handle_and_the_one_that_was_pickled(access: Any) -> None:
    """Seen in what is asked for: one who is told runs ahead at once, or never."""
    url = f"memory://hints-{access}/key"
    with storagekit.open(url, "wb") as target:
        target.write(bytes(4_000_000))
    file: Any
    with storagekit.open(url, "rb", access=access) as file, pickle.loads(pickle.dumps(file)) as again:
        for each in (file, again):
            each.seek(1_000_000)
            each.read(10)
            assert (each.raw._access._window.size > 0) is (access == "sequential")
    storagekit.remove(url)


@pytest.mark.parametrize("wrong", ["sequentially", "", "Random", 3, True, b"random", ["random"]], ids=repr)
@pytest.mark.parametrize("place", ["toy://box/key", "/nowhere/at/all"])
def test_another_hint_is_refused_before_anything_is_asked(toy: Toy, storage: Storage, wrong: Any, place: str) -> None:
    with pytest.raises(InvalidArgumentError, match="'sequential' or 'random'") as caught:
        storage.open(place, "rb", access=wrong)
    assert repr(wrong) in str(caught.value)
    assert caught.value.filename == place
    assert toy.calls == []


@pytest.mark.parametrize("mode", ["w", "wb", "x", "a"])
@pytest.mark.parametrize("local", [False, True], ids=["url", "path"])
def test_a_hint_for_writing_is_refused(toy: Toy, storage: Storage, tmp_path: Any, mode: str, local: bool) -> None:
    path = tmp_path / "file"
    with pytest.raises(InvalidArgumentError, match="access says how a file will be read"):
        storage.open(path if local else "toy://box/key", mode, access="random")
    assert toy.calls == []
    assert not path.exists()


def test_a_hint_means_nothing_for_a_plain_path(storage: Storage, tmp_path: Any) -> None:
    (tmp_path / "file").write_bytes(b"data")
    with storage.open(tmp_path / "file", "rb", access="sequential") as file:
        assert type(file) is io.BufferedReader
        assert file.read() == b"data"
