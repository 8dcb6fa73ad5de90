"""Backend: typed calls through the hooks of one scheme; Resource: one location that is bound to them.

Each backend has a pluggy ``PluginManager`` of its own, holding the driver, behind it the fallbacks, and around both
the wrappers of the ``Storage``. So a hook reaches exactly the one driver of its scheme. A call costs about a
microsecond and happens a few times per opened file; no byte passes through here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Literal, TypeVar

from storagekit import calls
from storagekit.deadlines import expired, remaining, within
from storagekit.driver import (
    Condition,
    ObjectWriter,
    Option,
    Options,
    RangeReader,
    Stat,
    Traits,
    Upload,
)
from storagekit.errors import invalid, no_driver, unsupported
from storagekit.findings import Finding
from storagekit.hiding import HiddenOptions, veiled
from storagekit.location import Location

if TYPE_CHECKING:
    from pluggy import PluginManager

__all__ = ["Backend", "Resource"]

_REQUIRED = ("open_read", "open_write", "stat", "list")

T = TypeVar("T")


class Backend:
    """The driver of one scheme, behind typed calls."""

    def __init__(self, scheme: str, driver: object, name: str, wrappers: Sequence[object] = ()) -> None:
        # pluggy is slow, for it loads inspect; who opens plain local files needs no backend.
        from pluggy import PluginManager

        from storagekit.fallbacks import Fallbacks
        from storagekit.hookspecs import PROJECT, DriverHooks

        self.scheme = scheme
        self.name = name
        """Where the driver comes from, for error messages: its distribution, or its class."""
        manager = PluginManager(PROJECT)
        manager.add_hookspecs(DriverHooks)
        self._register(manager, driver, f"the driver of {scheme}://, {name},")
        implemented = {caller.name for caller in manager.get_hookcallers(driver) or []}
        if missing := [hook for hook in _REQUIRED if hook not in implemented]:
            raise no_driver(f"{scheme}://", f"the driver of {scheme}://, {name}, lacks {', '.join(missing)}")
        self.removes = "delete" in implemented
        """Whether the driver has the hook ``delete``: without it nothing is removed, nor renamed by copying."""
        written = [found for found in manager.hook.open_write.get_hookimpls() if found.plugin is driver]
        self._takes_conditions = any("condition" in found.argnames for found in written)
        manager.register(Fallbacks(manager.hook, name, removes=self.removes))
        for wrapper in wrappers:
            what = f"the wrapper {type(wrapper).__qualname__}"
            self._register(manager, wrapper, what)
            for caller in manager.get_hookcallers(wrapper) or ():
                # It would take the driver's place without a word.
                if any(found.plugin is wrapper and not found.wrapper for found in caller.get_hookimpls()):
                    raise no_driver(f"{scheme}://", f"{what} must mark {caller.name} with hookimpl(wrapper=True)")
        self._hooks: Any = manager.hook
        self.known_options: dict[str, Option] = {option.name: option for option in self._hooks.known_options()}

    def _register(self, manager: PluginManager, plugin: object, name: str) -> None:
        from pluggy import PluginValidationError  # slow; see above

        try:
            manager.register(plugin)
            manager.check_pending()
        except (PluginValidationError, ValueError) as error:  # ValueError: registered twice
            raise no_driver(f"{self.scheme}://", f"{name} has a wrong hook: {error}") from error

    def __repr__(self) -> str:
        return f"<Backend {self.scheme}:// by {self.name}>"

    def check_options(self, options: Options, filename: object) -> None:
        """Refuse an option that the driver does not know, naming the nearest one that it does."""
        for name in options:
            if name in self.known_options:
                continue
            import difflib  # slow, and needed for a mistake only

            near = difflib.get_close_matches(str(name), self.known_options, n=1)
            known = (
                f"did you mean {near[0]!r}?" if near else f"it knows {', '.join(sorted(self.known_options)) or 'none'}"
            )
            raise invalid(filename, f"unknown option {name!r} for {self.scheme}://; {known}")

    def take_options(self, options: Options, filename: object) -> Options:
        """*options* as the driver gets them: checked, and so that neither they nor the secrets among them show."""
        self.check_options(options, filename)
        return HiddenOptions(
            {name: veiled(value) if self._veils(name, value) else value for name, value in options.items()}
        )

    def _veils(self, name: str, value: object) -> bool:
        # An endpoint may have been given with a password in it, which the driver will refuse.
        return self.known_options[name].secret or (isinstance(value, str) and "://" in value and "@" in value)

    def has_secret(self, options: Options) -> bool:
        """True where one of *options* is a secret."""
        return any(option.secret for name, option in self.known_options.items() if name in options)

    def _answer(self, value: T | None, hook: str, location: object) -> T:
        if value is None:
            raise unsupported(location, f"the driver {self.name} answered None to {hook}")
        return value

    def parse(self, url: str) -> Location:
        """The location that *url* means to this driver."""
        location: Location = self._answer(self._hooks.parse(url=url), "parse", url)
        return location

    def _ask(self, hook: str, about: object, options: Options, /, **arguments: Any) -> Any:
        """Call a hook, within the time that is left of the user's call."""
        ask = getattr(self._hooks, hook)
        with calls.limit(options):
            if remaining() == 0.0:
                raise expired(about)
            return ask(options=options, **arguments)

    def open_read(self, location: Location, options: Options, head: int = 0) -> RangeReader:
        """Open one object; see ``hookspecs``."""
        reader: RangeReader | None = self._ask("open_read", location, options, location=location, head=head)
        return self._answer(reader, "open_read", location)

    def open_write(self, location: Location, options: Options, condition: Condition = None) -> ObjectWriter:
        """Begin one object; see ``hookspecs``."""
        if condition is not None and not self._takes_conditions:
            # The hook leaves the argument out, so it would write without a word about it.
            raise unsupported(location, f"the driver {self.name} knows no conditions, so it could overwrite")
        writer: ObjectWriter | None = self._ask("open_write", location, options, location=location, condition=condition)
        return self._answer(writer, "open_write", location)

    def open_edit(self, location: Location, options: Options, base: Stat) -> ObjectWriter:
        """Begin the next version of an object; see ``hookspecs``."""
        writer: ObjectWriter | None = self._ask("open_edit", location, options, location=location, base=base)
        return self._answer(writer, "open_edit", location)

    def open_in_place(self, location: Location, options: Options, *, appending: bool) -> ObjectWriter:
        """Begin to write into what has no versions; see ``hookspecs``."""
        writer: ObjectWriter | None = self._ask(
            "open_in_place", location, options, location=location, appending=appending
        )
        return self._answer(writer, "open_in_place", location)

    def open_file(self, location: Location, options: Options, buffering: int) -> IO[bytes] | None:
        """A native file object for reading, or None where the store has none."""
        file: IO[bytes] | None = self._ask(
            "open_file", location, options, location=location, mode="rb", buffering=buffering
        )
        return file

    def stat(self, location: Location, options: Options) -> Stat:
        """What is at exactly this location."""
        stat: Stat | None = self._ask("stat", location, options, location=location)
        return self._answer(stat, "stat", location)

    def entries(
        self,
        location: Location,
        options: Options,
        *,
        recursive: bool = False,
        limit: int | None = None,
        start_after: str = "",
    ) -> Iterator[Stat]:
        """The hook ``list``: what lies below a directory, its own marker included."""
        entries: Iterator[Stat] | None = self._ask(
            "list", location, options, location=location, recursive=recursive, limit=limit, start_after=start_after
        )
        return calls.steps(self._answer(entries, "list", location), options)

    def traits(self, location: Location, options: Options) -> Traits:
        """What the store promises here."""
        traits: Traits = self._answer(self._ask("traits", location, options, location=location), "traits", location)
        return traits

    def delete(self, location: Location, options: Options, condition: Condition = None) -> None:
        """Remove one object, marker or empty directory."""
        self._ask("delete", location, options, location=location, condition=condition)

    def delete_many(self, locations: Sequence[Location], options: Options) -> Sequence[tuple[Location, OSError]]:
        """Remove many objects of one container; those that failed."""
        failed: Sequence[tuple[Location, OSError]] = self._ask(
            "delete_many", locations[0] if locations else "", options, locations=locations
        )
        return failed

    def copy(self, source: Stat, target: Location, options: Options, condition: Condition = None) -> Stat | None:
        """Copy within the store; None where the bytes must go through the client."""
        stat: Stat | None = self._ask("copy", target, options, source=source, target=target, condition=condition)
        return stat

    def rename(self, source: Location, target: Location, options: Options) -> Stat | None:
        """Rename in one step; None where the store cannot."""
        stat: Stat | None = self._ask("rename", target, options, source=source, target=target)
        return stat

    def make_directory(self, location: Location, options: Options, mode: int) -> None:
        """Create one empty directory."""
        self._ask("make_directory", location, options, location=location, mode=mode)

    def touch(self, stat: Stat, options: Options) -> Stat:
        """Renew the time of an existing object."""
        touched: Stat = self._answer(self._ask("touch", stat.location, options, stat=stat), "touch", stat.location)
        return touched

    def uploads(self, location: Location, options: Options) -> Iterator[Upload]:
        """The unfinished uploads of a location, and below it."""
        uploads: Iterator[Upload] | None = self._ask("uploads", location, options, location=location)
        found = calls.steps(self._answer(uploads, "uploads", location), options)
        # A driver tells of every key that begins alike: "logs" is not about "logs-2".
        return (one for one in found if one.location == location or one.location.path.startswith(location.prefix))

    def abort_upload(self, upload: Upload, options: Options) -> None:
        """Remove one unfinished upload."""
        self._ask("abort_upload", upload.location, options, upload=upload)

    def presign(self, location: Location, options: Options, method: Literal["GET", "PUT"], expires: int) -> str:
        """A URL that its bearer may use for *expires* seconds."""
        url: str | None = self._ask("presign", location, options, location=location, method=method, expires=expires)
        return self._answer(url, "presign", location)

    def diagnose(self, location: Location, options: Options) -> Sequence[str]:
        """How this location is reached, in lines for a person."""
        lines: Sequence[str] | None = self._ask("diagnose", location, options, location=location)
        return self._answer(lines, "diagnose", location)

    def counts(self) -> Mapping[str, int]:
        """What the driver has counted."""
        counts: Mapping[str, int] = self._hooks.counts() or {}
        return counts

    def examine(self, location: Location, options: Options) -> Iterator[Finding]:
        """What the driver finds out by trying, in a directory of its own."""
        findings: Iterator[Finding] | None = self._ask("examine", location, options, location=location)
        return self._answer(findings, "examine", location)

    def reset_after_fork(self) -> None:
        """In a forked child, before anything else."""
        self._hooks.reset_after_fork()

    def close(self) -> None:
        """Let go of everything."""
        self._hooks.close()


@dataclass(frozen=True, slots=True)
class Resource:
    """A location together with the backend and the options that reach it."""

    backend: Backend
    location: Location
    options: Options = field(repr=False)  # there may be secrets among them

    def at(self, location: Location) -> Resource:
        """Another location, reached in the same way."""
        return Resource(self.backend, location, self.options)

    @property
    def timeout(self) -> float | None:
        """Seconds that a call may take; None where it may take its time."""
        return calls.timeout_of(self.options)

    def limit(self) -> within:
        """A ``with`` block under the deadline of the call that made this."""
        return calls.limit(self.options)

    @property
    def traits(self) -> Traits:
        """What the store promises here."""
        return self.backend.traits(self.location, self.options)

    def stat(self) -> Stat:
        """What is at exactly this location; ``FileNotFoundError`` for an implicit directory."""
        return self.backend.stat(self.location, self.options)

    def entries(self, *, recursive: bool = False, limit: int | None = None) -> Iterator[Stat]:
        """What lies below this directory, its own marker included."""
        return self.backend.entries(self.location, self.options, recursive=recursive, limit=limit)

    def same_store(self, other: Resource) -> bool:
        """True where one driver, with the same options, reaches both."""
        return self.backend is other.backend and self.options == other.options
