"""engine: from a path to its driver, with which options; fork, pickle, close, and the end of the process."""

from __future__ import annotations

import errno
import gc
import os
import pickle
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import pytest

from storagekit.driver import BytesReader, ObjectWriter, Option, Options, RangeReader, Stat, Traits
from storagekit.engine import Engine
from storagekit.errors import InvalidArgumentError, not_found
from storagekit.hookspecs import hookimpl
from storagekit.location import Location
from storagekit.settings import Settings
from storagekit.storage import Storage, default


class Toy:
    """A store that has everything under every name, and remembers with which options it was asked."""

    made: list[Toy] = []  # noqa: RUF012

    def __init__(self) -> None:
        self.seen: list[tuple[str, Options]] = []
        Toy.made.append(self)

    @hookimpl
    def known_options(self) -> list[Option]:
        return [Option("profile", "which"), Option("region", "where"), Option("secret_key", "a secret", secret=True)]

    @hookimpl
    def traits(self) -> Traits:
        return Traits(implicit_directories=True)

    @hookimpl
    def open_read(self, location: Location, options: Options, head: int) -> RangeReader:
        self.seen.append((location.url, options))
        data = location.path.encode() * 10
        return BytesReader(Stat(location, size=len(data), identity="v1"), data, head=head)

    @hookimpl
    def open_write(self, location: Location, options: Options) -> ObjectWriter:
        raise PermissionError(errno.EACCES, "read only", location.url)

    @hookimpl
    def stat(self, location: Location, options: Options) -> Stat:
        self.seen.append((location.url, options))
        if location.path == "nothing":
            raise not_found(location)
        return Stat(location, size=10 * len(location.path), identity="v1")

    @hookimpl(specname="list")
    def entries(self, location: Location) -> Iterator[Stat]:
        return iter(())


class Other(Toy):
    @hookimpl
    def known_options(self) -> list[Option]:
        return [Option("profile", "which"), Option("colour", "of it")]


DRIVERS: dict[str, Any] = {"toy": Toy, "other": Other}


@pytest.fixture
def storage() -> Iterator[Storage]:
    Toy.made.clear()
    with Storage(drivers=DRIVERS) as made:
        yield made


# ---------------------------------------------------------------- what is a URL


@pytest.mark.parametrize(
    "path",
    ["plain", "/a/b", "./s3://x/y", "a/b://c", "C://x", "1a://x", "", ".", b"plain", b"\xff", Path("x"), 3, None, 2.5],
    ids=repr,
)
def test_what_is_no_url_is_left_to_the_builtins(storage: Storage, path: Any) -> None:
    assert storage._resource(path, None) is None
    assert storage._resource(path, {}) is None


class Named:
    def __init__(self, name: Any) -> None:
        self.name = name

    def __fspath__(self) -> Any:
        return self.name


@pytest.mark.parametrize("kind", [str, os.fsencode, Named, lambda text: Named(os.fsencode(text))])
def test_a_url_may_come_as_str_bytes_or_pathlike(storage: Storage, kind: Any) -> None:
    resource = storage._resource(kind("toy://box/ä b"), None)
    assert resource is not None
    assert resource.location == Location("toy", "box", "ä b")


def test_bytes_that_are_no_utf_8_survive(storage: Storage) -> None:
    resource = storage._resource(b"toy://box/\xff\xfe", None)
    assert resource is not None
    assert os.fsencode(resource.location.path) == b"\xff\xfe"


@pytest.mark.parametrize(
    "path", [Path("toy://box/key"), PurePosixPath("toy://box/key"), Path("TOY:///box"), Path("s3://b")]
)
def test_a_path_that_pathlib_collapsed_is_refused(storage: Storage, path: PurePath) -> None:
    for use in (storage.exists, storage.open, storage.listdir, storage.glob, storage.stat, storage.remove):
        with pytest.raises(InvalidArgumentError, match="pathlib collapses") as caught:
            use(path)
        assert caught.value.errno == errno.EINVAL
    with pytest.raises(InvalidArgumentError, match="pathlib collapses"):
        storage.copyfile("plain", path)
    assert Toy.made == []


