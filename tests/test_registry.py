"""registry: from a scheme to its one driver; conflicts, failures and settings."""

from __future__ import annotations

import errno
import importlib
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storagekit.errors import InvalidArgumentError
from storagekit.hookspecs import hookimpl
from storagekit.registry import Registry
from storagekit.settings import Settings
from storagekit.storage import Storage

MODULE = """
from storagekit.hookspecs import hookimpl

loaded = []

class Driver:
    who = {who!r}

    def __init__(self):
        loaded.append(self)

    @hookimpl
    def open_read(self, location): ...

    @hookimpl
    def open_write(self, location): ...

    @hookimpl
    def stat(self, location): ...

    @hookimpl(specname="list")
    def entries(self, location): ...

class Broken:
    def __init__(self):
        raise RuntimeError("no licence")

class Incomplete:
    pass
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a distribution on sys.path, with its metadata, as pip would."""

    def put(name: str, entry_points: str, source: str | None = None, folder: str = "site") -> None:
        site = tmp_path / folder
        info = site / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[storagekit.drivers]\n{entry_points}\n")
        module = name.replace("-", "_") + "_module"
        (site / f"{module}.py").write_text(MODULE.format(who=name) if source is None else source)
        if str(site) not in sys.path:
            monkeypatch.syspath_prepend(str(site))
        monkeypatch.delitem(sys.modules, module, raising=False)
        importlib.invalidate_caches()

    return put


def registry(**drivers: Any) -> Registry:
    return Registry(Settings(drivers=drivers))


def refused(made: Registry, scheme: str) -> str:
    with pytest.raises(OSError, match=scheme) as caught:
        made.backend(scheme, f"{scheme}://box/key")
    assert caught.value.errno == errno.EPROTONOSUPPORT
    assert caught.value.filename == f"{scheme}://box/key"
    return str(caught.value)


def test_an_installed_driver_answers_for_its_scheme(install: Install) -> None:
    install("acme-drivers", "toyone = acme_drivers_module:Driver")
    made = registry()
    assert "acme_drivers_module" not in sys.modules
    backend = made.backend("toyone", "toyone://box/key")
    assert backend.name == "acme-drivers"
    assert made.backend("toyone", "toyone://other") is backend
    assert made.loaded() == [backend]
    assert made.knows("toyone")
    assert not made.knows("nothing")


def test_knowing_a_scheme_imports_nothing(install: Install) -> None:
    install("acme-drivers", "toyone = acme_drivers_module:Driver")
    assert registry().knows("toyone")
    assert "acme_drivers_module" not in sys.modules


def test_each_registry_makes_a_driver_of_its_own(install: Install) -> None:
    install("acme-drivers", "toyone = acme_drivers_module:Driver")
    assert registry().backend("toyone", "") is not registry().backend("toyone", "")
    assert len(sys.modules["acme_drivers_module"].loaded) == 2


FAILURES = {
    "import": ("raise RuntimeError('half installed')", "Driver", "RuntimeError: half installed"),
    "syntax": ("def", "Driver", "SyntaxError"),
    "dependency": ("import a_module_that_is_not_there", "Driver", "a_module_that_is_not_there"),
    "name": ("", "Driver", "AttributeError"),
    "factory": (None, "Broken", "RuntimeError: no licence"),
}


@pytest.mark.parametrize("how", FAILURES)
def test_a_driver_that_does_not_load_names_its_distribution_and_hurts_no_other(install: Install, how: str) -> None:
    source, name, said = FAILURES[how]
    install("acme-drivers", f"toyone = acme_drivers_module:{name}", source)
    made = registry()
    text = refused(made, "toyone")
    assert "acme-drivers" in text
    assert said in text
    assert made.backend("memory", "memory://").name == "storagekit"
    assert "acme-drivers" in refused(made, "toyone"), "a second try says the same"
    assert [backend.scheme for backend in made.loaded()] == ["memory"]


def test_the_cause_of_a_failed_import_is_kept(install: Install) -> None:
    install("acme-drivers", "toyone = acme_drivers_module:Driver", "raise RuntimeError('half installed')")
    with pytest.raises(OSError, match="failed to load") as caught:
        registry().backend("toyone", "toyone://box")
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_an_incomplete_driver_is_refused_by_name(install: Install) -> None:
    install("acme-drivers", "toyone = acme_drivers_module:Incomplete")
    with pytest.raises(OSError, match=r"acme-drivers, lacks open_read"):
        registry().backend("toyone", "toyone://box")


def test_a_failure_leaves_through_storage_with_the_url(install: Install) -> None:
    install("acme-drivers", "toyone = acme_drivers_module:Broken")
    with Storage() as storage, pytest.raises(OSError, match="no licence") as caught:
        storage.exists("toyone://box/key")
    assert caught.value.filename == "toyone://box/key"


def test_two_claims_are_an_error_that_names_both_until_a_setting_chooses(install: Install) -> None:
    install("acme-drivers", "toyone = acme_drivers_module:Driver")
    install("zenith", "toyone = zenith_module:Driver")
    text = refused(registry(), "toyone")
    assert "acme-drivers (acme_drivers_module:Driver) and zenith (zenith_module:Driver)" in text
    assert "STORAGEKIT_DRIVERS=toyone=distribution" in text
    assert "acme_drivers_module" not in sys.modules
    assert "zenith_module" not in sys.modules
    for choice in ("acme-drivers", "zenith"):
        backend = registry(toyone=choice).backend("toyone", "toyone://")
        assert backend.name == choice
    text = refused(registry(toyone="nobody"), "toyone")
    assert "'nobody'" in text


