"""Examining: what a server does, tried, and held against what ``servers`` says of its kind.

The trials stand in three modules: ``trials_objects`` (bytes, ranges, checksums, headers), ``trials_changes``
(conditions, uploads, copies) and ``trials_names`` (keys and listings). Each yields findings. What bears on a field of
``Profile`` is noted here: a promise that the server does not keep is *wrong*, and more than was promised is worth a
word at the end, because another value of the option ``server`` would make use of it.

The trials speak to the server through the port, so that no caution of the driver's stands between.
Whatever they write is remembered before it is sent, and removed at the end: object by object, also what
no listing shows. A server may take a key for another one, so ``..`` never leads out of the scratch directory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Generic, TypeVar

from storagekit.driver import Condition
from storagekit.findings import UNREACHABLE, Finding
from storagekit.location import Location
from storagekit_s3.api import Api, Attributes, Written
from storagekit_s3.errors import status_of, store_code_of
from storagekit_s3.options import S3Options
from storagekit_s3.servers import PROFILES, Profile
from storagekit_s3.writing import abort_until_gone

__all__ = ["Bench", "Outcome", "Trial", "examine", "said"]

logger = logging.getLogger(__name__)

T = TypeVar("T", covariant=True)
V = TypeVar("V")

# What the option conditional_writes="trust" promises in the server's name.
_TRUSTED = ("put_absent", "put_matches", "complete_absent", "complete_matches", "delete_matches")

# For each promise: what the library does with it, what it does without it, and what comes of it where it does not hold.
_USES = {
    "put_absent": ("open(url, 'x') is decided by the server", "open(url, 'x') is refused", "'x' OVERWRITES OBJECTS"),
    "put_matches": (
        "a, r+ and if_match are decided by the server",
        "a, r+ and if_match are refused",
        "a, r+ and if_match LOSE UPDATES, or are refused for no reason",
    ),
    "complete_absent": (
        "open(url, 'x') of any size is decided by the server",
        "open(url, 'x') of more than a part is refused",
        "'x' OVERWRITES OBJECTS that are larger than a part",
    ),
    "complete_matches": (
        "edits of any size are decided by the server",
        "edits of more than a part are refused",
        "edits of more than a part LOSE UPDATES, or are refused for no reason",
    ),
    "delete_matches": (
        "rename deletes the source only if it has not changed",
        "a conditional delete is refused; rename looks before it deletes",
        "A NEW VERSION MAY BE DELETED by rename, or rename is refused for no reason",
    ),
    "copy_source_condition": (
        "the server pins the version that is copied",
        "the source is looked at after a copy",
        "a copy may be of another version than was seen",
    ),
    "copy_part": (
        "large copies and edits are made in the store",
        "large copies and edits go through this computer",
        "LARGE COPIES HAVE WRONG BYTES, or fail",
    ),
    "complete_etag": (
        "the ETag of Complete is taken for the object's",
        "a HEAD after Complete asks for the object's ETag",
        "the identity of what was written is not the object's: if_match with it fails",
    ),
    "etag_md5": (
        "a whole read is compared with it",
        "a whole read is compared with a checksum only if the server keeps another one",
        "WHOLE READS FAIL although their bytes are right",
    ),
    "markers": ("mkdir makes an empty object with a slash at its end", "mkdir is refused", "empty directories vanish"),
    "literal_keys": ("keys are kept as written", "such keys fail here", "KEYS ARE TAKEN FOR OTHERS, or fail"),
    "control_keys": ("keys are kept as written", "such keys fail here", "objects of such keys CANNOT BE READ AGAIN"),
    "file_beside_directory": ("both are objects", "the second one fails here", "AN OBJECT IS HIDDEN OR LOST"),
}


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What became of a request: its value, or the error."""

    value: T | None
    error: OSError | None

    @property
    def accepted(self) -> bool:
        return self.error is None

    @property
    def unsatisfied(self) -> bool:
        """Refused because a condition did not hold."""
        return self.error is not None and status_of(self.error) == 412

    def __str__(self) -> str:
        return "accepted" if self.error is None else said(self.error)


def said(error: OSError) -> str:
    """How the server refused, in a few words."""
    status, code = status_of(error), store_code_of(error)
    if status is None:
        return str(error.strerror)
    return str(status) if code in (None, str(status)) else f"{status} {code}"


