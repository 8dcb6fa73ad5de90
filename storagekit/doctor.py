"""The doctor: tries what a store does, in a scratch directory of its own, and says what the library makes of it.

There are two parts. What every store has to do is tried here, with the functions that everybody uses, and held against
the traits that the driver promises: bytes that come back as other bytes, and a promise that is not kept, are *wrong*.
What only a driver knows to ask, it asks itself (the hook ``examine``), in a directory beside.

*Manners.* Nothing is written before the place could be listed, because what cannot be listed cannot be cleaned up. All
that is written lies below one directory with a random name, so that no key of the user's is touched; at the end,
and after any exception, everything that is found there is removed, unfinished uploads too. What cannot be is named.

*Errors.* What goes wrong in one trial is its finding, and the next one begins. Where nobody answers any more there
is no sense in going on, so that ends the examination.
"""

from __future__ import annotations

import io
import os
import threading
import time
import unicodedata
import uuid
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

from storagekit.backend import Resource
from storagekit.driver import Options, Stat, Traits
from storagekit.errors import InvalidArgumentError, ObjectChangedError, invalid
from storagekit.findings import UNREACHABLE, Finding
from storagekit.location import Location
from storagekit.storage import Storage

__all__ = ["Report", "examine", "explain"]

# Some blocks of the cache (64 KiB), and no whole number of them; small enough for a slow line.
OBJECT_BYTES = 300_001
# More than one page of the little pages that are asked for, and few enough to be written in a moment.
LISTED, PAGE = 7, 3
# Racing writers: enough that a store that looks first and writes then lets several win.
RACERS = 4
# Signatures are refused a quarter of an hour off; a third of that is worth a word. In seconds.
SKEW = 300.0


@dataclass
class Report:
    """What an examination has found."""

    url: str
    how: list[str] = field(default_factory=list)
    """How the place is reached, each line as ``name: value``."""
    findings: list[Finding] = field(default_factory=list)
    failure: str | None = None
    """Why the examination could not be made, or not to its end."""
    left: list[str] = field(default_factory=list)
    """What could not be removed, each with the reason."""

    @property
    def ok(self) -> bool:
        """True where everything that the library relies on here works."""
        return self.failure is None and not self.left and not any(finding.wrong for finding in self.findings)


@dataclass(frozen=True)
class _Place:
    """The scratch directory of one examination."""

    storage: Storage
    resource: Resource
    options: Options | None
    traits: Traits

    def url(self, name: str) -> str:
        return self.resource.location.child(name).url

    def write(self, name: str, data: bytes, mode: str = "wb", if_match: str | None = None) -> str:
        url = self.url(name)
        with self.storage.open(url, mode, options=self.options, if_match=if_match) as file:
            file.write(data)
        return url

    def read(self, url: str) -> bytes:
        with self.storage.open(url, "rb", options=self.options) as file:
            return file.read()

    def identity(self, url: str) -> str | None:
        found: Stat = self.storage.stat(url, options=self.options)
        return found.identity


def explain(error: BaseException) -> str:
    """An error in one line: what it says, and the store's own code where there is one."""
    if not isinstance(error, OSError):
        return f"{type(error).__name__}: {error}"
    text = error.strerror or str(error) or type(error).__name__
    code, status = getattr(error, "store_code", None), getattr(error, "status", None)
    if code is not None and str(code) not in text:
        text += f" ({code})"
    if status is not None and str(status) not in text:
        text += f" (status {status})"
    return " ".join(text.split())


def examine(storage: Storage, url: str, options: Options | None = None) -> Report:
    """Examine the place that *url* names. Raises only where the call is wrong, and ``KeyboardInterrupt``."""
    resource = storage._resource(url, options)
    if resource is None:
        raise invalid(
            url, "a plain local path is the system's; expected a URL, as in s3://bucket/prefix or file:///tmp"
        )
    report = Report(resource.location.url)
    try:
        traits = _reach(resource, report)
        _try_all(storage, resource, traits, options, report)
    except OSError as error:
        if isinstance(error, InvalidArgumentError) and not report.findings and getattr(error, "status", None) is None:
            raise  # an option's value, or a URL that the driver does not take
        report.failure = explain(error)
    return report


def _reach(resource: Resource, report: Report) -> Traits:
    """See that the place can be listed, and note how it is reached; the traits that are promised there."""
    where = Location(resource.location.scheme, resource.location.container, resource.location.prefix)
    if not where.container and not where.path:
        raise invalid(where, "a container is needed, as in s3://bucket or s3://bucket/prefix")
    failure: OSError | None = None
    try:
        next(resource.at(where).entries(recursive=True, limit=1), None)
    except FileNotFoundError as error:
        # A store whose containers come and go with their keys has no other answer for an empty place.
        if getattr(error, "store_code", None) is not None or getattr(error, "status", None) is not None:
            failure = error
    except OSError as error:
        failure = error
    try:
        report.how = [*resource.backend.diagnose(resource.location, resource.options)]
    except io.UnsupportedOperation:
        report.how = [f"driver: {resource.backend.name}"]
    except OSError as error:
        failure = failure or error
    if failure is not None:
        raise failure
    return resource.traits


