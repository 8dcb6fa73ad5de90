"""discovery: the claims on schemes are those that importlib.metadata would find."""

from __future__ import annotations

import importlib
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import Distribution, entry_points
from pathlib import Path
from typing import Any

import pytest

from storagekit.discovery import Claim, claims

Install = Callable[..., Path]

DRIVER = "toyone = acme:Driver"
ACME = Claim("toyone", "acme:Driver", "Acme.Drivers")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a distribution's metadata into a folder, and that on ``sys.path`` before everything else."""

    def put(
        info: str, text: str | None, name: str = "Acme.Drivers", site: str = "site", meta: str = "METADATA"
    ) -> Path:
        folder = tmp_path / site / info
        folder.mkdir(parents=True)
        (folder / meta).write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        if text is not None:
            (folder / "entry_points.txt").write_text(text, encoding="utf-8")
        if str(tmp_path / site) not in sys.path:
            monkeypatch.syspath_prepend(str(tmp_path / site))
        importlib.invalidate_caches()
        return folder

    return put


def told() -> set[Claim]:
    """What ``importlib.metadata`` says."""
    points = entry_points(group="storagekit.drivers")
    return {Claim(point.name, point.value, point.dist.name if point.dist else "") for point in points}


def found() -> set[Claim]:
    assert set(claims()) == told()
    return {claim for claim in claims() if claim.scheme.startswith("toy")}


def test_the_drivers_that_come_with_the_library_are_found() -> None:
    assert set(claims()) == told()
    assert {claim.scheme for claim in claims() if claim.owner == "storagekit"} == {"file", "memory", "s3"}


GROUP = "[storagekit.drivers]\n"
TEXTS = {
    "plain": GROUP + DRIVER,
    "spaces": "\n[storagekit.drivers]\n\n   toyone=acme:Driver  \n",
    "comments": "# one\n" + GROUP + "# toytwo = acme:Other\n" + DRIVER + "\n; = x\n",
    "other groups": "[console_scripts]\ntoytwo = acme:main\n"
    + GROUP
    + DRIVER
    + "\n[gui_scripts]\ntoythree = acme:main\n",
    "twice the group": GROUP + DRIVER + "\n[a]\nb = c\n" + GROUP,
    "line ends": GROUP.replace("\n", "\r\n") + DRIVER + "\r\n",
}


@pytest.mark.parametrize("how", TEXTS)
def test_entry_points_are_read_as_they_may_be_written(install: Install, how: str) -> None:
    install("acme_drivers-1.0.dist-info", TEXTS[how])
    assert found() == {ACME}


@pytest.mark.parametrize("text", [None, "", "[storagekit.driver]\n" + DRIVER, DRIVER + "\n"])
def test_a_distribution_without_the_group_claims_nothing(install: Install, text: str | None) -> None:
    install("acme_drivers-1.0.dist-info", text)
    assert {claim for claim in claims() if claim.scheme.startswith("toy")} == set()


@pytest.mark.parametrize(
    "info", ["acme_drivers.egg-info", "acme_drivers-1.0-py3.11.egg-info", "Acme.Drivers-1.dist-info"]
)
def test_older_layouts_are_found(install: Install, info: str) -> None:
    install(info, GROUP + DRIVER, meta="PKG-INFO" if info.endswith(".egg-info") else "METADATA")
    assert found() == {ACME}


def test_an_egg_is_found(install: Install) -> None:
    install("EGG-INFO", GROUP + DRIVER, site="acme-1.0.egg", meta="PKG-INFO")
    assert found() == {ACME}


def test_an_old_egg_info_that_is_a_file_is_passed_over(install: Install) -> None:
    site = install("acme_drivers-1.0.dist-info", GROUP + DRIVER).parent
    (site / "old-1.0.egg-info").write_text("Name: old\n")
    assert found() == {ACME}


def test_of_two_with_one_name_the_first_on_the_path_counts_even_without_a_claim(install: Install) -> None:
    install("acme_drivers-1.0.dist-info", GROUP + DRIVER, site="later")
    install("Acme.Drivers-2.0.dist-info", None, site="sooner")
    assert found() == set()


def test_two_distributions_may_claim_one_scheme(install: Install) -> None:
    install("acme_drivers-1.0.dist-info", GROUP + DRIVER)
    install("zenith-1.0.dist-info", GROUP + "toyone = zenith:Driver", name="zenith")
    assert found() == {ACME, Claim("toyone", "zenith:Driver", "zenith")}


def test_a_file_that_nobody_can_decode_disturbs_no_other(install: Install) -> None:
    install("acme_drivers-1.0.dist-info", GROUP + DRIVER)
    (install("broken-1.0.dist-info", None, name="broken") / "entry_points.txt").write_bytes(b"\xff\xfe[")
    assert ACME in claims()


def test_the_current_folder_and_folders_that_are_not_there(
    install: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    site = install("acme_drivers-1.0.dist-info", GROUP + DRIVER).parent
    monkeypatch.chdir(site)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "nothing"), "", *(p for p in sys.path if p != str(site))])
    assert found() == {ACME}


def test_a_zip_file_on_the_path_is_looked_into(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    archive = tmp_path / "acme.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("acme_drivers-1.0.dist-info/METADATA", "Name: Acme.Drivers\n")
        file.writestr("acme_drivers-1.0.dist-info/entry_points.txt", GROUP + DRIVER)
    monkeypatch.syspath_prepend(str(archive))
    assert found() == {ACME}


def test_another_finder_of_distributions_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Frozen(Distribution):
        def read_text(self, filename: str) -> str | None:
            return {"METADATA": "Name: Acme.Drivers\n", "entry_points.txt": GROUP + DRIVER}.get(filename)

        def locate_file(self, path: Any) -> Any:
            return path

    class Finder:
        def find_spec(self, *_: object) -> None:
            return None

        def find_distributions(self, *_: object) -> list[Distribution]:
            return [Frozen()]

    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    assert found() == {ACME}


@pytest.mark.parametrize("value", ["os.path:join", "os : path.join", "os:path.join [extra]"])
def test_a_claim_loads_what_it_names(value: str) -> None:
    import os

    assert Claim("toyone", value, "acme").load() is os.path.join


def test_a_claim_may_name_a_module() -> None:
    assert Claim("toyone", "zipfile", "acme").load() is zipfile
