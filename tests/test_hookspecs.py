"""hookspecs: every hook says what it does, names its arguments as the others do, and can be implemented in part."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pluggy
import pytest

from storagekit import hookspecs
from storagekit.driver import Stat
from storagekit.hookspecs import PROJECT, DriverHooks, hookimpl
from storagekit.location import Location, parse_location

HOOKS = {name: value for name, value in vars(DriverHooks).items() if not name.startswith("_")}
REQUIRED = {"open_read", "open_write", "stat", "list"}
HERE = parse_location("toy://box/key")

# What the text at the top of the module, or an argument's type, says for every hook alike.
COMMON = {"location", "options"}


def manager() -> pluggy.PluginManager:
    made = pluggy.PluginManager(PROJECT)
    made.add_hookspecs(DriverHooks)
    return made


def arguments(name: str) -> list[str]:
    return list(inspect.signature(HOOKS[name]).parameters)[1:]


def test_every_hook_is_marked() -> None:
    hooks: Any = manager().hook
    assert {name for name in vars(hooks) if not name.startswith("_")} == set(HOOKS)
    assert set(HOOKS) >= REQUIRED


@pytest.mark.parametrize("name", sorted(HOOKS))
def test_every_hook_and_every_argument_is_explained(name: str) -> None:
    text = inspect.getdoc(HOOKS[name]) or ""
    assert len(text) > 30
    for argument in arguments(name):
        assert argument in COMMON or re.search(rf"\b{argument}\b", text) or argument in _own_type(name), (
            name,
            argument,
        )


def _own_type(name: str) -> set[str]:
    """Arguments that a hook is about, and whose type or place says everything."""
    return {"make_directory": {"mode"}, "open_file": {"mode", "buffering"}, "abort_upload": {"upload"}}.get(
        name, set()
    ) | ({"locations"} if name == "delete_many" else {"source", "target"} if name in ("rename", "copy") else set())


def test_every_hook_is_in_the_guide_for_driver_authors() -> None:
    guide = Path(__file__).parent.parent / "docs" / "writing-a-driver.md"
    text = guide.read_text(encoding="utf-8")
    assert [name for name in HOOKS if not re.search(rf"`{name}\b", text)] == []


@pytest.mark.parametrize(
    "name", sorted(set(HOOKS) - {"counts", "known_options", "reset_after_fork", "close", "parse", "abort_upload"})
)
def test_hooks_get_the_options_and_say_where_they_work(name: str) -> None:
    assert "options" in arguments(name)
    assert {"location", "locations", "source", "stat"} & set(arguments(name))


def test_only_notifications_are_broadcast() -> None:
    hooks: Any = manager().hook
    broadcast = {name for name in HOOKS if not getattr(hooks, name).spec.opts["firstresult"]}
    assert broadcast == {"reset_after_fork", "close"}
    for name in set(HOOKS) - broadcast:
        assert inspect.signature(HOOKS[name]).return_annotation.endswith("| None"), name


class Partial:
    """A driver that leaves out every argument that it does not need."""

    @hookimpl
    def stat(self, location: Location) -> Stat:
        return Stat(location, size=3)

    @hookimpl
    def close(self) -> None:
        pass

    @hookimpl(specname="list")
    def entries(self, location: Location, recursive: bool) -> list[Any]:
        return [location, recursive]


def test_an_implementation_may_leave_out_arguments() -> None:
    made = manager()
    made.register(Partial())
    made.check_pending()
    hooks: Any = made.hook
    assert hooks.stat(location=HERE, options={}) == Stat(HERE, size=3)


def test_list_may_be_implemented_under_another_name() -> None:
    made = manager()
    made.register(Partial())
    hooks: Any = made.hook
    answer = hooks.list(location=HERE, options={}, recursive=True, limit=None, start_after="")
    assert answer == [HERE, True]


def test_none_goes_on_to_the_next_implementation() -> None:
    class Shy:
        @hookimpl
        def stat(self) -> None:
            return None

    made = manager()
    made.register(Partial())
    made.register(Shy())  # the last one registered is asked first
    hooks: Any = made.hook
    assert hooks.stat(location=HERE, options={}).size == 3


def test_an_argument_that_no_hook_has_is_refused() -> None:
    class Wrong:
        @hookimpl
        def stat(self, place: Location) -> None: ...

    with pytest.raises(pluggy.PluginValidationError, match="place"):
        manager().register(Wrong())


def test_the_module_says_who_implements_what() -> None:
    text = hookspecs.__doc__ or ""
    for name in REQUIRED:
        assert f"``{name}``" in text
    assert hookspecs.ENTRY_POINT_GROUP in text
