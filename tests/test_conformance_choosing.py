"""Which targets a run has, and what is said, in one line, of each that could not begin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from storagekit.driver import Stat
from storagekit.errors import os_error
from storagekit.hookspecs import hookimpl
from storagekit_conformance import given_targets
from storagekit_conformance.choosing import Chosen, choose
from storagekit_conformance.finding import TargetError
from storagekit_conformance.given_targets import GivenRoot, number_hint
from storagekit_conformance.target import Root, Target
from storagekit_memory.driver import MemoryDriver


def names(*arguments: Any) -> list[str]:
    return [target.name for target in choose(*arguments).targets]


def test_names_and_places() -> None:
    assert names((), (), None, None, ()) == ["memory", "file"]
    assert names(("file", "file"), (), None, None, ()) == ["file"]
    assert names((), ("memory://a", "memory://b", "file:///x", "memory://a"), None, None, ()) == [
        "memory",
        "memory-2",
        "file",
    ]
    assert names(("memory",), ("memory://a",), "bucket", "http://there", ("region_name=x",)) == [
        "memory",
        "s3",
        "memory-2",
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (((), (), None, "http://there", ()), "--s3-endpoint needs --s3-bucket, the bucket to work in"),
        ((("memory",), (), None, None, ("a=1",)), "--option is for a place given by --root or --s3-bucket"),
        (((), ("memory://a",), None, None, ("hush",)), "--option takes name=value"),
        (
            ((), (), "bucket", None, ("endpoint_url=http://there",)),
            "--s3-endpoint says where the bucket of --s3-bucket is, not --option endpoint_url",
        ),
        (((), ("/tmp",), None, None, ()), "--root takes the URL of a place, as foo://container/folder, not '/tmp'"),
        (((), ("foo://",), None, None, ()), "--root takes the URL of a place, as foo://container/folder, not 'foo://'"),
    ],
)
def test_words_that_make_no_sense(arguments: Any, text: str) -> None:
    with pytest.raises(TargetError) as caught:
        choose(*arguments)
    assert str(caught.value) == text


def test_two_of_one_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "same_name.py").write_text(
        "from storagekit_conformance.target import Target\nt = Target('memory', lambda: None)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(TargetError, match="two of the targets are named 'memory'"):
        choose(("memory", "same_name:t"), (), None, None, ())


def place(driver: object, url: str = "memory://box/place") -> Callable[[], AbstractContextManager[Root]]:
    @contextmanager
    def root() -> Iterator[Root]:
        yield Root(url, settings={"drivers": {"memory": lambda: driver}})

    return root


def said(root: Callable[[], Any], **arguments: Any) -> str:
    """What the look at a target with this root says."""
    with pytest.raises(TargetError) as caught:
        Chosen([Target("mine", root, **arguments)]).check()
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert text.startswith("cannot run the target 'mine': ")
    return text.removeprefix("cannot run the target 'mine': ")


def test_an_honest_target_is_looked_at_and_left_as_it_was() -> None:
    driver = MemoryDriver()
    root = place(driver)
    assert Chosen([Target("mine", root)]).check() == {}
    with root() as there, there.storage() as storage:
        assert not storage.exists("memory://box/place")


def test_a_place_that_is_not_empty() -> None:
    root = place(MemoryDriver())
    with root() as there, there.storage() as storage:
        storage.touch("memory://box/place/deep/inside")
    assert said(root) == "its root is not empty: memory://box/place holds 'deep'"


def test_a_real_directory_that_is_not_there(tmp_path: Path) -> None:
    assert "No such file or directory" in said(lambda: _yields(Root(f"file://{tmp_path}/absent")))


@contextmanager
def _yields(value: object) -> Iterator[Any]:
    yield value


@contextmanager
def _raises(error: BaseException) -> Iterator[Any]:
    raise error
    yield


@pytest.mark.parametrize(
    ("root", "text"),
    [
        (lambda: _yields("memory://box"), "its root gives a str, not a storagekit_conformance Root"),
        (lambda: _yields(Root("/tmp")), "the URL of its root is no scheme://container/place"),
        (lambda: _yields(Root("memory://box/")), "the URL of its root is no scheme://container/place"),
        (lambda: _yields(Root("nope://box")), "no driver for nope:// is installed; installed are file, memory, s3"),
        (lambda: _yields(Root("memory://box", options={"a": 1})), "unknown option 'a' for memory://"),
        (
            lambda: _raises(RuntimeError("the server\ndid not start")),
            "it gives no place: RuntimeError: the server did not",
        ),
        (lambda: _raises(PermissionError(13, "Permission denied", "foo://b")), "Permission denied: foo://b"),
        (lambda: None, "it gives no place: TypeError: "),
    ],
)
def test_a_root_that_is_wrong(root: Callable[[], Any], text: str) -> None:
    assert said(root).startswith(text)


def test_a_session_that_does_not_start() -> None:
    assert said(place(MemoryDriver()), session=lambda: _raises(OSError("no port"))) == "no port"


class _Refuses(MemoryDriver):
    """A store that refuses its listings with an error of the test's choice."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    @hookimpl(specname="list")
    def entries(self, *args: object, **named: object) -> Iterator[Stat]:
        raise self._error


def test_credentials_that_are_refused_and_servers_that_are_not_there() -> None:
    refused = os_error(13, "memory://box/place", hint="s3:ListBucket is needed")
    assert said(place(_Refuses(refused))) == "Permission denied; s3:ListBucket is needed: memory://box/place"


def test_a_driver_that_is_merely_wrong_goes_on_to_the_suite() -> None:
    assert Chosen([Target("mine", place(_Refuses(TypeError("a defect"))))]).check() == {}


def test_a_first_object_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GivenRoot, "probe", lambda self: int("a defect"))
    with pytest.raises(TargetError, match="cannot run the target 'memory': writing a first object fails: ValueError: "):
        choose((), ("memory://box",), None, None, ()).check()


def test_an_option_that_was_read_as_a_number() -> None:
    given = choose((), ("s3://bucket/folder",), None, None, ("region_name=12345678",))
    with pytest.raises(TargetError) as caught:
        given.check()
    text = str(caught.value)
    assert "the option region_name must be a text, not int" in text
    assert text.endswith("; --option read region_name as a number: 'region_name=\"…\"' gives it as a text")
    assert "12345678" not in text


@pytest.mark.parametrize(
    ("options", "text", "hint"),
    [
        ({"size": 3, "who": "me"}, "who is wrong", False),
        ({"size": 3.5}, "size is wrong", True),
        ({"size": True}, "size is wrong", False),
        ({"size": "3"}, "size is wrong", False),
    ],
)
def test_only_a_number_that_an_error_is_about_is_spoken_of(options: Any, text: str, hint: bool) -> None:
    assert bool(number_hint(options, text)) == hint


def test_what_stays_of_a_run_that_cannot_begin_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(given_targets, "remove_below", refused)
    with pytest.raises(TargetError) as caught:
        choose((), (f"file://{tmp_path}", "nope://box"), None, None, ()).check()
    (left,) = tmp_path.iterdir()
    assert str(caught.value).endswith(f"; left behind: file://{left} (Permission denied)")
    assert len(str(caught.value).splitlines()) == 1


def test_nothing_stays_where_another_target_cannot_run(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="cannot run the target 'nope': no driver"):
        choose((), (f"file://{tmp_path}", "nope://box"), None, None, ()).check()
    assert list(tmp_path.iterdir()) == []


def test_built_in_targets_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose(("memory", "file"), (), None, None, ()).check() == {}