@pytest.mark.parametrize("path", [Path("unknown:/box"), Path("a:/b"), Path("toy:"), Path("dir/toy:/b"), Path("toy:x")])
def test_other_colons_in_a_path_are_its_own(storage: Storage, path: Path) -> None:
    assert storage._resource(path, None) is None


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("s3:///key", InvalidArgumentError),
        ("toy:///key", InvalidArgumentError),
        ("toy://box/a\0b", InvalidArgumentError),
        ("toy://b\0x/a", InvalidArgumentError),
        ("s3://", IsADirectoryError),
        ("toy://", IsADirectoryError),
        ("toy://box", IsADirectoryError),
        ("toy://box/", IsADirectoryError),
        ("zzzzzz://box/key", OSError),
    ],
)
@pytest.mark.parametrize("mode", ["r", "wb", "x"])
def test_malformed_urls_are_refused_by_open(storage: Storage, url: str, mode: str, error: type[OSError]) -> None:
    with pytest.raises(error) as caught:
        storage.open(url, mode)
    assert caught.value.errno in (errno.EINVAL, errno.EISDIR, errno.EPROTONOSUPPORT)
    assert str(caught.value.filename).startswith(url.partition("://")[0])


def test_an_operation_for_urls_only_refuses_a_plain_path(storage: Storage) -> None:
    for use in (storage.traits, storage.uploads):
        with pytest.raises(InvalidArgumentError, match="not a plain local path"):
            use("plain")
    with pytest.raises(InvalidArgumentError, match="not a plain local path"):
        storage.rmtree("plain", dry_run=True)


# ---------------------------------------------------------------- options


@pytest.mark.parametrize("path", ["plain", b"plain", Path("plain"), 3], ids=repr)
def test_options_to_a_plain_path_are_refused(storage: Storage, path: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="options are for URLs"):
        storage.open(path, options={"profile": "x"})


def test_an_unknown_option_is_refused_before_the_driver_is_asked(storage: Storage) -> None:
    with pytest.raises(InvalidArgumentError, match="did you mean 'profile'") as caught:
        storage.exists("toy://box/key", options={"profil": "x"})
    assert caught.value.filename == "toy://box/key"
    assert Toy.made[0].seen == []


def test_options_come_from_settings_by_scheme_and_prefix_and_then_from_the_call() -> None:
    Toy.made.clear()
    options: dict[str, Options] = {
        "toy": {"profile": "scheme", "region": "scheme"},
        "toy://box/": {"profile": "box"},
        "toy://box/deep/": {"profile": "deep"},
        "toy://box": {"region": "bo"},
        "toy://bo": {"region": "of a container whose name begins the same"},
    }
    with Storage(drivers=DRIVERS, options=options) as storage:
        storage.exists("toy://else/x")
        storage.exists("toy://box/x")
        storage.exists("toy://box/deep/x")
        storage.exists("toy://box/deep/x", options={"profile": "call"})
        storage.exists(b"toy://box/x")
        assert [given for _, given in Toy.made[0].seen] == [
            {"profile": "scheme", "region": "scheme"},
            {"profile": "box", "region": "bo"},
            {"profile": "deep", "region": "bo"},
            {"profile": "call", "region": "bo"},
            {"profile": "box", "region": "bo"},
        ]


def test_the_prefixes_of_settings_hold_for_a_scheme_in_capitals() -> None:
    Toy.made.clear()
    with Storage(drivers=DRIVERS, options={"toy": {"region": "x"}, "toy://box/": {"profile": "box"}}) as storage:
        storage.exists("TOY://box/key")
        assert Toy.made[0].seen == [("toy://box/key", {"region": "x", "profile": "box"})]


def test_options_of_one_scheme_do_not_reach_another() -> None:
    Toy.made.clear()
    with Storage(drivers=DRIVERS, options={"toy": {"region": "x"}}) as storage:
        storage.exists("other://box/key")
        assert Toy.made[0].seen == [("other://box/key", {})]


def test_an_unknown_option_in_the_settings_is_refused_at_its_use() -> None:
    with (
        Storage(drivers=DRIVERS, options={"toy": {"colour": 1}}) as storage,
        pytest.raises(InvalidArgumentError, match="colour"),
    ):
        storage.exists("toy://box/key")