def _try_all(storage: Storage, resource: Resource, traits: Traits, options: Options | None, report: Report) -> None:
    scratch = resource.at(resource.location.directory.child(f"storagekit-doctor-{uuid.uuid4().hex[:12]}").directory)
    general = _Place(storage, resource.at(scratch.location.child("general").directory), options, traits)
    special = scratch.location.child("special").directory
    found = _findings(general, special)
    began = False
    try:
        if not traits.implicit_directories:
            storage.mkdir(scratch.location.url, options=options)
            began = True
            storage.mkdir(general.resource.location.url, options=options)
            storage.mkdir(special.url, options=options)
        began = True
        # The first write shows whether there is any sense in going on.
        general.write("first", b"storagekit doctor")
        for finding in found:
            report.findings.append(finding)
    finally:
        try:
            found.close()  # the driver removes what only it knows of
        finally:
            if began:
                report.left += _clean_up(storage, scratch, traits, options)


def _findings(place: _Place, special: Location) -> Generator[Finding, None, None]:
    for topic, trial in _TRIALS:
        try:
            yield from trial(place)
        except OSError as error:
            if error.errno in UNREACHABLE:
                raise
            yield Finding(topic, False, explain(error), "the same error for every caller", wrong=True)
    backend, options = place.resource.backend, place.resource.options
    findings = backend.examine(special, options)
    try:
        yield from findings
    finally:
        close = getattr(findings, "close", None)
        if close is not None:
            close()


def _clean_up(storage: Storage, scratch: Resource, traits: Traits, options: Options | None) -> list[str]:
    """Remove everything below *scratch*; what is left, each with the reason."""
    left: list[str] = []
    try:
        for upload in storage.uploads(scratch.location.url, options=options):
            storage.abort_upload(upload, options=options)
    except io.UnsupportedOperation:
        pass  # a store without uploads
    except OSError as error:
        left.append(f"unfinished uploads below {scratch.location.url}: {explain(error)}")
    try:
        if not traits.implicit_directories:
            storage.rmtree(scratch.location.url, options=options)
            return left
        keys = [stat.location for stat in scratch.entries(recursive=True)]
        failed = scratch.backend.delete_many(keys, scratch.options) if keys else ()
        left += [f"{location.url}: {explain(error)}" for location, error in failed]
        if not failed:
            left += [f"{stat.location.url}: it is still listed" for stat in scratch.entries(recursive=True)]
    except FileNotFoundError:
        pass  # nothing is there, the directory neither
    except OSError as error:
        left.append(f"{scratch.location.url}: {explain(error)}")
    return left


# ---------------------------------------------------------------- what every store has to do


def _verdict(topic: str, faults: list[str], fine: str, consequence: str, harm: str) -> Finding:
    """A finding that is wrong where there are *faults*."""
    if faults:
        return Finding(topic, False, "; ".join(faults), harm, wrong=True)
    return Finding(topic, True, fine, consequence)


def _compare(what: str, wanted: bytes, got: bytes) -> list[str]:
    """How bytes that came back differ from those that were meant; nothing where they are the same."""
    if wanted == got:
        return []
    if len(wanted) != len(got):
        return [f"{what}: {len(got)} bytes instead of {len(wanted)}"]
    first = next(i for i in range(len(wanted)) if wanted[i] != got[i])
    return [f"{what}: other bytes, from byte {first} on"]


def _write_and_read(place: _Place) -> Iterator[Finding]:
    faults = []
    for size in (0, 1, 70_000, OBJECT_BYTES):
        data = os.urandom(size)
        url = place.write(f"size-{size}", data)
        faults += _compare(f"an object of {size} bytes", data, place.read(url))
        found = place.storage.getsize(url, options=place.options)
        if found != size:
            faults.append(f"stat says {found} bytes of {size}")
    fine = f"objects of 0 to {OBJECT_BYTES} bytes came back as they were written"
    yield _verdict("write and read back", faults, fine, "", "DATA IS CORRUPTED: do not use this place so")


