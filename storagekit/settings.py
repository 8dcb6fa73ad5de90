"""Settings: what a ``Storage`` may use, from arguments or from the environment, and options per URL.

One frozen object, so that a ``Storage`` can be made again from it in another process. The
environment is read once, when the default ``Storage`` is made; what is wrong in it is said at its first use.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from storagekit.deadlines import check_timeout
from storagekit.driver import Options
from storagekit.errors import invalid
from storagekit.hiding import HiddenOptions, hidden

__all__ = ["BLOCK_SIZE", "Settings"]

MiB = 1024 * 1024

# The unit of caching and of single-flight. A random read costs whole blocks, so the block is as large
# as can be had for the price of a bare small GET: 64 KiB at 80 MB/s is 0.8 ms beside a first byte at 28 ms.
BLOCK_SIZE = 64 * 1024

# A scheme as it is looked up, in lower case, alone or with what follows it in a URL.
_OPTIONS_KEY = re.compile(r"[a-z][a-z0-9+.-]+(://.*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a ``Storage`` may use.

    >>> from storagekit.settings import Settings
    >>> Settings(cache_bytes=64 * 1024 * 1024).cache_bytes
    67108864
    """

    cache_bytes: int = 256 * MiB
    """Bytes that all blocks may hold together: read, read ahead, and on their way. Demand reads in
    progress may exceed it by what they ask for."""

    # Fourteen parts of 8 MiB: at 80 MB/s each they carry 10 Gbit/s, with the part that a writer fills in 128 MiB.
    write_bytes: int = 112 * MiB
    """Bytes that the parts on their way may hold together, of all writers; each may always have one on its way."""

    timeout: float | None = None
    """Seconds for each call, from its first request to its end, retries and pauses included; None: as long as it takes.
    Each read, write or close of an open file is a call, and so is each step of what answers lazily (``walk``,
    ``scandir``, ``glob``, ``uploads``, ``read_many``, ``write_many``). The option ``timeout`` says it for one call, or
    for URLs. What comes too late is a ``TimeoutError``; of a change that was sent and not answered, an
    ``OutcomeUnknownError``."""

    threads: int = 32
    """Threads for transfers. They start when there is work and end when there is none."""

    drivers: Mapping[str, str | Callable[[], object]] = field(default_factory=dict)
    """Per scheme: the name of the distribution whose driver to use, where several claim the scheme;
    or a factory of the driver itself, which needs no entry point."""

    options: Mapping[str, Options] = field(default_factory=dict, repr=False)
    """Options per scheme (``"s3"``) or URL prefix (``"s3://bucket/"``); the longest prefix says it last.

    They are chosen by the URL that a function is given: ``walk("s3://bucket")`` lists everything below it
    with the options of ``s3://bucket``.
    """

    wrappers: Sequence[object] = ()
    """Objects whose hooks, marked ``hookimpl(wrapper=True)``, stand around those of every driver, the last outermost:
    to count, to trace or to disturb what passes. Installed packages never become wrappers by themselves."""

    def __post_init__(self) -> None:
        for name, least in (("cache_bytes", 0), ("write_bytes", 1), ("threads", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise invalid(name, f"the setting {name} must be a whole number of at least {least}, not {value!r}")

        object.__setattr__(self, "timeout", check_timeout(self.timeout, "timeout"))
        for prefix in self.options:
            if not _OPTIONS_KEY.fullmatch(prefix):
                raise invalid(
                    prefix, f"options are for a scheme ('s3') or a URL prefix ('s3://bucket/'), not {prefix!r}"
                )
        held = HiddenOptions({prefix: hidden(options) for prefix, options in self.options.items()})
        object.__setattr__(self, "options", held)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.options:
            # Which of them are secrets the drivers know, and only a ``Storage`` has drivers.
            raise TypeError("cannot pickle Settings with options, which may be secrets; pickle a Storage made of them")
        return _restored, (self.values(),)

    def values(self) -> dict[str, Any]:
        """Every setting by its name."""
        return HiddenOptions({field.name: getattr(self, field.name) for field in fields(self)})

    def options_for(self, scheme: str, url: str, options: Options | None) -> Options:
        """The options for one call on *url*: those of the settings, then those of the call."""
        if not self.options:
            return options or {}
        merged = HiddenOptions(self.options.get(scheme, {}))
        for prefix in sorted((p for p in self.options if "://" in p and _is_below(url, p)), key=len):
            merged.update(self.options[prefix])
        merged.update(options or {})
        return merged

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Settings with every ``STORAGEKIT_*`` variable that is set.

        ``STORAGEKIT_CACHE_BYTES``, ``STORAGEKIT_WRITE_BYTES`` and ``STORAGEKIT_THREADS`` are whole numbers,
        ``STORAGEKIT_TIMEOUT`` is a number of seconds;
        ``STORAGEKIT_DRIVERS`` chooses distributions, as in ``s3=mypackage,gs=other``.
        """
        # What else the environment holds, secrets too, is no local of this frame when it raises.
        environ = {name: text for name, text in environ.items() if name.startswith("STORAGEKIT_")}
        chosen: dict[str, object] = {}
        for name in (f.name for f in fields(cls) if f.name not in ("drivers", "options", "wrappers")):
            variable = f"STORAGEKIT_{name.upper()}"
            if text := environ.get(variable):
                if name == "timeout":
                    chosen[name] = _seconds(variable, text)
                    continue
                if not text.isascii() or not text.isdigit():
                    raise invalid(variable, f"{variable} must be a whole number, not {text!r}")
                chosen[name] = int(text)
        if text := environ.get("STORAGEKIT_DRIVERS"):
            pairs = [pair.strip().partition("=") for pair in text.split(",") if pair.strip()]
            if not all(scheme and equals and name for scheme, equals, name in pairs):
                raise invalid("STORAGEKIT_DRIVERS", f"expected scheme=distribution,…, not {text!r}")
            chosen["drivers"] = {scheme: name for scheme, _, name in pairs}
        return cls(**chosen)  # type: ignore[arg-type]


def _seconds(variable: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise invalid(variable, f"{variable} must be a number of seconds, not {text!r}") from None


def _restored(values: dict[str, Any]) -> Settings:
    return Settings(**values)


def _is_below(url: str, prefix: str) -> bool:
    """True for *prefix* itself and what lies below it: ``s3://data`` is not a prefix of ``s3://data-2/key``."""
    return (url if url.endswith("/") else url + "/").startswith(prefix if prefix.endswith("/") else prefix + "/")