def test_two_paths_of_one_call_each_get_the_options_they_know(storage: Storage) -> None:
    first, second = storage._pair("toy://box/a", "other://box/b", {"profile": "p", "region": "r", "colour": "c"})
    assert first is not None
    assert second is not None
    assert dict(first.options) == {"profile": "p", "region": "r"}
    assert dict(second.options) == {"profile": "p", "colour": "c"}
    local, store = storage._pair("plain", "toy://box/b", {"region": "r"})
    assert local is None
    assert store is not None
    assert dict(store.options) == {"region": "r"}
    with pytest.raises(InvalidArgumentError, match="unknown option 'regoin'"):
        storage._pair("toy://box/a", "other://box/b", {"regoin": "r"})
    with pytest.raises(InvalidArgumentError, match="options are for URLs"):
        storage._pair("plain", "plainer", {"region": "r"})
    assert storage._pair("plain", "plainer", {}) == (None, None)


def test_two_paths_keep_the_options_of_the_settings() -> None:
    with Storage(drivers=DRIVERS, options={"toy": {"region": "x"}, "toy://b/": {"profile": "b"}}) as storage:
        one, two = storage._pair("toy://a/x", "toy://b/x", None)
        assert one is not None
        assert two is not None
        assert not one.same_store(two)
        assert one.same_store(one.at(two.location))


# ---------------------------------------------------------------- close


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "storagekit"]


