"""How far away the store is: the profiles that the simulator plays, and how they are written on a command line.

A profile is a name, or a name with values that differ from it: ``wan``, ``wan,rate=40``, ``raw,first_byte=5``. It is
the same text that a report names its figures by.

>>> from benchmarks.simulator.profiles import parse
>>> parse("wan,rate=40").rate
40.0
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

__all__ = ["PROFILES", "Profile", "parse"]


@dataclass(frozen=True, slots=True)
class Profile:
    """Delays in milliseconds, rates in megabytes (10**6 bytes) per second. Zero is no delay, and no limit."""

    first_byte: float = 0.0
    """The median time from a whole request to the first byte of its answer. The times are log-normal, as real ones."""

    sigma: float = 0.0
    """The spread of that time: the standard deviation of its logarithm."""

    tail_share: float = 0.0
    """The share of requests that take ``tail`` instead, as some do at every store."""

    tail: float = 0.0
    """What those take."""

    list: float = 0.0
    """What a listing takes beside the first byte's time."""

    connect: float = 0.0
    """What the first request on a new connection takes more: the handshakes of TCP and TLS."""

    proceed: float = 0.0
    """What passes before the answer to ``Expect: 100-continue``: a round trip."""

    rate: float = 0.0
    """What one connection carries, in each direction."""

    total: float = 0.0
    """What all connections carry together, in each direction."""


PROFILES = {
    # What the processor costs: nothing is delayed or limited, the network is this machine's memory.
    "raw": Profile(),
    # A client in the cloud beside its store: S3's documented figures are 100 to 200 ms for the slow requests and 85 to
    # 90 MB/s a connection (https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance-guidelines.html),
    # and 10 Gbit/s is what a common machine has.
    "wan": Profile(
        first_byte=28.0,
        sigma=0.25,
        tail_share=0.01,
        tail=200.0,
        list=40.0,
        connect=10.0,
        proceed=10.0,
        rate=80.0,
        total=1250.0,
    ),
}


def parse(text: str) -> Profile:
    """The profile that *text* says: a name of ``PROFILES``, then ``key=value`` pairs, separated by commas.

    ``ValueError`` for a name, a key or a number that is none.
    """
    name, *changes = text.split(",")
    if name not in PROFILES:
        raise ValueError(f"{name!r} is no profile; there are {', '.join(PROFILES)}")
    known = [field.name for field in fields(Profile)]
    values: dict[str, float] = {}
    for change in changes:
        key, _, value = change.partition("=")
        if key not in known:
            raise ValueError(f"{key!r} is no key of a profile; there are {', '.join(known)}")
        values[key] = float(value)
        if not 0 <= values[key] < float("inf"):
            raise ValueError(f"{key} must be at least 0, not {value}")
    return replace(PROFILES[name], **values)
