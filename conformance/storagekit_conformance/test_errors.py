"""Errors: the class that the builtin functions would raise, the number, the URL, and a hint, soon."""

from __future__ import annotations

import errno
import logging
import pickle
import time
from typing import Any

import pytest

from storagekit.errors import InvalidArgumentError
from storagekit_conformance.clauses import clause
from storagekit_conformance.support import Box, refused

# "A dead endpoint fails in seconds": three attempts at something that refuses at once, on a loaded machine.
DEAD_SECONDS = 30.0


@clause("errors.open-missing")
@pytest.mark.parametrize("mode", ["r", "rb"])
def test_open_missing(box: Box, mode: str) -> None:
    box.put("objects")
    for key in ("object", "absent/object"):
        with refused(FileNotFoundError, url=box.url(key), errno=errno.ENOENT):
            box.open(box.url(key), mode)


@clause("errors.open-directory")
def test_open_a_directory(box: Box) -> None:
    box.put("folder/object")
    keys = ["folder", "folder/"]
    if box.traits.empty_directories:
        box.storage.makedirs(box.url("empty"))
        keys += ["empty", "empty/"]
    for key in keys:
        with refused(IsADirectoryError, url=box.url(key), errno=errno.EISDIR):
            box.open(box.url(key), "rb")
    with refused(IsADirectoryError, FileNotFoundError):
        box.open(f"{box.root.scheme}://", "rb")


@clause("errors.open-trailing-slash")
def test_open_with_a_trailing_slash(box: Box) -> None:
    box.put("file")
    with refused(NotADirectoryError, url=box.url("file/"), errno=errno.ENOTDIR):
        box.open(box.url("file/"), "rb")
    with refused(FileNotFoundError, url=box.url("absent/")):
        box.open(box.url("absent/"), "rb")


@clause("errors.write-trailing-slash")
@pytest.mark.parametrize("key", ["file/", "absent/", "folder/"])
def test_write_with_a_trailing_slash(box: Box, key: str) -> None:
    box.put("file")
    box.put("folder/object")
    with pytest.raises(OSError) as caught:
        box.open(box.url(key), "wb").close()
    assert caught.value.errno in (errno.EISDIR, errno.ENOTDIR, errno.ENOENT)
    assert box.get("file") == b"data"
    assert not box.storage.exists(box.url("absent"))
    assert box.storage.listdir(box.url("folder")) == ["object"]


@clause("errors.below-a-file")
def test_path_through_a_file(box: Box) -> None:
    box.put("file")
    url = box.url("file/x")
    for function in (box.storage.open, box.storage.stat, box.storage.listdir, box.storage.remove):
        with refused(FileNotFoundError, NotADirectoryError, url=url):
            function(url)


@clause("errors.pickle")
def test_errors_pickle(box: Box) -> None:
    box.put("folder/file")
    calls: list[Any] = [
        lambda: box.open(box.url("absent")),
        lambda: box.open(box.url("folder")),
        lambda: box.storage.listdir(box.url("folder/file")),
        lambda: box.storage.remove(box.url("absent")),
        lambda: box.storage.rmdir(box.url("folder")),
        lambda: box.open(box.url("file"), "r+"),
        lambda: box.open(box.url("file"), options={"no_such_option": 1}),
    ]
    for call in calls:
        with pytest.raises(OSError) as caught:
            call()
        error = caught.value
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert (again.errno, again.strerror, again.filename) == (error.errno, error.strerror, error.filename)
        assert str(again) == str(error)
        assert error.filename in str(error)


@clause("errors.unknown-scheme")
def test_unknown_scheme(box: Box) -> None:
    url = "no-such-scheme://box/object"
    for function in (box.storage.open, box.storage.stat, box.storage.listdir, box.storage.remove, box.storage.mkdir):
        with refused(OSError, url=url) as caught:
            function(url)
        assert "no-such-scheme" in caught.value.strerror
        assert box.root.scheme in caught.value.strerror, "it names the schemes that there are"


@clause("errors.unknown-option")
def test_unknown_option(box: Box) -> None:
    url = box.put("object")
    for function in (box.storage.open, box.storage.stat, box.storage.remove, box.storage.exists):
        with refused(InvalidArgumentError, url=url) as caught:
            function(url, options={"no_such_option": 1})
        assert "no_such_option" in caught.value.strerror
    assert box.get("object") == b"data"
    known = sorted(box.root.options)
    if known:
        with refused(InvalidArgumentError) as caught:
            box.open(url, options={known[0] + "x": "value"})
        assert repr(known[0]) in caught.value.strerror or known[0] in caught.value.strerror.replace(known[0] + "x", "")


@clause("errors.malformed")
def test_malformed_urls(box: Box) -> None:
    scheme = box.root.scheme
    if scheme != "file":
        with refused(InvalidArgumentError, url=f"{scheme}:///key"):
            box.open(f"{scheme}:///key")
    with refused(OSError, url=f"{scheme}://"):
        box.open(f"{scheme}://", "w")
    with refused(OSError):
        box.storage.remove(f"{scheme}://")


@clause("errors.mode")
def test_bad_modes(box: Box) -> None:
    url = box.put("object")
    mode: Any
    for mode in ("", "rw", "rr", "rbt", "b", "t", "+", "z", "wx", "U", "r b"):
        with pytest.raises(ValueError, match=r".+"):
            box.open(url, mode)
    for mode in (None, 3, b"rb"):
        with pytest.raises(TypeError):
            box.open(url, mode)
    assert box.get("object") == b"data"


