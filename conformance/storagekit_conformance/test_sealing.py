"""The seal: whatever ends a writer other than its own successful close publishes nothing."""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import warnings
from typing import Any

import pytest

from storagekit_conformance.clauses import clause
from storagekit_conformance.remains import no_uploads, untouched, uploads, wait_for
from storagekit_conformance.support import PART, Box, content, script

LAYERS = ["binary", "text", "gzip", "gzip-text", "xz", "unbuffered"]
SMALL, LARGE = 20, PART + 300_000
SIZES = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "parts"])
# Every layer with a few bytes; with parts already sent those where that makes a difference.
CASES = [*((layer, SMALL) for layer in LAYERS), *((layer, LARGE) for layer in ("binary", "unbuffered", "gzip-text"))]
LAYERED = pytest.mark.parametrize(
    ("layer", "size"), CASES, ids=[f"{layer}-{'small' if size == SMALL else 'parts'}" for layer, size in CASES]
)


def writer(box: Box, key: str, layer: str) -> Any:
    """A writer with those layers over the sink."""
    if layer == "unbuffered":
        return box.open(box.url(key), "wb", buffering=0)
    compression, _, text = layer.partition("-")
    mode = "w" if text or layer == "text" else "wb"
    return box.open(box.url(key), mode, compression={"gzip": "gzip", "xz": "xz"}.get(compression), **_latin(mode))


def _latin(mode: str) -> dict[str, Any]:
    return {"encoding": "latin-1", "newline": ""} if mode == "w" else {}


def piece(layer: str, size: int) -> Any:
    """*size* bytes that no codec shortens, as what that layer takes."""
    data = content(size)
    return data.decode("latin-1") if layer.endswith("text") else data


@clause("sealing.exception")
@LAYERED
def test_exception_in_with(box: Box, layer: str, size: int) -> None:
    box.put("old", b"old bytes")
    for key in ("new", "old"):
        with pytest.raises(ZeroDivisionError), writer(box, key, layer) as file:
            file.write(piece(layer, size))
            raise ZeroDivisionError
        assert file.closed
    untouched(box)


@clause("sealing.interrupt")
def test_interrupt_in_with(box: Box) -> None:
    box.put("old", b"old bytes")
    for kind in (KeyboardInterrupt, SystemExit, GeneratorExit):
        with pytest.raises(kind), box.open(box.url("new"), "wb") as file:
            file.write(b"half")
            raise kind
    untouched(box)


@clause("sealing.garbage")
@LAYERED
def test_garbage_collection(box: Box, layer: str, size: int) -> None:
    box.put("old", b"old bytes")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Box.opened(box.root) as forgetful:
            for key in ("new", "old"):
                file = writer(forgetful, key, layer)
                file.write(piece(layer, size))
                del file
            # Layers may hold each other; for those that do not, the `del` was enough.
            gc.collect()
            warned = [w for w in caught if w.category is ResourceWarning]
            assert len(warned) >= 2, f"each unclosed writer warns; seen: {[str(w.message) for w in caught]}"
    wait_for(lambda: not uploads(box), "an abandoned upload was not removed")
    untouched(box)


@clause("sealing.discard")
@SIZES
def test_discard(box: Box, size: int) -> None:
    box.put("old", b"old bytes")
    for key in ("new", "old"):
        file = writer(box, key, "binary")
        file.write(content(size))
        file.discard()
        assert file.closed
        file.discard()
        file.close()
        with pytest.raises(ValueError, match="closed"):
            file.write(b"more")
        with writer(box, key, "binary") as file:
            file.write(content(size))
            file.discard()
    untouched(box)


@clause("sealing.discard-after-close")
def test_discard_after_close(box: Box) -> None:
    with box.open(box.url("object"), "wb") as file:
        file.write(b"data")
    file.discard()
    assert box.get("object") == b"data"


@clause("sealing.warning")
@pytest.mark.parametrize("end", ["exception", "discard"])
def test_one_warning_is_logged(box: Box, caplog: pytest.LogCaptureFixture, end: str) -> None:
    file = writer(box, "object", "binary")
    file.write(b"written and lost")
    with caplog.at_level(logging.WARNING, logger="storagekit"):
        if end == "discard":
            file.discard()
        else:
            with pytest.raises(ZeroDivisionError), file:
                raise ZeroDivisionError
    warned = [r for r in caplog.records if r.name.startswith("storagekit") and r.levelno == logging.WARNING]
    assert len(warned) == 1, [r.getMessage() for r in warned]
    assert box.url("object") in warned[0].getMessage()