def test_a_setting_may_choose_the_only_one(install: Install) -> None:
    install("acme-drivers", "toyone = acme_drivers_module:Driver")
    assert registry(toyone="acme-drivers").backend("toyone", "").name == "acme-drivers"


def test_one_distribution_that_is_found_twice_is_no_conflict(install: Install) -> None:
    install("acme-drivers", "toyone = acme_drivers_module:Driver")
    install("acme-drivers", "toyone = acme_drivers_module:Driver", folder="another")
    assert registry().backend("toyone", "").name == "acme-drivers"


@pytest.mark.parametrize(("scheme", "near"), [("memroy", "memory"), ("s33", "s3"), ("flie", "file")])
def test_an_unknown_scheme_names_the_nearest(scheme: str, near: str) -> None:
    assert f"did you mean {near}://?" in refused(registry(), scheme)


def test_an_unknown_scheme_like_no_other_names_all(install: Install) -> None:
    install("acme-drivers", "toyone = acme_drivers_module:Driver")
    text = refused(registry(qqq=object), "wwwwwwww")
    assert "installed are file, memory, qqq, s3, toyone" in text


# ---------------------------------------------------------------- factories in the settings


def test_a_factory_in_the_settings_needs_no_entry_point(install: Install) -> None:
    install("acme-drivers", "memory = acme_drivers_module:Driver")
    importlib.import_module("acme_drivers_module")
    factory = sys.modules["acme_drivers_module"].Driver
    made = registry(memory=factory, mine=factory)
    assert made.backend("memory", "").name == "Driver"
    assert made.backend("mine", "").name == "Driver"
    assert made.knows("mine")


def test_a_factory_that_fails_is_named() -> None:
    def make() -> object:
        raise RuntimeError("no")

    assert "RuntimeError: no" in refused(registry(toy=make), "toy")


def test_something_that_is_no_factory_is_refused_when_it_is_used() -> None:
    text = refused(registry(toy=3), "toy")
    assert "TypeError" in text


# ---------------------------------------------------------------- threads, forks, ends


def test_threads_that_race_make_one_backend(install: Install) -> None:
    install("acme-drivers", "toyone = acme_drivers_module:Driver")
    module = importlib.import_module("acme_drivers_module")
    started = threading.Barrier(16)
    made_one = threading.Event()

    def factory() -> object:
        made_one.wait(0.05)  # long enough for the others to come by
        return module.Driver()

    made = registry(race=factory)
    backends = []

    def ask() -> None:
        started.wait(30)
        backends.append(made.backend("race", "race://"))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(backends) == 16
    assert len(set(backends)) == 1
    assert len(module.loaded) == 1


def test_a_driver_may_use_another_scheme_while_it_is_made(install: Install) -> None:
    install("acme-drivers", "toyone = acme_drivers_module:Driver")
    module = importlib.import_module("acme_drivers_module")

    def factory() -> object:
        made.backend("toyone", "toyone://")
        return module.Driver()

    made = registry(outer=factory)
    made.backend("outer", "outer://")
    assert {backend.scheme for backend in made.loaded()} == {"outer", "toyone"}


def test_close_closes_every_driver_once(install: Install) -> None:
    install("acme-drivers", "toyone = acme_drivers_module:Driver")
    module = importlib.import_module("acme_drivers_module")
    closed: list[object] = []

    class Closing(module.Driver):  # type: ignore[misc, name-defined]
        @hookimpl
        def close(self) -> None:
            closed.append(self)

    made = registry(one=Closing, two=Closing)
    made.backend("one", "")
    made.backend("two", "")
    made.close()
    made.close()
    assert len(closed) == 2
    assert made.loaded() == []


def test_reset_after_fork_frees_the_lock_and_tells_the_drivers(install: Install) -> None:
    install("acme-drivers", "toyone = acme_drivers_module:Driver")
    module = importlib.import_module("acme_drivers_module")
    told: list[object] = []

    class Told(module.Driver):  # type: ignore[misc, name-defined]
        @hookimpl
        def reset_after_fork(self) -> None:
            told.append(self)

    made = registry(one=Told)
    made.backend("one", "")
    taken, release = threading.Event(), threading.Event()

    def hold() -> None:
        with made._lock:
            taken.set()
            release.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(30)
    made.reset_after_fork()
    assert made.backend("memory", "")  # would wait for a thread that a child does not have
    release.set()
    thread.join(30)
    assert len(told) == 1


# ---------------------------------------------------------------- through Storage


def test_the_environment_chooses(install: Install) -> None:
    install("acme-drivers", "toyone = acme_drivers_module:Driver")
    install("zenith", "toyone = zenith_module:Driver")
    settings = Settings.from_environment({"STORAGEKIT_DRIVERS": "toyone=zenith"})
    assert Registry(settings).backend("toyone", "").name == "zenith"


def test_a_scheme_is_asked_for_in_any_case(install: Install) -> None:
    with Storage() as storage:
        storage.touch("MEMORY://box/key")
        assert storage.listdir("memory://box") == ["key"]


def test_a_location_that_the_driver_refuses_is_invalid() -> None:
    with Storage() as storage, pytest.raises(InvalidArgumentError):
        storage.exists("memory:///key")