@clause("errors.arguments")
@pytest.mark.parametrize("mode", ["r", "w"])
def test_arguments_that_do_not_fit(box: Box, mode: str) -> None:
    url = box.put("object")
    wrong: list[dict[str, Any]] = [{"encoding": "utf-8"}, {"errors": "strict"}, {"newline": ""}]
    for arguments in wrong:
        with pytest.raises(ValueError, match=next(iter(arguments))):
            box.open(url, mode + "b", **arguments)
    with pytest.raises(ValueError, match=r".+"):
        box.open(url, mode, buffering=0)
    with pytest.raises(ValueError, match=r".+"):
        box.open(url, mode, newline="x")
    with pytest.raises(LookupError):
        box.open(url, mode, encoding="no-such-encoding")
    assert box.get("object") == b"data"


@clause("errors.closefd")
@pytest.mark.parametrize("mode", ["r", "w"])
def test_closefd_is_for_descriptors(box: Box, mode: str) -> None:
    url = box.put("object")
    with pytest.raises(ValueError, match=r".+"):
        box.open(url, mode, closefd=False).close()
    assert box.get("object") == b"data"


@clause("errors.missing-container")
def test_missing_container(box: Box) -> None:
    container = box.root.missing_container
    if container is None:
        pytest.skip("containers need not be created here")
    url = f"{container}/object"
    for function in (box.storage.open, box.storage.stat, box.storage.listdir, box.storage.remove):
        with refused(FileNotFoundError, url=url):
            function(url)
    for place in (container, container + "/"):
        with refused(FileNotFoundError):
            box.storage.listdir(place)
        with refused(FileNotFoundError, IsADirectoryError):
            box.open(place)


@clause("errors.denied")
def test_wrong_secret(box: Box) -> None:
    url = box.put("folder/object")
    if box.root.denied is None:
        pytest.skip("the target refuses nobody")
    storage = box.root.storage(options={box.root.scheme: dict(box.root.denied)})
    try:
        for function in (storage.open, storage.stat, storage.listdir, storage.exists, storage.isfile, storage.isdir):
            with refused(PermissionError, url=url):
                function(url)
        with refused(PermissionError):
            list(storage.walk(box.url("folder")))
        with refused(PermissionError):
            storage.glob(box.url("folder/*"))
        with refused(PermissionError):
            storage.remove(url)
        with pytest.raises(PermissionError), storage.open(url, "w") as file:
            file.write("new")
    finally:
        storage.close()
    assert box.get("folder/object") == b"data"


@clause("errors.store-words")
def test_the_stores_own_words(box: Box) -> None:
    if box.root.denied is None:
        pytest.skip("the target refuses nobody")
    storage = box.root.storage(options={box.root.scheme: dict(box.root.denied)})
    try:
        with refused(PermissionError) as caught:
            storage.listdir(box.url())
    finally:
        storage.close()
    error = caught.value
    assert error.__cause__ is not None, "the store's error is the cause"
    assert error.status == 403
    assert error.store_code
    again = pickle.loads(pickle.dumps(error))
    assert (again.status, again.store_code, again.request_id) == (error.status, error.store_code, error.request_id)


@clause("errors.unreachable")
def test_nobody_answers(box: Box) -> None:
    if box.root.unreachable is None:
        pytest.skip("the target is reached without a network")
    storage = box.root.storage(options={box.root.scheme: dict(box.root.unreachable)})
    try:
        for function in (storage.open, storage.exists, storage.listdir):
            start = time.monotonic()
            with refused(ConnectionError, TimeoutError, url=box.url("object")):
                function(box.url("object"))
            assert time.monotonic() - start < DEAD_SECONDS
    finally:
        storage.close()


@clause("errors.no-secret")
def test_secrets_are_not_told(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    if not box.root.secrets:
        pytest.skip("the target's options hold no secrets")
    texts: list[str] = []
    secrets = [str(box.root.options[name]) for name in box.root.secrets if name in box.root.options]
    with caplog.at_level(logging.DEBUG, logger="storagekit"), box.root.storage() as storage:
        url = box.put("object")
        with storage.open(url, "rb") as file:
            file.read()
            texts += [repr(file), repr(storage), repr(storage.stat(url)), repr(box.root)]
        calls: list[Any] = [
            lambda: storage.open(box.url("absent")),
            lambda: storage.open(url, options={"no_such_option": 1}),
            lambda: storage.listdir(box.url("absent")),
        ]
        for call in calls:
            with pytest.raises(OSError) as caught:
                call()
            texts += [repr(caught.value), str(caught.value), str(vars(caught.value)), str(pickle.dumps(caught.value))]
    texts += [r.getMessage() for r in caplog.records if r.name.startswith("storagekit")]
    for place in (box.root.denied, box.root.unreachable):
        if place is not None:
            with (
                box.root.storage(options={box.root.scheme: dict(place)}) as storage,
                pytest.raises(OSError) as caught,
            ):
                storage.stat(box.url("object"))
            texts += [repr(caught.value), str(vars(caught.value)), repr(storage)]
            secrets += [str(place[name]) for name in box.root.secrets if name in place]
    assert not [text for text in texts for secret in secrets if secret in text]
