"""settings: arguments, the environment, and which options are in force for a URL."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import pytest

from storagekit.errors import InvalidArgumentError
from storagekit.settings import BLOCK_SIZE, Settings


def test_the_defaults_hold_something() -> None:
    settings = Settings()
    assert settings.cache_bytes > BLOCK_SIZE
    assert settings.threads > 1


def test_settings_are_frozen_and_pickle() -> None:
    settings = Settings(cache_bytes=1, drivers={"s3": "mine"})
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.threads = 3  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_settings_with_options_leave_it_to_a_storage_to_pickle() -> None:
    with pytest.raises(TypeError, match="pickle a Storage"):
        pickle.dumps(Settings(options={"s3": {"profile": "x"}}))


def test_options_are_not_in_the_repr() -> None:
    assert "hush" not in repr(Settings(options={"s3": {"secret_access_key": "hush"}}))


@pytest.mark.parametrize("name", ["cache_bytes", "write_bytes", "threads"])
@pytest.mark.parametrize("value", [-1, 1.5, "7", None, True])
def test_a_wrong_number_is_refused_by_name(name: str, value: object) -> None:
    wrong: dict[str, Any] = {name: value}
    with pytest.raises(InvalidArgumentError) as caught:
        Settings(**wrong)
    assert name in str(caught.value)
    assert repr(value) in str(caught.value)


def test_the_least_values() -> None:
    assert Settings(cache_bytes=0, write_bytes=1, threads=1).cache_bytes == 0
    for name in ("write_bytes", "threads"):
        zero: dict[str, Any] = {name: 0}
        with pytest.raises(InvalidArgumentError):
            Settings(**zero)


def test_options_for_goes_from_the_general_to_the_particular() -> None:
    settings = Settings(
        options={
            "s3": {"a": "scheme", "b": "scheme", "c": "scheme", "d": "scheme"},
            "s3://bucket/deep/": {"c": "deep"},
            "s3://bucket/": {"b": "bucket", "c": "bucket"},
            "gs": {"a": "other"},
        }
    )
    found = settings.options_for("s3", "s3://bucket/deep/key", {"d": "call"})
    assert found == {"a": "scheme", "b": "bucket", "c": "deep", "d": "call"}
    assert settings.options_for("s3", "s3://other/deep/key", None) == dict.fromkeys("abcd", "scheme")
    assert settings.options_for("file", "file:///x", None) == {}


def test_options_for_changes_nothing_that_it_was_given() -> None:
    mine: dict[str, object] = {"x": 1}
    theirs: dict[str, object] = {"y": 2}
    settings = Settings(options={"s3": theirs})
    assert settings.options_for("s3", "s3://b/k", mine) == {"x": 1, "y": 2}
    assert (mine, theirs) == ({"x": 1}, {"y": 2})
    assert Settings().options_for("s3", "s3://b/k", None) == {}


def test_the_environment() -> None:
    environ = {
        "STORAGEKIT_CACHE_BYTES": "1000",
        "STORAGEKIT_WRITE_BYTES": "2000",
        "STORAGEKIT_THREADS": "3",
        "STORAGEKIT_DRIVERS": "s3=mine, gs=other,",
        "PATH": "/bin",
    }
    settings = Settings.from_environment(environ)
    assert (settings.cache_bytes, settings.write_bytes, settings.threads) == (1000, 2000, 3)
    assert settings.drivers == {"s3": "mine", "gs": "other"}


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.from_environment({}) == Settings()
    assert Settings.from_environment({"STORAGEKIT_THREADS": "", "STORAGEKIT_DRIVERS": ""}) == Settings()


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("STORAGEKIT_CACHE_BYTES", "many"),
        ("STORAGEKIT_CACHE_BYTES", "-1"),
        ("STORAGEKIT_THREADS", "1.5"),
        ("STORAGEKIT_THREADS", "٣"),
        ("STORAGEKIT_THREADS", "0"),
        ("STORAGEKIT_DRIVERS", "s3"),
        ("STORAGEKIT_DRIVERS", "=mine"),
        ("STORAGEKIT_DRIVERS", "s3=,gs=x"),
    ],
)
def test_a_wrong_variable_is_refused(variable: str, text: str) -> None:
    with pytest.raises(InvalidArgumentError):
        Settings.from_environment({variable: text})


@pytest.mark.parametrize("key", ["S3", "s3//typo", "s3:/b", "://b", ""])
def test_a_key_of_the_options_that_matches_nothing_is_refused(key: str) -> None:
    with pytest.raises(InvalidArgumentError, match="options are for"):
        Settings(options={key: {}})


def test_a_container_is_below_its_own_prefix_with_and_without_the_slash() -> None:
    for prefix in ("s3://box", "s3://box/"):
        settings = Settings(options={prefix: {"profile": "other"}})
        for url in ("s3://box", "s3://box/", "s3://box/key"):
            assert settings.options_for("s3", url, None) == {"profile": "other"}
        for url in ("s3://box-2/key", "s3://bo", "s3://"):
            assert settings.options_for("s3", url, None) == {}