@clause("sealing.foreign-wrapper")
def test_foreign_wrapper(box: Box) -> None:
    box.put("old", b"old bytes")
    sink = box.open(box.url("new"), "wb")
    with pytest.raises(ZeroDivisionError), io.TextIOWrapper(sink, encoding="utf-8") as wrapper:
        try:
            wrapper.write("half")
            raise ZeroDivisionError
        except BaseException:
            sink.discard()
            raise
    untouched(box)
    with pytest.raises(ZeroDivisionError), box.open(box.url("new"), "wb") as sink:
        wrapper = io.TextIOWrapper(sink, encoding="utf-8")
        wrapper.write("half")
        raise ZeroDivisionError
    wrapper.detach() if not wrapper.closed else None
    untouched(box)


@clause("sealing.uploads")
def test_no_upload_is_left(box: Box) -> None:
    try:
        list(box.storage.uploads(box.url()))
    except io.UnsupportedOperation:
        pytest.skip("the driver cannot tell of unfinished uploads")
    with pytest.raises(ZeroDivisionError), box.open(box.url("object"), "wb") as file:
        file.write(content(3 * PART))
        raise ZeroDivisionError
    no_uploads(box)
    box.put("object", content(2 * PART))
    no_uploads(box)


ENDINGS = {
    "exit": "",
    "exception": "raise ZeroDivisionError",
    "sys-exit": "sys.exit(0)",
    "terminated": "print('ready', flush=True); sys.stdin.read()",
    "killed": "print('ready', flush=True); sys.stdin.read()",
}


@clause("sealing.process-end")
@pytest.mark.parametrize("end", ENDINGS)
def test_end_of_the_process(box: Box, end: str) -> None:
    box.put("old", b"old bytes")
    body = f"""
binary = storage.open(url + "new", "wb")
text = storage.open(url + "old", "w")
zipped = storage.open(url + "zipped", "w", compression="gzip")
binary.write(b"x" * 100)
text.write("half")
zipped.write("half")
{ENDINGS[end]}
"""
    # "place" plus the slash is the prefix; the script appends its names to it.
    with script(box.root, "", body) as process:
        if end in ("terminated", "killed"):
            assert process.stdout.readline() == "ready\n", process.stderr.read()
            process.terminate() if end == "terminated" else process.kill()
        process.communicate(timeout=60)
        if end in ("exit", "sys-exit"):
            assert process.returncode == 0
    assert box.get("old") == b"old bytes"
    assert box.absent("new")
    assert box.absent("zipped")


@clause("sealing.process-end")
def test_end_of_the_process_is_quick(box: Box) -> None:
    body = 'storage.open(url + "new", "wb").write(b"x" * 20_000_000); os._exit(7)'
    with script(box.root, "", body) as process:
        process.communicate(timeout=60)
        assert process.returncode == 7
    assert box.storage.exists(box.url("new")) is False


@clause("sealing.exception-is-kept")
def test_the_callers_exception_arrives(box: Box) -> None:
    class OwnError(Exception):
        pass

    with pytest.raises(OwnError) as caught, box.open(box.url("object"), "w") as file:
        file.write("half")
        raise OwnError("mine")
    assert str(caught.value) == "mine"
    assert caught.value.__cause__ is None


@clause("sealing.foreign-wrapper-limit")
def test_the_limit(box: Box) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        io.TextIOWrapper(box.open(box.url("new"), "wb"), encoding="utf-8") as wrapper,
    ):
        wrapper.write("half")
        raise ZeroDivisionError
    assert box.get("new") == b"half", "the documented limit: the wrapper closes our writer before it can know"


@clause("sealing.inner-close")
@pytest.mark.parametrize("layer", ["binary", "text", "gzip-text"])
def test_an_inner_layer_is_closed(box: Box, layer: str) -> None:
    box.put("old", b"old bytes")
    for key in ("new", "old"):
        file = writer(box, key, layer)
        file.write(piece(layer, SMALL))
        (file.buffer if layer.endswith("text") else file.raw).close()
        with pytest.raises((OSError, ValueError)):
            file.close()
        file.close()
    untouched(box)


@clause("sealing.generator")
def test_a_generator_that_is_given_up(box: Box) -> None:
    box.put("old", b"old bytes")

    def produce(key: str) -> Any:
        with box.open(box.url(key), "wb") as file:
            while True:
                file.write((yield))

    ends: list[Any] = [lambda making: making.close(), lambda making: making.throw(KeyError("no more"))]
    for key in ("new", "old"):
        for end in ends:
            making = produce(key)
            next(making)
            making.send(b"half")
            try:
                end(making)
            except KeyError:
                pass  # the caller's own, which came through
    untouched(box)


@clause("sealing.several")
def test_several_writers(box: Box) -> None:
    box.put("old", b"old bytes")
    with pytest.raises(ZeroDivisionError), contextlib.ExitStack() as stack:
        for key in ("new", "old", "third"):
            stack.enter_context(box.open(box.url(key), "wb")).write(b"half")
        raise ZeroDivisionError
    untouched(box)