def _ranges(place: _Place) -> Iterator[Finding]:
    data = os.urandom(OBJECT_BYTES)
    url = place.write("ranges", data)
    spans = [(0, 1), (0, 100), (65_535, 65_537), (150_000, 150_001), (100_000, 250_000), (len(data) - 7, len(data))]
    faults = []
    with place.storage.open(url, "rb", access="random", options=place.options) as file:
        pread = getattr(file, "pread", None)
        for start, stop in spans:
            if pread is not None:
                got = pread(start, stop - start)
            else:  # a native file object
                file.seek(start)
                got = file.read(stop - start)
            faults += _compare(f"bytes {start} to {stop}", data[start:stop], got)
        file.seek(len(data) + 5)
        faults += _compare("past the end", b"", file.read(1))
    consequence = "reads fetch the blocks that they touch"
    yield _verdict("reading ranges", faults, f"{len(spans)} ranges, all right", consequence, "WRONG BYTES are read")


def _missing(place: _Place) -> Iterator[Finding]:
    faults = []
    for name, ask in (("open", place.read), ("stat", place.identity)):
        try:
            ask(place.url("nothing-here"))
            faults.append(f"{name} of a missing key succeeded")
        except FileNotFoundError:
            pass
    if place.storage.exists(place.url("nothing-here"), options=place.options):
        faults.append("it is said to exist")
    fine = "FileNotFoundError"
    yield _verdict("a missing key", faults, fine, "", "exists() and open(url, 'x') cannot be relied on")


def _overwrite(place: _Place) -> Iterator[Finding]:
    url = place.write("overwritten", b"old" * 1000)
    before = place.identity(url)
    place.write("overwritten", b"new, and shorter")
    faults = _compare("after the overwrite", b"new, and shorter", place.read(url))
    identity = place.identity(url)
    if identity is not None and identity == before:
        faults.append("the ETag stayed what it was")
    age = abs((place.storage.getmtime(url, options=place.options) or time.time()) - time.time())
    fine = "the new bytes are read" + ("" if identity is None else ", under a new identity")
    yield _verdict("overwriting", faults, fine, "", "old versions are taken for new ones")
    if age > SKEW:
        text = f"the store's time is {age:.0f} seconds from this computer's"
        yield Finding("clock", False, text, "modification times are the store's")


def _listing(place: _Place) -> Iterator[Finding]:
    names = [f"list/{number:02}" for number in range(LISTED)] + ["list/below/one"]
    if not place.traits.implicit_directories:
        place.storage.makedirs(place.url("list/below"), options=place.options)
    failed = place.storage.write_many({place.url(name): name.encode() for name in names}, options=place.options)
    faults = [f"{url}: {explain(error)}" for url, error in failed]
    wanted = sorted([name.removeprefix("list/") for name in names[:-1]] + ["below"])
    found = place.storage.listdir(place.url("list"), options=place.options)
    if found != wanted:
        faults.append(f"listdir gave {found}")
    directory = place.resource.location.child("list")
    paths = sorted(directory.child(name.removeprefix("list/")).path for name in names)
    resource, pages = place.resource.at(directory), []
    after = ""
    for _ in range(len(paths) + 1):  # more would be a listing that does not advance
        page = resource.backend.entries(directory, resource.options, recursive=True, limit=PAGE, start_after=after)
        got = [stat.location.path for stat in page if not stat.is_directory]
        pages += got
        if not got:
            break
        after = got[-1]
    if (pages if place.traits.sorted_listing else sorted(pages)) != paths:
        faults.append(f"{PAGE} at a time, {len(pages)} keys came of {len(paths)}, or in another order")
    consequence = "" if place.traits.sorted_listing else "names are sorted here"
    fine = f"{len(names)} keys, whole and {PAGE} at a time"
    yield _verdict("listing", faults, fine, consequence, "KEYS ARE MISSED by listdir, glob, rmtree")


def _exclusive(place: _Place) -> Iterator[Finding]:
    topic = "create only (open 'x')"
    url = place.write("taken", b"the first")
    if not place.traits.exclusive_create:
        consequence = "of two writers at one moment both may win, as the options accept"
        try:
            place.write("not-taken", b"the first", "xb")
            said = "a look before the write"
        except io.UnsupportedOperation:
            said, consequence = "not promised here", "open(url, 'x') is refused with a reason"
        try:
            place.write("taken", b"the second", "xb")
        except (FileExistsError, io.UnsupportedOperation):
            pass
        faults = _compare("the object that was there", b"the first", place.read(url))
        if faults:
            yield Finding(topic, False, "; ".join(faults), "AN OBJECT IS OVERWRITTEN by open(url, 'x')", wrong=True)
        else:
            yield Finding(topic, False, said, consequence)
        return
    faults = []
    try:
        place.write("taken", b"the second", "xb")
        faults.append("it was accepted")
    except FileExistsError:
        pass
    faults += _compare("the object", b"the first", place.read(url))
    won = _race(place)
    if won != 1:
        faults.append(f"of {RACERS} writers at one moment {won} won")
    fine = f"refused where there is an object; of {RACERS} writers one won"
    yield _verdict(topic, faults, fine, "open(url, 'x') is safe", "OBJECTS ARE OVERWRITTEN by open(url, 'x')")


