"""Hostile listings: whatever a server answers, it is the right answer or an error, in bounded memory and requests."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping

import pytest
from s3_hostile_support import MiB, asked_for, counted, entry, hostile, listed, one, page, peak, prefix, refused
from s3_scripted import Asked, reply
from s3_support import FakeApi

import storagekit
from storagekit.driver import Stat
from storagekit.location import Location
from storagekit_s3 import progress
from storagekit_s3.api import Entry, Page
from storagekit_s3.driver import S3Driver

pytest_plugins = ["s3_support"]


# ---------------------------------------------------------------- pages without end

TRAPS: dict[str, Callable[[int], bytes]] = {
    "one token": lambda n: page(entry(f"dir/{n:09}"), token="again"),
    "two tokens in turn": lambda n: page(entry(f"dir/{n:09}"), token="AB"[n % 2]),
    "five tokens in turn": lambda n: page(entry(f"dir/{n:09}"), token=f"t{n % 5}"),
    "one page under new tokens": lambda n: page(entry("dir/a"), entry("dir/b"), token=f"t{n}"),
    "two pages in turn under new tokens": lambda n: page(entry(f"dir/{'ab'[n % 2]}"), token=f"t{n}"),
    "one token and nothing else": lambda n: page(token="again"),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_what_goes_round_in_a_circle_is_noticed(trap: str, transport: str) -> None:
    with listed(counted(TRAPS[trap]), transport, "dir") as (server, found):
        refused(found, "does not advance: the server repeats")
    assert len(server.asked) <= 16


@pytest.mark.parametrize(
    "page_of",
    [
        lambda n: page(token=f"t{n}"),
        lambda n: page(entry(f"z{1_000_000 - n}"), token=f"t{n}"),
        lambda n: page(prefix("a/"), token=f"t{n}"),
    ],
    ids=["empty", "backwards", "one common prefix"],
)
def test_pages_that_bring_nothing_new_are_borne_for_a_while(
    page_of: Callable[[int], bytes], transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "MOST_VAIN", 20)
    with listed(counted(page_of), transport, recursive=False) as (server, found):
        refused(found, "20 pages in a row had nothing new")
    assert len(server.asked) <= 22


def test_some_empty_pages_are_no_trap(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a thousand keys in a row were deleted, and only marked as such."""
    monkeypatch.setattr(progress, "MOST_VAIN", 20)

    def page_of(number: int) -> bytes:
        return page(*[entry(f"k{number:03}")] * (number % 20 == 0), token=None if number == 60 else f"t{number}")

    with listed(counted(page_of), transport) as (_, found):
        assert [stat.location.path for stat in found] == ["k000", "k020", "k040", "k060"]


class Pages(FakeApi):
    """The port, with a listing in which each page is made by number."""

    def __init__(self, made: Callable[[int], Page]) -> None:
        super().__init__()
        self.made = made

    def list_page(self, *_: object, **__: object) -> Page:
        self.calls.append("list")
        return self.made(len(self.calls) - 1)


def unordered(made: Callable[[int], Page]) -> tuple[Pages, Iterator[Stat]]:
    """A directory bucket, which lists in no order, and its listing."""
    api = Pages(made)
    return api, api.driver().entries(Location("s3", "box--zone--x-s3", ""), {}, True, None, "")


def test_a_directory_bucket_lists_in_no_order() -> None:
    keys = ["m", "z", "a", "k", "b"]
    _, found = unordered(lambda n: Page([Entry(keys[n], 1, "e", 0, None)], [], None if n == 4 else f"t{n}"))
    assert [stat.location.path for stat in found] == keys


