"""backend: typed calls through one scheme's hooks, and what is said of a driver that does not keep to them."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from typing import Any

import pytest

from storagekit.backend import Backend, Resource
from storagekit.driver import Option, Stat, Traits
from storagekit.errors import InvalidArgumentError
from storagekit.hookspecs import hookimpl
from storagekit.location import Location, parse_location
from storagekit.registry import Registry
from storagekit.settings import Settings

HERE = parse_location("toy://box/key")


class Minimal:
    """The four required hooks, of which each answers what it is told to."""

    answers: dict[str, Any] = {}  # noqa: RUF012

    @hookimpl
    def open_read(self, location: Location) -> Any:
        return self.answers.get("open_read")

    @hookimpl
    def open_write(self, location: Location) -> Any:
        return self.answers.get("open_write")

    @hookimpl
    def stat(self, location: Location) -> Any:
        return self.answers.get("stat")

    @hookimpl(specname="list")
    def entries(self, location: Location) -> Any:
        return self.answers.get("list")


class Optioned(Minimal):
    @hookimpl
    def known_options(self) -> list[Option]:
        return [Option("profile", "which one"), Option("secret_key", "a secret", secret=True)]


def backend(driver: object | None = None) -> Backend:
    return Backend("toy", driver or Minimal(), "toy-drivers")


# ---------------------------------------------------------------- registration


@pytest.mark.parametrize("hook", ["open_read", "open_write", "stat", "list"])
def test_a_missing_required_hook_is_named(hook: str) -> None:
    names = {"open_read": "open_read", "open_write": "open_write", "stat": "stat", "list": "entries"}
    driver = type("Driver", (Minimal,), {names[hook]: None})()
    with pytest.raises(OSError, match=f"lacks {hook}") as caught:
        backend(driver)
    assert caught.value.errno == errno.EPROTONOSUPPORT
    assert caught.value.filename == "toy://"
    assert "toy-drivers" in str(caught.value)


def test_all_missing_hooks_are_named() -> None:
    with pytest.raises(OSError, match="lacks open_read, open_write, stat, list"):
        backend(object())


def test_a_hook_with_an_argument_that_does_not_exist_is_refused() -> None:
    class Wrong(Minimal):
        @hookimpl
        def delete(self, location: Location, colour: str) -> bool:
            return True

    with pytest.raises(OSError, match="colour") as caught:
        backend(Wrong())
    assert caught.value.errno == errno.EPROTONOSUPPORT
    assert caught.value.__cause__ is not None


def test_a_hook_that_does_not_exist_is_refused() -> None:
    class Wrong(Minimal):
        @hookimpl
        def opne_read(self, location: Location) -> None: ...

    with pytest.raises(OSError, match="opne_read") as caught:
        backend(Wrong())
    assert caught.value.errno == errno.EPROTONOSUPPORT


def test_hooks_may_leave_arguments_out_and_have_another_name() -> None:
    driver = Minimal()
    driver.answers = {"list": iter([Stat(HERE)]), "stat": Stat(HERE)}
    made = backend(driver)
    assert list(made.entries(HERE, {}, recursive=True, limit=3)) == [Stat(HERE)]
    assert made.stat(HERE, {}) == Stat(HERE)


def test_two_backends_share_no_hook() -> None:
    one, other = Minimal(), Minimal()
    one.answers = {"stat": Stat(HERE, size=1)}
    other.answers = {"stat": Stat(HERE, size=2)}
    first, second = backend(one), backend(other)
    assert first.stat(HERE, {}).size == 1
    assert second.stat(HERE, {}).size == 2


def test_repr_names_scheme_and_origin() -> None:
    assert repr(backend()) == "<Backend toy:// by toy-drivers>"


# ---------------------------------------------------------------- None


@pytest.mark.parametrize("hook", ["open_read", "open_write", "stat", "list"])
def test_none_from_a_required_hook_is_refused(hook: str) -> None:
    made = backend()
    call = getattr(made, "entries" if hook == "list" else hook)
    with pytest.raises(io.UnsupportedOperation, match=f"toy-drivers answered None to {hook}") as caught:
        call(HERE, {})
    assert caught.value.errno == errno.ENOTSUP
    assert caught.value.filename == HERE.url


def test_none_from_an_optional_hook_goes_on_to_the_fallback() -> None:
    class Shy(Minimal):
        @hookimpl
        def known_options(self) -> None: ...

        @hookimpl
        def traits(self) -> None: ...

        @hookimpl
        def parse(self, url: str) -> None: ...

        @hookimpl
        def delete(self, location: Location) -> None: ...

    made = backend(Shy())
    assert made.known_options == {}
    assert made.traits(HERE, {}) == Traits(implicit_directories=True)
    assert made.parse("toy://box/key") == HERE
    with pytest.raises(OSError, match="answered None to delete: a hook that did its work returns True") as caught:
        made.delete(HERE, {})
    assert caught.value.errno == errno.EIO
    with pytest.raises(io.UnsupportedOperation, match="no delete hook"):
        backend().delete(HERE, {})


def test_hooks_without_an_implementation_answer_none_where_none_means_no() -> None:
    made = backend()
    assert made.open_file(HERE, {}, 4096) is None
    assert made.copy(Stat(HERE), HERE, {}) is None
    assert made.rename(HERE, HERE, {}) is None
    made.reset_after_fork()
    made.close()


def test_a_false_answer_is_an_answer() -> None:
    class Empty(Minimal):
        @hookimpl
        def delete_many(self, locations: list[Location]) -> list[Any]:
            return []

        @hookimpl
        def diagnose(self) -> list[str]:
            return []

    made = backend(Empty())
    assert list(made.delete_many([HERE], {})) == []
    assert list(made.diagnose(HERE, {})) == []


# ---------------------------------------------------------------- options


def test_an_unknown_option_names_the_nearest() -> None:
    made = backend(Optioned())
    with pytest.raises(InvalidArgumentError, match=r"unknown option 'profle' for toy://; did you mean 'profile'\?"):
        made.check_options({"profle": 1}, "toy://box/key")
    with pytest.raises(InvalidArgumentError, match="it knows profile, secret_key") as caught:
        made.check_options({"profile": 1, "zzz": 2}, "toy://box/key")
    assert caught.value.filename == "toy://box/key"
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(InvalidArgumentError, match="it knows none"):
        backend().check_options({"anything": 1}, "toy://box/key")
    made.check_options({"profile": 1, "secret_key": 2}, "toy://box/key")
    made.check_options({}, "toy://box/key")


def test_an_option_that_is_no_text_is_refused_as_unknown() -> None:
    options: Any = {3: "x"}
    with pytest.raises(InvalidArgumentError, match="unknown option 3"):
        backend(Optioned()).check_options(options, "toy://box/key")


def test_the_value_of_an_unknown_option_is_not_shown() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        backend(Optioned()).check_options({"secret_kee": "hunter2"}, "toy://box/key")
    assert "hunter2" not in str(caught.value)


def test_has_secret() -> None:
    made = backend(Optioned())
    assert made.has_secret({"secret_key": "x"})
    assert made.has_secret({"profile": "x", "secret_key": "x"})
    assert not made.has_secret({"profile": "x"})
    assert not made.has_secret({})
    assert not made.has_secret({"unknown": "x"}), "unknown options are refused elsewhere"


# ---------------------------------------------------------------- Resource


def test_resource_binds_location_and_options() -> None:
    seen: list[Any] = []

    class Watching(Minimal):
        @hookimpl
        def stat(self, location: Location, options: dict[str, object]) -> Stat:  # type: ignore[override]
            seen.append((location, options))
            return Stat(location)

        @hookimpl(specname="list")
        def entries(  # type: ignore[override]
            self, location: Location, options: dict[str, object], recursive: bool, limit: int | None, start_after: str
        ) -> Iterator[Stat]:
            seen.append((location, options, recursive, limit, start_after))
            return iter(())

    options = {"profile": "x"}
    resource = Resource(backend(Watching()), HERE, options)
    elsewhere = resource.at(HERE.child("below"))
    elsewhere.stat()
    list(resource.entries(recursive=True, limit=5))
    assert seen == [(HERE.child("below"), options), (HERE, options, True, 5, "")]
    assert resource.traits == Traits(implicit_directories=True)


def test_same_store_is_one_driver_with_the_same_options() -> None:
    made = backend()
    one = Resource(made, HERE, {"profile": "x"})
    assert one.same_store(Resource(made, HERE.child("other"), {"profile": "x"}))
    assert not one.same_store(Resource(made, HERE, {"profile": "y"}))
    assert not one.same_store(Resource(backend(), HERE, {"profile": "x"}))


def test_the_repr_of_a_resource_shows_no_options() -> None:
    backend = Registry(Settings()).backend("memory", "memory://")
    assert "hunter2" not in repr(Resource(backend, parse_location("memory://box/key"), {"secret": "hunter2"}))


# ---------------------------------------------------------------- wrappers


class Counting:
    """A wrapper: it notes what passes, and changes what `open_read` answers."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @hookimpl(wrapper=True)
    def open_read(self, location: Location) -> Any:
        self.seen.append(location.path)
        answer = yield
        return [answer]

    @hookimpl(wrapper=True)
    def delete(self, location: Location) -> Any:
        self.seen.append(location.path)
        return (yield)


