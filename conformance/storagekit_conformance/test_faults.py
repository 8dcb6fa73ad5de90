"""Faults while looking and reading: right answers or clear errors, never fewer bytes, fewer names or a "no".

The place is the fixture ``faulty``: whatever the driver, its operations can be made to fail (see ``faults``). What
becomes of changes during which something fails is the family ``outcomes``.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from storagekit.errors import ObjectChangedError
from storagekit_conformance.clauses import clause
from storagekit_conformance.fault_cases import REFUSED, attempt, faults_of, part_of
from storagekit_conformance.fault_wrapper import PAGE
from storagekit_conformance.faults import (
    Answer,
    Before,
    Corrupt,
    Cut,
    Delay,
    Fault,
    Lost,
    Reset,
    Stall,
    Status,
)
from storagekit_conformance.support import BLOCK, Box, content, needs, refused

# More than comes along with opening, and no multiple of anything.
SIZE = 5 * BLOCK + 17
DATA = content(SIZE)

# A driver that waits for ever would wait for this; none may need as long as PATIENCE.
STALLED, PATIENCE = Stall(40.0), 30.0

# Name: the fault, how many reads pass before it, how many times it comes (None: for ever).
READING: dict[str, tuple[Fault, int, int | None]] = {
    "refused-at-open": (REFUSED, 0, None),
    "refused-later": (REFUSED, 1, None),
    "missing-later": (Status(404), 1, None),
    "broken-at-open": (Status(500), 0, 1),
    "broken-later": (Status(500), 1, 1),
    "busy-at-open": (Status(503), 0, 1),
    "busy-later": (Status(503), 1, 1),
    "reset-at-open": (Reset(), 0, 1),
    "reset-later": (Reset(), 1, 1),
    "reset-always": (Reset(), 1, None),
    "lost-at-open": (Lost(), 0, 1),
    "lost-later": (Lost(), 1, 1),
    "cut-at-open": (Cut(700), 0, 1),
    "cut-later": (Cut(70_000), 1, 1),
    "ended-at-open": (Cut(700, quiet=True), 0, 1),
    "ended-later": (Cut(70_000, quiet=True), 1, 1),
    "ended-always": (Cut(0, quiet=True), 0, None),
    "delayed": (Delay(0.1), 0, None),
}


# -- reading ----------------------------------------------------------------------------------------------


@clause("faults.read")
@pytest.mark.parametrize("name", READING)
def test_right_bytes_or_an_error(faulty: Box, name: str) -> None:
    fault, after, times = READING[name]
    url = faulty.put("object", DATA)
    file: Any = None
    with faults_of(faulty).armed(fault, "read", after=after, times=times), attempt(url):
        file = faulty.open(url, "rb")
        assert file.read(10) + file.read() == DATA
        assert file.read() == b""
    if file is not None:
        with file:
            file.seek(0)
            assert file.read() == DATA
    assert faulty.get("object") == DATA


@clause("faults.read-unbuffered")
@pytest.mark.parametrize("fault", [REFUSED, Cut(100)], ids=["refused", "cut"])
def test_unbuffered_reads_under_faults(faulty: Box, fault: Fault) -> None:
    url = faulty.put("object", DATA)
    with faulty.open(url, "rb", buffering=0) as file:
        pieces: list[bytes] = []
        with faults_of(faulty).armed(fault, "read"):
            while sum(map(len, pieces)) < SIZE:
                with attempt(url) as outcome:
                    piece = file.read(BLOCK)
                if outcome.error is None:
                    assert piece, "an early end"
                    pieces.append(piece)
    assert b"".join(pieces) == DATA


@clause("faults.read-cut")
@pytest.mark.parametrize("quiet", [False, True], ids=["reset", "ended"])
def test_a_cut_body_is_continued(faulty: Box, quiet: bool) -> None:
    # A reset may throw away what had arrived of a read; then it counts as one without a byte, as many may come.
    times = 20 if quiet else 3
    for after in (1000, BLOCK - 1, BLOCK, BLOCK + 1):
        url = faulty.put(f"object-{after}", DATA)
        with faults_of(faulty).armed(Cut(after, quiet), "read", times=times), faulty.open(url, "rb") as file:
            assert file.read() == DATA


@clause("faults.read-cut-always")
def test_a_store_that_sends_nothing(faulty: Box) -> None:
    faults = faults_of(faulty)
    url = faulty.put("object", DATA)
    with faulty.open(url, "rb") as file:
        faults.forget()
        with faults.armed(Cut(0), "read", times=None), refused(url=url):
            file.seek(-1, io.SEEK_END)
            file.read()
        assert faults.count("read") <= 12, "it is asked a few times and not for ever"
        assert file.seek(0) == 0
        assert file.read() == DATA


@clause("faults.read-stall")
@pytest.mark.parametrize(
    ("after", "times"), [(None, 1), (0, None), (70_000, 1)], ids=["no-answer", "no-body", "half-a-body"]
)
def test_a_stall_ends(faulty: Box, after: int | None, times: int | None) -> None:
    url = faulty.put("object", DATA)
    begun = time.monotonic()
    with faulty.open(url, "rb") as file:
        with faults_of(faulty).armed(Stall(STALLED.seconds, after), "read", times=times), attempt(url):
            assert file.read() == DATA
        assert time.monotonic() - begun < PATIENCE
        file.seek(0)
        assert file.read() == DATA


@clause("faults.delay")
def test_delays_only_delay(faulty: Box) -> None:
    everything = ("read", "stat", "list", "put", "begin", "part", "commit", "copy")
    with faults_of(faulty).armed(Delay(0.05), *everything, times=None):
        url = faulty.put("folder/object", DATA)
        assert faulty.get("folder/object") == DATA
        assert faulty.storage.listdir(faulty.url("folder")) == ["object"]
        faulty.storage.copyfile(url, url + "-copy")
        assert faulty.storage.getsize(url + "-copy") == SIZE
        assert not faulty.storage.exists(url + "-absent")


@clause("faults.open")
@pytest.mark.parametrize("fault", [REFUSED, Status(500), Reset()], ids=["refused", "broken", "reset"])
def test_open_says_what_hinders(faulty: Box, fault: Fault) -> None:
    url = faulty.put("object", DATA)
    with faults_of(faulty).armed(fault, "read", times=None), refused(url=url) as caught:
        faulty.open(url, "rb")
    assert not isinstance(caught.value, FileNotFoundError)
    if fault == REFUSED:
        assert isinstance(caught.value, PermissionError)


@clause("faults.open-missing")
def test_a_failing_diagnosis_keeps_the_answer(faulty: Box) -> None:
    with faults_of(faulty).armed(REFUSED, "list", times=None, certain=False), refused(FileNotFoundError):
        faulty.open(faulty.url("absent"), "rb")


@clause("faults.read-changed")
@pytest.mark.parametrize("size", [SIZE, SIZE + 1, 10], ids=["same-size", "longer", "shorter"])
def test_an_object_replaced_between_two_ranges(faulty: Box, size: int) -> None:
    needs(faulty.traits.pinned_reads, "the driver does not promise that a reader keeps to one version")
    client = faulty.root.client
    needs(client, "the target has no second client")
    assert client is not None
    url = faulty.put("object", DATA)
    new = content(size, seed=1)
    with faulty.open(url, "rb") as file:
        begin = file.read(10)
        change = Before(lambda: client.put("object", new))
        with faults_of(faulty).armed(change, "read", certain=False) as rule, attempt(url) as outcome:
            assert begin + file.read() == DATA
        assert outcome.error is None or isinstance(outcome.error, ObjectChangedError)
    needs(rule.hits, "the driver needed no second range")
    assert faulty.get("object") == new


@clause("faults.read-removed")
def test_an_object_removed_between_two_ranges(faulty: Box) -> None:
    client = faulty.root.client
    needs(client, "the target has no second client")
    assert client is not None
    url = faulty.put("object", DATA)
    with (
        faulty.open(url, "rb") as file,
        faults_of(faulty).armed(Before(lambda: client.delete("object")), "read", certain=False) as rule,
        attempt(url),
    ):
        assert file.read() == DATA
    needs(rule.hits, "the driver needed no second range")
    assert faulty.absent("object")


PLAIN = "".join(f"line {number} äöü\n" for number in range(40_000))
LAYERS: dict[str, tuple[bytes, dict[str, Any]]] = {
    "text": (PLAIN.encode(), {}),
    # Random bytes, which no codec shortens: what is stored is longer than what comes along with opening.
    "gzip": (gzip.compress(DATA, mtime=0), {"mode": "rb", "compression": "gzip"}),
    "bz2": (bz2.compress(DATA), {"mode": "rb", "compression": "bz2"}),
    "xz": (lzma.compress(DATA), {"mode": "rb", "compression": "xz"}),
}


def _expected(layer: str) -> Any:
    return PLAIN if layer == "text" else DATA


@clause("faults.read-layers")
@pytest.mark.parametrize("layer", LAYERS)
def test_layers_over_a_cut_body(faulty: Box, layer: str) -> None:
    stored, arguments = LAYERS[layer]
    url = faulty.put("object", stored)
    with faults_of(faulty).armed(Cut(100_000), "read", times=None), faulty.open(url, **arguments) as file:
        assert file.read() == _expected(layer)
    if layer == "text":
        with faults_of(faulty).armed(Cut(50_000, quiet=True), "read", times=None), faulty.open(url) as file:
            assert list(file) == PLAIN.splitlines(keepends=True)


@clause("faults.read-layers-error")
@pytest.mark.parametrize("layer", LAYERS)
def test_layers_over_an_error(faulty: Box, layer: str) -> None:
    stored, arguments = LAYERS[layer]
    url = faulty.put("object", stored)
    with faulty.open(url, **arguments) as file:
        with faults_of(faulty).armed(REFUSED, "read", times=None), refused(PermissionError, url=url):
            if layer == "text":
                for _ in file:
                    pass
            file.read()
        file.seek(0)
        assert file.read() == _expected(layer)


@clause("faults.read-corrupt")
@pytest.mark.parametrize("layer", ["gzip", "bz2", "xz"])
def test_a_codec_tells_changed_bytes(faulty: Box, layer: str) -> None:
    stored, arguments = LAYERS[layer]
    for seed in range(4):
        url = faulty.put(f"object-{seed}", stored)
        with faults_of(faulty).armed(Corrupt(3, seed), "read", times=None):
            try:
                with faulty.open(url, **arguments) as file:
                    assert file.read() == DATA
            except (OSError, EOFError):
                continue


@clause("faults.read-threads")
def test_threads_on_one_handle_under_cuts(faulty: Box) -> None:
    url = faulty.put("object", DATA)
    chunks: list[bytes] = []
    start = threading.Barrier(16)

    def read() -> None:
        start.wait(60)
        while chunk := file.read(1009):
            chunks.append(chunk)

    with (
        faults_of(faulty).armed(Cut(100_000), "read", times=None),
        faulty.open(url, "rb") as file,
        ThreadPoolExecutor(16) as threads,
    ):
        for future in [threads.submit(read) for _ in range(16)]:
            future.result(120)
    assert sorted(chunks) == sorted(DATA[at : at + 1009] for at in range(0, SIZE, 1009))


# -- asking -----------------------------------------------------------------------------------------------

QUESTIONS = ("stat", "exists", "path_exists", "isfile", "isdir", "getsize", "getmtime")


@clause("faults.stat")
def test_a_refused_question_is_an_error(faulty: Box) -> None:
    faulty.put("object")
    faulty.put("folder/object")
    for question in QUESTIONS:
        ask: Callable[[str], object] = getattr(faulty.storage, question)
        for key in ("object", "absent", "folder"):
            with faults_of(faulty).armed(REFUSED, "stat", "list", times=None), refused(PermissionError):
                ask(faulty.url(key))


@clause("faults.stat-no-answer")
@pytest.mark.parametrize(
    ("question", "fault"),
    [("exists", Status(500)), ("isfile", Reset()), ("isdir", Lost())],
    ids=["broken", "reset", "lost"],
)
def test_a_question_without_answer_is_an_error(faulty: Box, question: str, fault: Fault) -> None:
    faulty.put("folder/object")
    ask: Callable[[str], object] = getattr(faulty.storage, question)
    with faults_of(faulty).armed(fault, "stat", "list", times=None), refused():
        ask(faulty.url("folder"))
    assert faulty.storage.isdir(faulty.url("folder"))


LISTING: dict[str, Callable[[Box, str], object]] = {
    "listdir": lambda box, url: box.storage.listdir(url),
    "scandir": lambda box, url: list(box.storage.scandir(url)),
    "walk": lambda box, url: list(box.storage.walk(url)),
    "walk-up": lambda box, url: list(box.storage.walk(url, topdown=False)),
    "glob": lambda box, url: box.storage.glob(url + "/*"),
    "iglob": lambda box, url: list(box.storage.iglob(url + "/**", recursive=True)),
    "rmtree-dry": lambda box, url: box.storage.rmtree(url, dry_run=True),
    "rmtree": lambda box, url: box.storage.rmtree(url),
}


@clause("faults.list")
def test_a_refused_listing_is_an_error(faulty: Box) -> None:
    faulty.put("folder/a")
    faulty.put("folder/b")
    for function in LISTING.values():
        with faults_of(faulty).armed(REFUSED, "list", times=None), refused(PermissionError):
            function(faulty, faulty.url("folder"))
    assert faulty.storage.listdir(faulty.url("folder")) == ["a", "b"]


@clause("faults.list-no-answer")
@pytest.mark.parametrize("fault", [Status(500), Reset(), Cut(40)], ids=["broken", "reset", "cut"])
def test_a_listing_without_answer_is_an_error(faulty: Box, fault: Fault) -> None:
    faulty.put("folder/a")
    with faults_of(faulty).armed(fault, "list", times=None), refused():
        faulty.storage.listdir(faulty.url("folder"))


@clause("faults.list-later")
def test_a_later_page_fails(faulty: Box) -> None:
    names = sorted(f"folder/{number:04}" for number in range(PAGE + 2))
    faulty.put(names[0])
    client, put = faulty.root.client, faulty.put
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: client.put(key, b"") if client else put(key, b""), names[1:]))
    faults = faults_of(faulty)
    pages = 0
    for name, function in LISTING.items():
        if name != "rmtree":
            faults.forget()
            function(faulty, faulty.url("folder"))
            pages = faults.count("list")
        assert pages > 1, "the listing has more than one page"
        # rmtree tells what went wrong first, which without a hook to delete is that it cannot.
        kind = OSError if name == "rmtree" else PermissionError
        with faults.armed(REFUSED, "list", after=pages - 1, times=None), refused(kind):
            function(faulty, faulty.url("folder"))


GARBAGE = [
    b"<html><head><title>Welcome</title></head><body>Please sign in to this network.</body></html>",
    b"",
    b"the service is having a bad day",
    b"<?xml version='1.0'?><ListBucketResult><Name>box</Name><Contents><Key>folder/a</Key>",
]


@clause("faults.list-garbage")
def test_something_else_than_a_listing(faulty: Box) -> None:
    needs(faults_of(faulty).can(Answer), "a driver's hooks cannot answer with bytes that are no listing")
    faulty.put("folder/a")
    for answer in GARBAGE:
        with faults_of(faulty).armed(Answer(answer), "list", times=None):
            for name in ("listdir", "walk", "rmtree"):
                with refused():
                    LISTING[name](faulty, faulty.url("folder"))
            with refused():
                faulty.storage.isdir(faulty.url("folder"))


# -- what only counting shows -------------------------------------------------------------------------------


@clause("faults.ranged-reads")
def test_the_end_of_an_object_costs_its_end(faulty: Box) -> None:
    faults = faults_of(faulty)
    needs(faulty.traits.ranged_reads, "the driver does not promise cheap reads at an offset")
    needs(faults.counts_bytes, "the bytes between this driver and its store cannot be counted")
    size = 8 * 1024 * 1024
    data = content(size)
    url = faulty.put("object", data)
    faults.forget()
    with faulty.open(url, "rb") as file:
        file.seek(-100, io.SEEK_END)
        assert file.read() == data[-100:]
    assert faults.traffic("read").received < size // 8


@clause("faults.server-copy")
@pytest.mark.parametrize("change", ["copy", "rename"])
def test_a_copy_in_the_store_moves_no_bytes(faulty: Box, change: str) -> None:
    faults = faults_of(faulty)
    needs(faulty.traits.server_copy, "the driver does not promise to copy within the store")
    needs(faults.counts_bytes, "the bytes between this driver and its store cannot be counted")
    data = content(part_of(faulty) + 1000)
    url = faulty.put("object", data)
    faults.forget()
    getattr(faulty.storage, change)(url, faulty.url("target"))
    moved = faults.traffic()
    assert moved.sent + moved.received < BLOCK
    assert faulty.get("target") == data


# -- afterwards -------------------------------------------------------------------------------------------


@clause("faults.goes-on")
@pytest.mark.parametrize("fault", [Status(503), Reset(), REFUSED], ids=["busy", "reset", "refused"])
def test_the_same_storage_goes_on(faulty: Box, fault: Fault) -> None:
    storage, url = faulty.storage, faulty.put("folder/object", DATA)
    everything = ("read", "stat", "list", "put", "copy", "rename", "delete")
    calls: list[Callable[[], object]] = [
        lambda: faulty.get("folder/object"),
        lambda: storage.stat(url),
        lambda: storage.listdir(faulty.url("folder")),
        lambda: faulty.put("folder/new"),
        lambda: storage.rename(url, url + "-renamed"),
        lambda: storage.remove(url),
    ]
    with faults_of(faulty).armed(fault, *everything, times=None), ThreadPoolExecutor(len(calls)) as threads:
        for future in [threads.submit(call) for call in calls]:
            assert isinstance(future.exception(120), OSError)
    assert storage.traits(faulty.root.url) == faulty.traits
    assert faulty.get("folder/object") == DATA
    assert storage.listdir(faulty.url("folder")) == ["object"]
    faulty.put("folder/new", b"new")
    storage.copyfile(faulty.url("folder/new"), faulty.url("folder/newer"))
    assert faulty.get("folder/newer") == b"new"
    assert storage.listdir(faulty.url("folder")) == ["new", "newer", "object"]
