"""Trials of names: which keys the server keeps as they are, and whether its listings are whole and in order."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping

from storagekit.findings import Finding
from storagekit.location import Location
from storagekit_s3.api import Attributes, Page
from storagekit_s3.examining import Bench, Trial, said

__all__ = ["TRIALS"]

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html; no segment of it is longer than a file's name.
MAX_KEY_BYTES, SEGMENT_BYTES = 1024, 200
# The keys of the listing, several times the page that is asked for.
LISTED, PAGE = 9, 2

# A server may take them for paths. None leads out of the directory that it is in.
_SEGMENTS = {
    "'//'": "in/a//b",
    "a leading '/'": "lead//b",
    "'.'": "in/a/./c",
    "'..'": "in/a/x/../d",
    "space": "in/ spaces  in it ",
    "'%2F'": "in/per%2Fcent",
    "'+'": "in/a+b",
}
_CONTROLS = {"a control character": "in/bell\x07", "a newline": "in/line\nfeed", "a tab": "in/tab\tulator"}


def segments(bench: Bench) -> Iterator[Finding]:
    """Keys that look like paths."""
    names = {what: bench.at(f"segments/{name}") for what, name in _SEGMENTS.items()}
    if bench.scratch.path.startswith("storagekit-doctor-"):
        # The bucket's root is the user's directory, so this key lies in it.
        names["'/' as the first character"] = bench.mark(
            Location(bench.scratch.scheme, bench.scratch.container, "/" + bench.scratch.path + "first")
        )
    yield _kept(bench, "literal_keys", "keys with odd segments", names)


def controls(bench: Bench) -> Iterator[Finding]:
    """Keys with control characters."""
    names = {what: bench.at(f"controls/{name}") for what, name in _CONTROLS.items()}
    yield _kept(bench, "control_keys", "keys with control characters", names)


def _kept(bench: Bench, name: str, topic: str, keys: Mapping[str, Location]) -> Finding:
    """Write every key, then read every one; the finding about the field *name* of the profile."""
    faults = _faults(bench, keys)
    seen = f"kept: {', '.join(keys)}" if not faults else "; ".join(f"{what}: {why}" for what, why in faults.items())
    return bench.judge(name, topic, not faults, seen)


def _faults(bench: Bench, keys: Mapping[str, Location]) -> dict[str, str]:
    faults = {}
    for what, where in keys.items():
        try:
            bench.api.put(where, what.encode(), Attributes())
        except OSError as error:
            faults[what] = said(error)
    for what, where in keys.items():
        if what in faults:
            continue
        try:
            if bench.read(where) != what.encode():
                faults[what] = "ANOTHER OBJECT is read"
            elif where.path not in _listed(bench, where.parent.path):
                faults[what] = "not listed under its name"
        except OSError as error:
            faults[what] = f"written, then {said(error)}"
    return faults


def _listed(bench: Bench, prefix: str) -> list[str]:
    page = bench.api.list_page(bench.scratch, prefix, delimited=False, limit=1000, start_after="", token=None)
    return [entry.key for entry in page.entries]


def long_and_composed(bench: Bench) -> Iterator[Finding]:
    """Long keys, and Unicode."""
    room = MAX_KEY_BYTES - len(bench.scratch.path.encode()) - len("long/")
    segment = "x" * (SEGMENT_BYTES - 1) + "/"
    long = (segment * (room // SEGMENT_BYTES + 1))[:room]
    long = long[:-1] + "y" if room > 0 else long
    forms = {
        "composed": bench.at("unicode/" + unicodedata.normalize("NFC", "Zoë")),
        "decomposed": bench.at("unicode/" + unicodedata.normalize("NFD", "Zoë")),
    }
    faults = _faults(bench, forms)
    seen = "two objects" if not faults else "; ".join(f"{what}: {why}" for what, why in faults.items())
    yield Finding("composed and decomposed letters", not faults, seen, "keys are sent as written", wrong=bool(faults))
    if room <= 0:
        return
    where = bench.at(f"long/{long}")
    faults = _faults(bench, {"1024 bytes": where})
    seen = "kept" if not faults else faults["1024 bytes"]
    harm = "" if not faults else "long keys fail here"
    yield Finding("a key of 1024 bytes", not faults, seen, harm, wrong="ANOTHER" in seen)


def beside(bench: Bench) -> Iterator[Finding]:
    """An object beside a directory of its name."""
    topic = "'a' beside 'a/b'"
    faults = _faults(bench, {"'a'": bench.at("beside/a"), "'a/b' then": bench.at("beside/a/b")})
    if not faults:
        # Where the one order fails the other does harm: rclone then lists an object that nobody can remove.
        faults = _faults(bench, {"'c/d'": bench.at("beside/c/d"), "'c' then": bench.at("beside/c")})
    seen = "both are kept" if not faults else "; ".join(f"{what}: {why}" for what, why in faults.items())
    yield bench.judge("file_beside_directory", topic, not faults, seen)


def markers(bench: Bench) -> Iterator[Finding]:
    """A marker of an empty directory."""
    topic, where = "a marker 'directory/'", bench.at("marker/directory/")
    put = bench.attempt(lambda: bench.api.put(where, b"", Attributes()))
    if not put.accepted:
        yield bench.judge("markers", topic, False, str(put))
        return
    listed = _listed(bench, bench.scratch.child("marker/").path)
    there = bench.attempt(lambda: bench.api.head(where))
    works = listed == [where.path] and there.accepted
    shown = [key.removeprefix(bench.scratch.path) for key in listed]
    yield bench.judge("markers", topic, works, "kept" if works else f"listed as {shown}, HEAD {there}")


def listing(bench: Bench) -> Iterator[Finding]:
    """Listings."""
    names = [f"list/{n}" for n in ("Z", "a", "b/1", "b/2", "b+", "é", "ￜ", "𝄞", "w x")]
    assert len(names) == LISTED
    for name in names:
        bench.put(name, b"")
    top = bench.scratch.child("list/").path
    wanted = sorted(bench.scratch.child(name).path for name in names)  # by code points is by UTF-8 bytes
    got, pages = _all_pages(bench, top, delimited=False, start_after="")
    faults = [] if sorted(got) == wanted else [f"{len(got)} keys came of {len(wanted)}, {PAGE} at a time"]
    seen = "; ".join(faults) or f"{len(got)} keys in {pages} pages"
    yield Finding(
        "listing, page by page", not faults, seen, "" if not faults else "KEYS ARE MISSED", wrong=bool(faults)
    )
    sort = got == wanted
    promised = not bench.scratch.container.endswith("--x-s3")
    seen = "UTF-8" if sort else f"another: {[key.removeprefix(top) for key in got]}"
    yield Finding("order of a listing", sort, seen, "" if sort else "glob and walk sort", wrong=promised and not sort)
    got, _ = _all_pages(bench, top, delimited=True, start_after="")
    levels = sorted(
        {key if "/" not in key[len(top) :] else top + key[len(top) :].split("/")[0] + "/" for key in wanted}
    )
    right = sorted(got) == levels
    seen = "one level, each once" if right else f"{[key.removeprefix(top) for key in got]}"
    yield Finding("delimiter", right, seen, "" if right else "LISTDIR IS WRONG", wrong=not right)
    got, _ = _all_pages(bench, top, delimited=False, start_after=wanted[3])
    right = sorted(got) == wanted[4:]
    seen = "kept" if right else "ignored" if sorted(got) == wanted else f"{len(got)} keys came of {len(wanted) - 4}"
    lost = not set(wanted[4:]) <= set(got)
    yield Finding("StartAfter", right, seen, "what comes before it is dropped here as well", wrong=lost)
    inside, _ = _all_pages(bench, top, delimited=True, start_after=top + "b/1")
    seen = "the same prefix again" if top + "b/" in inside else "the next one"
    yield Finding("StartAfter inside a prefix", None, seen, "either will do: what comes before it is dropped")


def _all_pages(bench: Bench, prefix: str, *, delimited: bool, start_after: str) -> tuple[list[str], int]:
    """Every key and prefix, page by page, and the number of pages."""
    got: list[str] = []
    token, pages = None, 0
    while True:
        page: Page = bench.api.list_page(
            bench.scratch, prefix, delimited=delimited, limit=PAGE, start_after=start_after, token=token
        )
        got += (
            sorted([*(entry.key for entry in page.entries), *page.prefixes])
            if delimited
            else (entry.key for entry in page.entries)
        )
        pages += 1
        token = page.token
        if token is None or pages > 2 * LISTED:  # a listing that does not advance
            return got, pages


TRIALS: tuple[Trial, ...] = (segments, controls, long_and_composed, beside, markers, listing)