def test_close_ends_the_threads_and_refuses_the_rest(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(os.urandom(5_000_000))
    storage = Storage(threads=4)
    with storage.open("memory://box/key", "wb") as file:
        file.write(os.urandom(5_000_000))
    assert len(storage.open("memory://box/key", "rb").read()) == 5_000_000
    storage.close()
    storage.close()
    assert storage._transfers.threads == 0
    assert storage._registry.loaded() == []
    assert storage.cache_info().cached == 0
    for use in (storage.open, storage.exists, storage.listdir, storage.stat):
        with pytest.raises(ValueError, match="closed"):
            use("memory://box/key")
    with storage.open(tmp_path / "big", "rb") as file:  # what needs nothing of it goes on
        assert len(file.read()) == 5_000_000


def test_close_gives_up_open_writers(tmp_path: Path) -> None:
    storage = Storage()
    file = storage.open(f"file://{tmp_path}/new", "wb")
    file.write(b"x" * 5_000_000)
    with pytest.warns(ResourceWarning, match="/new"):
        storage.close()
    assert os.listdir(tmp_path) == []
    with pytest.raises(OSError, match="given up"):
        file.close()
    assert os.listdir(tmp_path) == []


def test_close_is_complete_where_the_warning_is_an_exception(tmp_path: Path) -> None:
    storage = Storage()
    files: list[Any] = [storage.open(f"file://{tmp_path}/{name}", "wb") for name in "abc"]
    for file in files:
        file.write(b"x" * 5_000_000)
    with pytest.raises(ResourceWarning):
        storage.close()
    assert os.listdir(tmp_path) == []
    assert storage._transfers.threads == 0
    assert storage._registry.loaded() == []
    for file in files:
        file.discard()


def test_with_closes() -> None:
    with Storage() as storage:
        storage.touch("memory://box/key")
    with pytest.raises(ValueError, match="closed"):
        storage.exists("memory://box/key")


def test_a_storage_that_nobody_has_is_collected() -> None:
    storage = Storage()
    storage.touch("memory://box/key")
    gone = weakref.ref(storage)
    del storage
    gc.collect()
    assert gone() is None


def test_making_one_starts_nothing() -> None:
    before = threading.enumerate()
    storage = Storage()
    assert threading.enumerate() == before
    assert storage._registry.loaded() == []
    assert "budget" in repr(storage.cache_info())


def test_two_share_nothing() -> None:
    with Storage() as one, Storage() as two:
        with one.open("memory://box/key", "w") as file:
            file.write("mine")
        assert not two.exists("memory://box/key")
        assert one.open("memory://box/key").read() == "mine"
        assert one.cache_info().fetched == 4
        assert two.cache_info().fetched == 0
        assert one._registry.backend("memory", "") is not two._registry.backend("memory", "")
        two.close()
        assert one.open("memory://box/key").read() == "mine"


def test_settings_and_single_changes() -> None:
    settings = Settings(cache_bytes=1 << 20)
    engine = Engine(settings, threads=3)
    assert (engine.settings.cache_bytes, engine.settings.threads) == (1 << 20, 3)
    assert settings.threads == 32
    assert engine.cache_info().budget == 1 << 20
    with pytest.raises(TypeError):
        Engine(colour=3)
    with pytest.raises(InvalidArgumentError):
        Engine(threads=0)


def test_repr_shows_no_options() -> None:
    assert "hunter2" not in repr(Storage(options={"s3": {"aws_secret_access_key": "hunter2"}}))


# ---------------------------------------------------------------- pickle


def test_a_storage_pickles_as_its_settings() -> None:
    storage = Storage(cache_bytes=1 << 20, drivers=DRIVERS, options={"toy": {"profile": "x"}})
    again = pickle.loads(pickle.dumps(storage))
    assert type(again) is Storage
    assert again.settings == storage.settings
    assert again is not storage


def test_the_default_storage_pickles_as_the_default() -> None:
    assert pickle.loads(pickle.dumps(default)) is default
    assert pickle.loads(pickle.dumps(default.open)).__self__ is default


@pytest.mark.parametrize("prefix", ["toy", "toy://box/"])
def test_a_storage_with_a_secret_does_not_pickle(prefix: str) -> None:
    storage = Storage(drivers=DRIVERS, options={prefix: {"secret_key": "hunter2"}})
    with pytest.raises(TypeError, match="secret") as caught:
        pickle.dumps(storage)
    assert "hunter2" not in str(caught.value)


def test_a_reader_pickles_with_offset_and_version(storage: Storage) -> None:
    with storage.open("toy://box/key", "rb", options={"profile": "x"}) as file:
        file.read(4)
        data = pickle.dumps(file)
    Toy.made.clear()
    again = pickle.loads(data)
    assert again.tell() == 4
    assert again.read() == (b"key" * 10)[4:]
    assert Toy.made[0].seen == [("toy://box/key", {"profile": "x"})]
    again.close()


@pytest.mark.parametrize("where", ["call", "settings"])
def test_a_reader_with_a_secret_does_not_pickle(where: str) -> None:
    secret = {"secret_key": "hunter2"}
    with (
        Storage(drivers=DRIVERS, options={"toy": secret} if where == "settings" else {}) as storage,
        storage.open("toy://box/key", "rb", options=secret if where == "call" else None) as file,
    ):
        with pytest.raises(TypeError, match="secret") as caught:
            pickle.dumps(file)
        assert "hunter2" not in str(caught.value)


def test_a_reader_of_a_storage_with_another_schemes_secret_does_not_pickle() -> None:
    with (
        Storage(drivers=DRIVERS, options={"toy": {"secret_key": "hunter2"}}) as storage,
        storage.open("other://box/key", "rb") as file,
        pytest.raises(TypeError, match="secret"),
    ):
        pickle.dumps(file)


def test_what_does_not_pickle_says_so(storage: Storage) -> None:
    file = storage.open("toy://box/key", "rb")
    file.close()
    with pytest.raises(ValueError, match="closed"):
        pickle.dumps(file)
    with storage.open("toy://box/key") as text, pytest.raises(TypeError):
        pickle.dumps(text)
    with storage.open("memory://box/key", "wb") as writer, pytest.raises(TypeError):
        pickle.dumps(writer)


# ---------------------------------------------------------------- fork


def in_child(step: Any) -> str:
    """What *step* returns in a forked child, or its error."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:  # pragma: no cover
        try:
            text = str(step())
        except BaseException as error:
            text = repr(error)
        os.write(writing, text.encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        text = pipe.read().decode()
    os.waitpid(pid, 0)
    return text


def test_the_functions_work_in_a_forked_child(tmp_path: Path) -> None:
    with Storage() as storage:
        data = os.urandom(3_000_000)
        with storage.open("memory://box/key", "wb") as file:
            file.write(data)
        reader = storage.open("memory://box/key", "rb")
        reader.read(100_000)

        def child() -> str:
            assert reader.read() == data[100_000:]
            with storage.open("memory://box/mine", "wb") as file:
                file.write(data)
            with storage.open(f"file://{tmp_path}/mine", "wb") as file:
                file.write(data)
            assert storage.open("memory://box/key", "rb").read() == data
            assert storage.cache_info().in_flight == 0
            return " ".join(storage.listdir("memory://box"))

        assert in_child(child) == "key mine"
        assert storage.listdir("memory://box") == ["key"]
        assert (tmp_path / "mine").read_bytes() == data
        assert reader.read() == data[100_000:]
        reader.close()


def test_a_fork_while_every_lock_is_in_use() -> None:
    """Threads of the parent that hold what the child would need: it must not wait for them."""
    with Storage(threads=4) as storage:
        data = os.urandom(1_000_000)
        for number in range(4):
            with storage.open(f"memory://box/{number}", "wb") as file:
                file.write(data)
        stop = threading.Event()

        def work(number: int) -> None:
            while not stop.is_set():
                storage.open(f"memory://box/{number}", "rb").read()
                with storage.open(f"memory://box/{number}", "wb") as file:
                    file.write(data)

        workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for worker in workers:
            worker.start()
        try:
            for _ in range(10):
                assert in_child(lambda: len(storage.open("memory://box/0", "rb").read())) == "1000000"
        finally:
            stop.set()
            for worker in workers:
                worker.join(30)


CONCURRENT = """
import os, sys, threading
from storagekit import engine
from storagekit.storage import Storage

storage = Storage()
arrived = threading.Semaphore(0)

class Lock:
    '''The cache's lock, which tells who comes to take it.'''
    def __init__(self, lock):
        self.lock = lock
    def acquire(self, *a, **k):
        arrived.release()
        return self.lock.acquire(*a, **k)
    def release(self):
        self.lock.release()

real = storage._cache.lock
storage._cache.lock = Lock(real)
real.acquire()

def fork():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)