@pytest.mark.parametrize(
    "made",
    [
        lambda n: Page([Entry(f"k{n % 7}", 1, "e", 0, None)], [], f"t{n}"),
        lambda n: Page([Entry(f"k{n}", 1, "e", 0, None)], [], f"t{n % 7}"),
        lambda n: Page([Entry("a", 1, "e", 0, None)], [], f"t{n}"),
        lambda n: Page([], [], f"t{n}"),
    ],
)
def test_nor_does_a_directory_bucket_go_round_in_circles(
    made: Callable[[int], Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "MOST_VAIN", 20)
    api, found = unordered(made)
    refused(found, "does not advance", "s3://box--zone--x-s3")
    assert len(api.calls) <= 24


def test_more_is_said_to_follow_and_not_where(transport: str) -> None:
    with listed(one(page(entry("a")).replace(b">false<", b">true<")), transport) as (server, found):
        refused(found, "more entries follow, and no token says where")
    assert len(server.asked) == 1


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("recursive", [True, False])
@pytest.mark.parametrize("name", ["other/a", "di", "dir", "dirx", "", "/dir/a", "../dir/a", "s3://box/dir/a"])
def test_a_key_that_was_not_asked_for(name: str, recursive: bool, transport: str) -> None:
    with listed(one(page(entry("dir/a"), entry(name))), transport, "dir", recursive=recursive) as (_, found):
        assert refused(found, "no key|was not asked for") == []


@pytest.mark.parametrize("name", ["", "dir/", "dir", "other/", "dir/a", "dir/a/b/", "dir/a/b", "/"])
def test_a_common_prefix_that_was_not_asked_for(name: str, transport: str) -> None:
    with listed(one(page(prefix(name))), transport, "dir", recursive=False) as (_, found):
        refused(found, "was not asked for|no key")


def test_a_common_prefix_where_none_was_asked_for(transport: str) -> None:
    with listed(one(page(prefix("dir/a/"))), transport, "dir") as (_, found):
        refused(found, "was not asked for")


def test_what_lies_deeper_than_was_asked_for(transport: str) -> None:
    with listed(one(page(entry("dir/a/b"))), transport, "dir", recursive=False) as (_, found):
        refused(found, "was not asked for")


def test_odd_keys_are_what_they_are(transport: str) -> None:
    """A store may hold any of them: the prefix itself, dots, slashes, control characters, bytes that are no text."""
    encoded = ["", ".", "..", "%2F", "%2F%2F", "..%2F..%2Fetc", "a%0Ab", "a%0D", "%00", "%1B%5B2J", "+", "%2B"]
    meant = ["", ".", "..", "/", "//", "../../etc", "a\nb", "a\r", "\0", "\x1b[2J", " ", "+"]
    with listed(one(page(*[entry(f"dir/{key}") for key in encoded])), transport, "dir") as (_, found):
        assert [stat.location.path for stat in found] == [f"dir/{key}" for key in meant]


def test_bytes_that_are_no_text_name_no_other_key(transport: str) -> None:
    with listed(one(page(entry("a%FFb"), entry("a%EF%BF%BDb"))), transport) as (_, found):
        assert [stat.location.path for stat in found] == ["a\udcffb", "a\ufffdb"]


@pytest.mark.parametrize(
    "raw", ["a\x01b", "a\x00b", "a\x1bb", "\udcff", "\udced\udca0\udc80", "&#1;", "&#0;", "&#xD800;"]
)
def test_what_no_document_can_have_in_a_key(raw: str, transport: str) -> None:
    """Refused, or taken for the character that it stands for."""
    with listed(one(page(entry(raw), encoded=False)), transport) as (_, found):
        try:
            keys = [stat.location.path for stat in found]
        except OSError as error:
            assert error.errno == errno.EIO
            assert error.filename == "s3://box/"
        else:
            assert keys == [raw]


def test_a_name_that_comes_twice_is_given_once(transport: str) -> None:
    def page_of(number: int) -> bytes:
        return (
            page(entry("a"), entry("a"), prefix("b/"), token="next") if number == 0 else page(prefix("b/"), entry("c"))
        )

    with listed(counted(page_of), transport, recursive=False) as (_, found):
        assert [stat.location.path for stat in found] == ["a", "b/", "c"]


def test_a_key_of_ten_megabytes(transport: str) -> None:
    def list_it() -> None:
        with listed(one(page(entry("k" * 10 * MiB))), transport) as (_, found):
            [stat] = found
            assert len(stat.location.path) == 10 * MiB

    assert peak(list_it) < 400 * MiB
    with listed(one(page(entry("k" * 10 * MiB))), transport, "dir") as (_, found):
        with pytest.raises(OSError, match="was not asked for") as caught:
            list(found)
        assert len(str(caught.value)) < 1000


def test_what_is_counted_wrongly(transport: str) -> None:
    lies = "<KeyCount>99999999999999999999</KeyCount><MaxKeys>-1</MaxKeys>"
    with listed(one(page(lies, entry("a"), entry("b"))), transport) as (_, found):
        assert len(list(found)) == 2
    many = page(*[entry(f"{n:05}") for n in range(5000)])
    with hostile(one(many), transport) as (_, options):
        driver = S3Driver()
        assert len(list(driver.entries(Location("s3", "box", ""), options, True, 3, ""))) == 3
        driver.close()


# ---------------------------------------------------------------- the functions that stand on it

FUNCTIONS: dict[str, Callable[[storagekit.Storage, Mapping[str, object]], object]] = {
    "listdir": lambda storage, options: storage.listdir("s3://box/dir", options=options),
    "scandir": lambda storage, options: list(storage.scandir("s3://box/dir", options=options)),
    "walk": lambda storage, options: list(storage.walk("s3://box/dir", options=options)),
    "glob": lambda storage, options: storage.glob("s3://box/dir/**/*", recursive=True, options=options),
    "rmtree": lambda storage, options: storage.rmtree("s3://box/dir", options=options),
}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("trap", TRAPS)
def test_no_function_goes_round_in_circles(function: str, trap: str, transport: str) -> None:
    count = iter(range(1 << 30))

    def answer(asked: Asked) -> list[bytes | str]:
        if asked.method == "HEAD":
            return [reply(404)]
        if asked.method == "POST":
            return [reply(200, b"<DeleteResult><Deleted><Key>dir/a</Key></Deleted></DeleteResult>")]
        return [reply(200, TRAPS[trap](next(count)))]

    with hostile(answer, transport) as (server, options), storagekit.Storage() as storage:
        with pytest.raises(OSError, match="does not advance") as caught:
            FUNCTIONS[function](storage, options)
        assert caught.value.errno == errno.EIO
    assert len(server.asked) <= 40


def test_a_tree_without_end_is_as_deep_as_a_key_is_long(transport: str) -> None:
    """Every directory has one in it: names have an end, and so has the walk."""

    def answer(asked: Asked) -> list[bytes | str]:
        return [reply(200, page(prefix(asked_for(asked, "prefix") + "d" * 50 + "/")))]

    with hostile(answer, transport) as (server, options), storagekit.Storage() as storage:
        with pytest.raises(OSError, match="1024 bytes") as caught:
            list(storage.walk("s3://box/dir", options=options))
        assert caught.value.errno == errno.ENAMETOOLONG
    assert len(server.asked) < 40


def test_nothing_is_removed_that_was_not_asked_for(transport: str) -> None:
    def answer(asked: Asked) -> list[bytes | str]:
        if asked.method == "POST":
            return [reply(200, b"<DeleteResult><Deleted><Key>dir/a</Key></Deleted></DeleteResult>")]
        return [reply(404)] if asked.method == "HEAD" else [reply(200, page(entry("dir/a"), entry("precious")))]

    with (
        hostile(answer, transport) as (server, options),
        storagekit.Storage() as storage,
        pytest.raises(OSError, match="was not asked for"),
    ):
        storage.rmtree("s3://box/dir", options=options)
    assert not [asked for asked in server.asked if b"precious" in asked.body or asked.method == "DELETE"]