def test_a_wrapper_stands_around_the_driver_and_the_last_is_outermost() -> None:
    class Answering(Minimal):
        answers = {"open_read": 7}  # noqa: RUF012

    inner, outer = Counting(), Counting()
    found: Any = Backend("toy", Answering(), "toy-drivers", [inner, outer]).open_read(HERE, {})
    assert found == [[7]]
    assert inner.seen == outer.seen == ["key"]


def test_a_wrapper_stands_around_the_fallbacks_too() -> None:
    wrapper = Counting()
    with pytest.raises(io.UnsupportedOperation):
        Backend("toy", Minimal(), "toy-drivers", [wrapper]).delete(HERE, {})
    assert wrapper.seen == ["key"]


def test_a_wrapper_that_would_replace_the_driver_is_refused() -> None:
    class Replacing:
        @hookimpl
        def stat(self, location: Location) -> Any: ...

    with pytest.raises(OSError, match=r"the wrapper .*Replacing must mark stat with hookimpl\(wrapper=True\)"):
        Backend("toy", Minimal(), "toy-drivers", [Replacing()])


def test_a_wrapper_with_a_wrong_hook_is_named() -> None:
    class Wrong:
        @hookimpl(wrapper=True)
        def stat(self, colour: str) -> Any:
            return (yield)

    with pytest.raises(OSError, match=r"the wrapper .*Wrong has a wrong hook"):
        Backend("toy", Minimal(), "toy-drivers", [Wrong()])


def test_wrappers_come_from_the_settings() -> None:
    wrapper = Counting()
    registry = Registry(Settings(drivers={"toy": Minimal}, wrappers=[wrapper]))
    with pytest.raises(io.UnsupportedOperation):
        registry.backend("toy", "toy://box/key").delete(HERE, {})
    assert wrapper.seen == ["key"]