class Bench:
    """The scratch directory, the port, and what was found out so far."""

    def __init__(self, api: Api, location: Location, options: S3Options, profile: Profile) -> None:
        self.api = api
        self.scratch = location.directory
        self.options = options
        self.profile = profile
        self.observed: dict[str, bool | None] = {}
        """The fields of ``Profile`` that were tried, and whether the server keeps them."""
        self._written: dict[Location, None] = {}
        self._uploads: dict[str, Location] = {}

    def at(self, name: str) -> Location:
        """An object in the scratch directory, which is removed at the end."""
        return self.mark(self.scratch.child(name))

    def mark(self, location: Location) -> Location:
        """Remember that *location* may be written to."""
        self._written[location] = None
        return location

    def put(self, name: str, data: bytes, condition: Condition = None) -> Written:
        return self.api.put(self.at(name), data, Attributes(), condition)

    def begin(self, location: Location) -> str:
        """Begin an upload, which is aborted at the end if it is still there."""
        self.mark(location)
        upload_id = self.api.create_upload(location, Attributes())
        self._uploads[upload_id] = location
        return upload_id

    def attempt(self, request: Callable[[], V]) -> Outcome[V]:
        """Make a request that may be refused."""
        try:
            return Outcome(request(), None)
        except OSError as error:
            return Outcome(None, error)

    def read(self, location: Location) -> bytes:
        """The whole object, as the driver would ask for it."""
        size = self.api.head(location).size or 0
        return self.range(location, 0, size) if size else b""

    def range(self, location: Location, start: int, stop: int) -> bytes:
        reply = self.api.get(location, start, stop)
        data, view = bytearray(), memoryview(bytearray(64 * 1024))
        try:
            while count := reply.body.readinto(view):
                data += view[:count]
        finally:
            reply.body.close()
        return bytes(data)

    def holds(self, location: Location, data: bytes) -> bool:
        """Whether the object is there and has these bytes."""
        try:
            return self.read(location) == data
        except FileNotFoundError:
            return False

    def judge(self, name: str, topic: str, works: bool | None, seen: str) -> Finding:
        """A finding about the field *name* of the profile."""
        self.observed[name] = works
        used, unused, harm = _USES[name]
        promised = bool(getattr(self.profile, name))
        trusted = name in _TRUSTED and self.options.conditional_writes == "trust"
        if works is False and (promised or trusted):
            who = f"the profile {self.profile.name}" if promised else "conditional_writes='trust'"
            return Finding(topic, False, seen, f"{who} promises it: {harm}", wrong=True)
        if name in _TRUSTED and not promised and self.options.conditional_writes == "race":
            unused = "looked at first, then done: conditional_writes='race'"
        return Finding(topic, works, seen, used if promised or trusted else unused)

    def clean_up(self) -> None:
        """Remove whatever was begun or written. What cannot be is left to the caller, who lists what remains."""
        for upload_id, location in self._uploads.items():
            self._quietly(lambda u=upload_id, where=location: abort_until_gone(self.api, where, u, again=False))  # type: ignore[misc]
        for location in self._written:
            self._quietly(lambda where=location: self.api.delete(where))  # type: ignore[misc]

    def _quietly(self, request: Callable[[], object]) -> None:
        try:
            request()
        except OSError as error:
            logger.debug("cleaning up: %s", error)


Trial = Callable[[Bench], Iterator[Finding]]


def examine(api: Api, location: Location, options: S3Options, profile: Profile) -> Iterator[Finding]:
    """The findings of the hook ``examine``."""
    from storagekit_s3 import trials_changes, trials_names, trials_objects

    bench = Bench(api, location, options, profile)
    try:
        for trial in (*trials_objects.TRIALS, *trials_changes.TRIALS, *trials_names.TRIALS):
            try:
                yield from trial(bench)
            except OSError as error:
                if error.errno in UNREACHABLE and status_of(error) is None:
                    raise  # nobody answers any more
                topic = (trial.__doc__ or trial.__name__).partition("\n")[0].rstrip(".")
                yield Finding(topic, False, said(error), "the same error for every caller", wrong=True)
        yield _verdict(bench)
    finally:
        bench.clean_up()


def _verdict(bench: Bench) -> Finding:
    """Whether another profile would suit the server better."""
    topic, profile = "profile", bench.profile
    broken = [name for name, works in bench.observed.items() if works is False and getattr(profile, name)]
    fitting = [p for p in PROFILES.values() if all(bench.observed.get(name) for name in _promises(p))]
    best = max(fitting, key=lambda p: len(_promises(p)), default=None)
    more = sorted(n for n, works in bench.observed.items() if works and not getattr(profile, n))
    if broken:
        advice = "" if best is None else f"the option server={best.name!r} promises only what was seen"
        text = f"{profile.name} promises what this server does not do: {', '.join(sorted(broken))}"
        return Finding(topic, False, text, "see above", wrong=True, advice=advice)
    text = f"{profile.name}: all that it promises was seen"
    if not more:
        return Finding(topic, True, text, "")
    text += f", and more: {', '.join(more)}"
    gained = best is not None and len(_promises(best)) > len(_promises(profile))
    writes = [name for name in _TRUSTED if name != "delete_matches"]
    advice = f"the option server={best.name!r} would use more of it" if gained and best is not None else ""
    if all(bench.observed.get(name) for name in writes) and any(name in more for name in writes):
        advice += ("; " if advice else "") + "conditional_writes='trust' would use all conditions"
    return Finding(topic, True, text, "what is not promised is not used", advice=advice)


def _promises(profile: Profile) -> list[str]:
    return [f.name for f in fields(profile) if getattr(profile, f.name) is True]