forks = [threading.Thread(target=fork) for _ in range(2)]
for thread in forks:
    thread.start()
assert arrived.acquire(timeout=20)
arrived.acquire(timeout=0.3)  # the second may come as far, or wait before
real.release()
for thread in forks:
    thread.join(20)
    assert not thread.is_alive()
"""


def test_two_threads_that_fork_at_once() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", CONCURRENT], check=True, timeout=60)


def test_a_handle_outlives_its_storage_through_a_fork() -> None:
    storage = Storage()
    with storage.open("memory://box/key", "wb") as file:
        file.write(b"x" * 300_000)
    reader = storage.open("memory://box/key", "rb", buffering=0)
    lock = storage._cache.lock
    del storage
    gc.collect()
    taken, release = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            taken.set()
            release.wait(0.2)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(30)
    assert in_child(lambda: len(reader.read())) == "300000"  # the fork waits for the lock, and the child has it free
    release.set()
    thread.join(30)
    reader.close()


def test_the_reaper_of_a_forked_child_has_nothing_to_give_up(tmp_path: Path) -> None:
    with Storage() as storage, storage.open(f"file://{tmp_path}/new", "wb") as file:
        file.write(b"x" * 5_000_000)

        def child() -> str:
            storage._reaper.at_exit()
            storage._reaper.give_up()
            storage.close()
            return "done"

        assert in_child(child) == "done"
    assert (tmp_path / "new").stat().st_size == 5_000_000


# ---------------------------------------------------------------- import


def test_importing_starts_nothing_and_loads_no_driver() -> None:
    script = (
        "import sys, threading, storagekit; "
        "assert threading.active_count() == 1; "
        "assert not [m for m in sys.modules if m.startswith(('boto', 'storagekit_'))]; "
        "storagekit.open('/dev/null').close(); storagekit.exists('x'); "
        "assert not [m for m in sys.modules if m.startswith(('boto', 'storagekit_'))]"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_credentials_in_a_url_are_not_repeated_beside_a_wrong_option() -> None:
    with Storage() as storage, pytest.raises(InvalidArgumentError) as caught:
        storage.open("s3://AKIAEXAMPLE:hunter2@bucket/key", options={"bad": 1})
    assert "hunter2" not in repr(caught.value) + str(caught.value.filename)