def _race(place: _Place) -> int:
    """How many of the writers that create the same object at the same moment are told that they did."""
    url, gate = place.url("raced"), threading.Barrier(RACERS)
    won: list[int] = []
    errors: list[OSError] = []

    def run(number: int) -> None:
        try:
            with place.storage.open(url, "xb", options=place.options) as file:
                file.write(b"%d" % number)
                gate.wait(60)
            won.append(number)
        except FileExistsError:
            pass
        except threading.BrokenBarrierError:
            pass  # another one says why
        except OSError as error:
            errors.append(error)
            gate.abort()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(RACERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return len(won)


def _replace(place: _Place) -> Iterator[Finding]:
    topic = "replace a version (if_match)"
    url = place.write("replaced", b"one")
    first = place.identity(url)
    if not place.traits.conditional_replace or first is None:
        yield Finding(topic, None, "not promised here, so not tried", "a, r+ and if_match are refused with a reason")
        return
    faults = []
    try:
        place.write("replaced", b"two", if_match=first)
    except OSError as error:
        faults.append(f"refused for the version that is there: {explain(error)}")
    kept = place.read(url)
    if kept != b"two" and not faults:
        faults.append("it was accepted, and the old bytes are there")
    stale = first if not faults else "0" * 32
    try:
        place.write("replaced", b"three", if_match=stale)
        faults.append("it was accepted for a version that is not there")
    except ObjectChangedError:
        faults += _compare("after the refusal", kept, place.read(url))
    fine = "accepted for the version that is there, refused for another"
    yield _verdict(
        topic, faults, fine, "a, r+ and if_match are safe", "UPDATES ARE LOST or refused by a, r+ and if_match"
    )


def _copy(place: _Place) -> Iterator[Finding]:
    data = os.urandom(OBJECT_BYTES)
    url, target = place.write("source", data), place.url("copied")
    place.storage.copyfile(url, target, options=place.options)
    faults = _compare("the copy", data, place.read(target))
    consequence = "no byte goes through this computer" if place.traits.server_copy else "the bytes go through here"
    yield _verdict("copying", faults, "the copy has the same bytes", consequence, "COPIES ARE CORRUPTED")


def _delete(place: _Place) -> Iterator[Finding]:
    url, faults = place.write("removed", b"soon gone"), []
    place.storage.remove(url, options=place.options)
    if place.storage.exists(url, options=place.options):
        faults.append("it still exists")
    if "removed" in place.storage.listdir(place.resource.location.url, options=place.options):
        faults.append("it is still listed")
    try:
        place.storage.remove(url, options=place.options)
        faults.append("a second time it was removed again")
    except FileNotFoundError:
        pass
    yield _verdict("deleting", faults, "gone, and from the listing too", "", "what was removed is still there")


# Names that something on the way likes to decode, encode or compose. No slash: that is the drivers' affair.
_NAMES = {
    "spaces": " a  b ",
    "percent": "a%2Fb%20c%",
    "plus": "a+b",
    "query": "a?b=c&d#e",
    "quotes": "a'b\"<c>&amp;d",
    "composed": unicodedata.normalize("NFC", "Zoë"),
    "decomposed": unicodedata.normalize("NFD", "Zoë"),
    "beyond the BMP": "\U0001f5c4",
}


def _odd_names(place: _Place) -> Iterator[Finding]:
    faults, corrupt = [], []
    if not place.traits.implicit_directories:
        place.storage.mkdir(place.url("names"), options=place.options)
    written = {}
    for what, name in _NAMES.items():
        try:
            written[what] = place.write(f"names/{name}", what.encode())
        except OSError as error:
            faults.append(f"{what}: {explain(error)}")
    found = place.storage.listdir(place.url("names"), options=place.options)
    for what, url in written.items():
        try:
            corrupt += _compare(what, what.encode(), place.read(url))
        except OSError as error:
            faults.append(f"{what}: {explain(error)}")
        if _NAMES[what] not in found:
            faults.append(f"{what}: not in the listing")
    if faults and not corrupt and not place.traits.literal_keys:
        yield Finding("odd names", False, "; ".join(faults), "such names do not work here")
        return
    fine = f"{len(_NAMES)} kept as they are: {', '.join(_NAMES)}"
    yield _verdict("odd names", corrupt + faults, fine, "", "keys are taken for others, or fail")


_TRIALS: tuple[tuple[str, Callable[[_Place], Iterator[Finding]]], ...] = (
    ("write and read back", _write_and_read),
    ("reading ranges", _ranges),
    ("a missing key", _missing),
    ("overwriting", _overwrite),
    ("listing", _listing),
    ("create only (open 'x')", _exclusive),
    ("replace a version (if_match)", _replace),
    ("copying", _copy),
    ("deleting", _delete),
    ("odd names", _odd_names),
)
