"""Which targets a run has, from the words of the command line, and the look at each before the run.

A run may be long and its failures many, so what can be known to be wrong is said first, in one line: a
name that nobody has, a target that gives no place, a scheme without driver, a place that is not empty, credentials
that are refused, a server that does not answer. Only the controlling process looks (``Chosen.check``); the workers of
pytest-xdist are told what it found.

A driver that is merely unfinished or wrong goes on to the suite, which shows what it lacks clause by clause. So
of what the driver itself raises here only an ``OSError`` ends the run, and not where it says "unsupported".
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

import storagekit
from storagekit.location import scheme_of
from storagekit_conformance.finding import TargetError, find_target
from storagekit_conformance.given_s3 import GivenBucket
from storagekit_conformance.given_targets import GivenPlace, GivenRoot, number_hint, parse_options
from storagekit_conformance.target import Root, Target

__all__ = ["DEFAULT_TARGETS", "Chosen", "choose"]

DEFAULT_TARGETS = ("memory", "file")


@dataclass(frozen=True)
class Chosen:
    """The targets of a run."""

    targets: Sequence[Target]
    places: Mapping[str, GivenPlace] = field(default_factory=dict)
    """Those that the command line gave by their place, by the target's name."""

    def check(self) -> dict[str, dict[str, object]]:
        """Look at every target that is not built in; ``TargetError`` in one line. What was found is for ``learn``."""
        from storagekit_conformance.targets import TARGETS

        found: dict[str, dict[str, object]] = {}
        for target in self.targets:
            try:
                if target.name in self.places:
                    found[target.name] = _probe(self.places[target.name])
                if TARGETS.get(target.name) is not target:
                    _look_at(target)
            except (TargetError, OSError) as error:
                told = f"cannot run the target {target.name!r}: {_told(error)}"
                if place := self.places.get(target.name):
                    told += number_hint(place.options, told)
                # Where nothing can begin, nothing may stay of the places that were looked at, or it is told.
                raise TargetError("; ".join([told, *self.clear()])) from error
            except BaseException:  # interrupted
                self.clear()
                raise
        return found

    def learn(self, found: Mapping[str, Mapping[str, object]]) -> None:
        """In a worker: what ``check`` found."""
        for name, place in self.places.items():
            place.learn(found[name])

    def clear(self) -> list[str]:
        """Remove what the run has made at the places given; a line for each of which something is left."""
        return [line for place in self.places.values() if (line := place.clear())]


def choose(
    names: Sequence[str], roots: Sequence[str], bucket: str | None, endpoint: str | None, options: Sequence[str]
) -> Chosen:
    """The targets of these names and at these places; without any, ``DEFAULT_TARGETS``."""
    if endpoint is not None and bucket is None:
        raise TargetError("--s3-endpoint needs --s3-bucket, the bucket to work in")
    if options and bucket is None and not roots:
        raise TargetError("--option is for a place given by --root or --s3-bucket")
    given: list[tuple[str, GivenPlace]] = []
    chosen_options = parse_options(options)
    if bucket is not None:
        given.append(("s3", GivenBucket(bucket, endpoint, chosen_options)))
    given += [(scheme_of(url) or "", GivenRoot(url, chosen_options)) for url in dict.fromkeys(roots)]
    targets = [find_target(name) for name in dict.fromkeys(names or (() if given else DEFAULT_TARGETS))]
    taken = [target.name for target in targets]
    if twice := sorted({name for name in taken if taken.count(name) > 1}):
        raise TargetError(f"two of the targets are named {twice[0]!r}: their results could not be told apart")
    places = {}
    for name, place in given:
        free = next(
            f"{name}-{n}" if n > 1 else name for n in count(1) if (f"{name}-{n}" if n > 1 else name) not in taken
        )
        taken.append(free)
        places[free] = place
        targets.append(place.target(free))
    return Chosen(targets, places)


def _told(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error)


def _probe(place: GivenPlace) -> dict[str, object]:
    """What *place* finds out; a driver that cannot write one object has nothing for the suite to run on."""
    try:
        return place.probe()
    except (TargetError, OSError):
        raise
    except Exception as error:
        raise TargetError(f"writing a first object fails: {type(error).__name__}: {error}") from error


def _look_at(target: Target) -> None:
    """Take one place from *target* and look whether a test could begin there; nothing is written."""
    entered = False
    try:
        with target.running(), target.root() as root:
            entered = True
            _look_at_place(root)
    except (TargetError, OSError):
        raise
    # Sessions and roots are the author's: whatever goes wrong there is no reason for a traceback through pytest.
    except Exception as error:
        step = "its place could not be left" if entered else "it gives no place"
        raise TargetError(f"{step}: {type(error).__name__}: {error}") from error


def _look_at_place(root: object) -> None:
    if not isinstance(root, Root):
        raise TargetError(f"its root gives a {type(root).__name__}, not a storagekit_conformance Root")
    if scheme_of(root.url) is None or root.url.endswith("/"):
        raise TargetError(f"the URL of its root is no scheme://container/place without a slash behind: {root.url}")
    with root.storage() as storage:
        # Without a driver, with a driver that does not load or with an option that it does not know, this raises.
        storage.traits(root.url, options=None)
        _look_inside(storage, root.url)


def _look_inside(storage: storagekit.Storage, url: str) -> None:
    """Raise where the place is not empty, or cannot be listed for a reason outside of the driver."""
    try:
        traits = storage.traits(url)
        try:
            with storage.scandir(url) as entries:
                first = next(entries, None)
        except FileNotFoundError:
            if traits.implicit_directories:
                return
            raise
    except io.UnsupportedOperation:
        return
    except OSError:
        raise
    except Exception:
        return  # a defect of the driver: that is what the suite is for
    if first is not None:
        raise TargetError(f"its root is not empty: {url} holds {first.name!r}")
