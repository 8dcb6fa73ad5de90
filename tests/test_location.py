"""location: literal URLs, the algebra of parents and children, and joining."""

from __future__ import annotations

import pickle
import posixpath

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from storagekit.errors import InvalidArgumentError
from storagekit.location import Location, join_path, parse_location, scheme_of

# Every character that a key can have, and often those that a careless parser would trip over.
CHARACTERS = st.one_of(st.sampled_from("/.?#%:&+ ~\\é\n"), st.characters(exclude_characters="\0"))
KEYS = st.text(CHARACTERS, max_size=30)
NAMES = KEYS.map(lambda key: key.replace("/", "")).filter(bool)
CONTAINERS = st.text(st.characters(exclude_characters="\0/"), min_size=1, max_size=10)
LOCATIONS = st.builds(Location, st.just("s3"), CONTAINERS, KEYS)


@settings(deadline=None)
@given(CONTAINERS, KEYS)
def test_a_url_says_exactly_its_location(container: str, key: str) -> None:
    url = f"s3://{container}/{key}"
    location = parse_location(url)
    assert location == Location("s3", container, key)
    assert location.url == str(location) == url
    assert parse_location(location.url) == location
    assert pickle.loads(pickle.dumps(location)) == location


@settings(deadline=None)
@given(st.builds(Location, st.just("file"), st.just(""), KEYS.filter(bool)))
def test_a_location_without_container_is_written_with_three_slashes(location: Location) -> None:
    assert location.url == "file:///" + location.path


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("s3://", Location("s3", "", "")),
        ("s3:///", Location("s3", "", "")),
        ("s3://bucket", Location("s3", "bucket", "")),
        ("s3://bucket/", Location("s3", "bucket", "")),
        ("s3://bucket//", Location("s3", "bucket", "/")),
        ("S3://Bucket/Key", Location("s3", "Bucket", "Key")),
        ("s3://b/../a/./%41?x#y", Location("s3", "b", "../a/./%41?x#y")),
        ("s3://b/http://x/y", Location("s3", "b", "http://x/y")),
    ],
)
def test_parse(url: str, location: Location) -> None:
    assert parse_location(url) == location


@pytest.mark.parametrize(
    "url", ["s3:///key", "s3:////", "s3://b/a\0b", "/tmp/x", "", "x", "C:/temp", "C://temp", "://b/k"]
)
def test_parse_refuses(url: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_location(url)
    assert caught.value.filename == url


@pytest.mark.parametrize(
    ("path", "scheme"),
    [
        ("s3://b/k", "s3"),
        ("S3://b", "s3"),
        ("git+ssh://h", "git+ssh"),
        ("a.b-c://h", "a.b-c"),
        ("s3:/b/k", None),
        ("/s3://b", None),
        ("./s3://b", None),
        ("C://b", None),
        ("1s://b", None),
        ("é://b", None),
        ("", None),
    ],
)
def test_scheme_of(path: str, scheme: str | None) -> None:
    assert scheme_of(path) == scheme


@settings(deadline=None)
@given(LOCATIONS, NAMES)
def test_a_child_is_below_its_directory(directory: Location, name: str) -> None:
    child = directory.child(name)
    assert child.path == directory.prefix + name
    assert child.name == name
    assert child.parent == directory.directory
    assert child.directory.name == name
    assert child.directory.parent == child.parent
    assert not child.is_root


@settings(deadline=None)
@given(LOCATIONS)
def test_a_directory_is_its_prefix(location: Location) -> None:
    assert location.directory.path == location.prefix
    assert location.directory.directory == location.directory
    assert location.prefix == "" or location.prefix.endswith("/")
    assert location.prefix.removesuffix("/") == location.path.removesuffix("/")
    assert location.is_root == (location.path == "")


@settings(deadline=None)
@given(LOCATIONS)
def test_a_path_is_its_parent_and_its_name(location: Location) -> None:
    assume(not location.is_root)
    slash = "/" if location.path.endswith("/") else ""
    assert location.parent.prefix + location.name + slash == location.path
    assert location.parent.container == location.container
    # Going up ends at the root, in as many steps as there are segments.
    steps = 0
    while not location.is_root:
        location = location.parent
        steps += 1
        assert steps < 100
    assert location.parent == location


def test_a_roots_name_is_its_containers() -> None:
    assert Location("s3", "bucket", "").name == "bucket"
    assert Location("s3", "", "").name == ""


def test_empty_segments_are_names_like_others() -> None:
    inner = parse_location("s3://b/a//c")
    assert inner.parent == parse_location("s3://b/a//")
    assert inner.parent.name == ""
    assert inner.parent.parent == parse_location("s3://b/a/")
    assert parse_location("s3://b//").parent == parse_location("s3://b/")


def test_locations_sort_by_their_parts() -> None:
    urls = ["s3://a/b", "s3://a/c", "s3://b/a"]
    assert sorted(map(parse_location, reversed(urls))) == list(map(parse_location, urls))


@settings(deadline=None)
@given(st.lists(KEYS, min_size=1, max_size=4))
def test_join_is_posixpath_join_where_there_is_no_url(parts: list[str]) -> None:
    assume(not any(map(scheme_of, parts)))
    assert join_path(*parts) == posixpath.join(*parts)


@settings(deadline=None)
@given(CONTAINERS, st.lists(KEYS, min_size=1, max_size=4))
def test_join_below_a_url_is_posixpath_join_below_a_root(container: str, parts: list[str]) -> None:
    assume(not any(map(scheme_of, parts)))
    assert join_path(f"s3://{container}/", *parts) == f"s3://{container}" + posixpath.join("/", *parts)


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        (["s3://b", "k"], "s3://b/k"),
        (["s3://b", ""], "s3://b/"),
        (["s3://b/a", ""], "s3://b/a/"),
        (["s3://b/a", "../c"], "s3://b/a/../c"),
        (["s3://b/a", "/c"], "s3://b/c"),
        (["/tmp", "s3://b/k"], "s3://b/k"),
        (["s3://b", "x", "gs://c", "y"], "gs://c/y"),
        (["s3://", "b", "k"], "s3://b/k"),
        (["file:///tmp", "x"], "file:///tmp/x"),
        (["file:///", "x"], "file:///x"),
        (["file:///tmp/x", "/etc"], "file:///etc"),
        (["s3://b"], "s3://b"),
    ],
)
def test_join(parts: list[str], joined: str) -> None:
    assert join_path(*parts) == joined
