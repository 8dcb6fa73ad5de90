"""Hiding: what must not be seen by chance is held by objects that do not show it.

A secret is passed from the user's call down to the request that it signs, through the locals of a dozen functions. When
one of them raises, programs that report errors write down every local by its ``repr``; so what counts is that nothing
that a function holds has a ``repr`` with a secret in it. Three small types see to that. Each *is* the builtin that it
stands for, so that no code has to know of them: a driver signs with a ``Secret`` as with any other text.

It begins at the public functions (``hides_options``), because the mapping that was given to one is a local of its
frame. The caller's own frame is the caller's.

A URL with a password in it is refused here too, before anything has a copy of it: URLs stand in every error and log.
A presigned one goes on as a text that shows without what signs it; no driver of ours takes it, another's may.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, SupportsIndex, TypeVar, cast

from storagekit.errors import invalid
from storagekit.location import scheme_of

__all__ = [
    "HiddenBytes",
    "HiddenOptions",
    "Presigned",
    "Secret",
    "hidden",
    "hides_given",
    "hides_options",
    "password_refusal",
    "refuse_password",
    "unsigned",
    "veiled",
    "without_query",
]

C = TypeVar("C")
F = TypeVar("F", bound=Callable[..., Any])


class Secret(str):
    """A text that does not show in a ``repr`` and does not pickle.

    >>> from storagekit.hiding import Secret
    >>> Secret("open sesame"), Secret("open sesame") == "open sesame"
    (<secret>, True)
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "<secret>"

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn:
        raise TypeError("cannot pickle a secret")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self


class HiddenBytes(bytes):
    """Bytes that do not show in a ``repr``, such as the head of a signed request; they do not pickle either."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"

    __str__ = __repr__

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn:
        raise TypeError("cannot pickle what may hold a secret")


class HiddenOptions(dict[str, Any]):
    """Options, of which only the names show. They pickle as an ordinary dict."""

    def __repr__(self) -> str:
        return f"<options {', '.join(map(str, self)) or 'none'}>"

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> tuple[Any, ...]:
        return dict, (dict(self),)


def veiled(value: object) -> object:
    """*value* so that it does not show, where it is a text or bytes, as secrets are."""
    if isinstance(value, str):
        return value if isinstance(value, Secret) else Secret(value)
    return HiddenBytes(value) if isinstance(value, bytes) else value


def hidden(options: Any) -> Any:
    """A mapping so that it does not show; what is none is returned as it is, for others to refuse."""
    return HiddenOptions(options) if isinstance(options, Mapping) and type(options) is not HiddenOptions else options


def hides_options(cls: type[C]) -> type[C]:
    """Hide the options that each method of a class is given, from the method too; refuse URLs with a password."""
    for name, method in list(vars(cls).items()):
        if "options" in (getattr(method, "__kwdefaults__", None) or ()):
            setattr(cls, name, hides_given(method))
    return cls


def hides_given(function: F) -> F:
    """The same for one function."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if any(map(_suspect, args)) or any(map(_suspect, kwargs.values())):
            # What knows the schemes, where this is a method of what has drivers.
            knows = getattr(getattr(args[0], "_registry", None), "knows", None) if args else None
            for argument in (*args, *kwargs.values()):
                if (refusal := password_refusal(argument, knows)) is not None:
                    argument, args, kwargs = None, (), {}  # this frame is seen as well
                    raise refusal
            args, kwargs = tuple(map(unsigned, args)), {name: unsigned(value) for name, value in kwargs.items()}
            argument = None
        if kwargs.get("options") is not None:
            if not isinstance(kwargs["options"], Mapping):
                kind, kwargs = type(kwargs["options"]).__name__, {}
                raise TypeError(f"options must be a mapping, not {kind}")
            kwargs["options"] = hidden(kwargs["options"])
        return function(*args, **kwargs)

    return cast(F, call)


# ---------------------------------------------------------------- URLs


_WEB = ("http", "https")

# An access key id as Amazon makes them, and a colon. The secret that follows may hold slashes, so that the "@" behind
# it comes in what looks like the path.
_ACCESS_KEY = re.compile(r"[A-Z0-9]{16,}:")

# A URL, and what ``pathlib`` makes of one.
_COLLAPSED = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")


def _text_of(argument: object) -> str | None:
    """An argument as text, where it is a path of any type."""
    if isinstance(argument, str):
        return argument
    if not isinstance(argument, bytes) and not hasattr(type(argument), "__fspath__"):
        return None
    try:
        return os.fsdecode(cast(Any, argument))
    except Exception:  # it is no path, and whoever uses it as one will say so
        return None


def _suspect(argument: object) -> bool:
    """True for what may be a URL with something to hide. Asked of every argument of every call, so it is quick."""
    text = argument if isinstance(argument, str) else _text_of(argument)
    return text is not None and ("@" in text or "?" in text)


def password_refusal(argument: object, knows: Callable[[str], bool] | None = None) -> OSError | None:
    """The error for a URL with a password before its first slash, as in ``scheme://name:password@host/``.

    *argument* may be a path of any type, and anything else. Where *knows* tells which schemes have a driver, a
    ``pathlib`` path that was such a URL is meant too; without a driver it is a local path like others.
    """
    text = _text_of(argument)
    if text is None or "@" not in text:
        return None
    scheme = scheme_of(text)
    if scheme is not None:
        start = len(scheme) + 3
    else:
        pathlib = sys.modules.get("pathlib")  # which is slow to load, and loaded where there is a path of it
        match = _COLLAPSED.match(text)
        if match is None or knows is None or pathlib is None or not isinstance(argument, pathlib.PurePath):
            return None
        scheme, start = match.group(1).lower(), match.end()
    name, at, _ = text[start:].partition("/")[0].rpartition("@")
    if not (at and ":" in name) and not _ACCESS_KEY.match(text, start):
        return None
    if knows is not None and "://" not in text and not knows(scheme):
        return None
    return invalid(
        f"{scheme}://…",
        "a URL holds no credentials: give them as options, or where the store's own tools look for them",
    )


def refuse_password(url: object) -> None:
    """Raise the error for a URL with a password, where *url* is one."""
    if (refusal := password_refusal(url)) is not None:
        url = ""
        raise refusal


class Presigned(str):
    """A web address that shows without what signs it.

    >>> from storagekit.hiding import Presigned
    >>> Presigned("https://host/key?X-Amz-Signature=abc")
    'https://host/key?…'
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(without_query(str(self)))


def unsigned(value: Any) -> Any:
    """*value* so that it shows no signature, where it is a web address with one."""
    if isinstance(value, str):
        return Presigned(value) if "?" in value and scheme_of(value) in _WEB else value
    if isinstance(value, bytes) and b"?" in value and scheme_of(os.fsdecode(value)) in _WEB:
        return HiddenBytes(value)
    return value


def without_query(url: str) -> str:
    """A web address as it may be shown: without what signs it, where it is a presigned URL."""
    address, mark, _ = url.partition("?")
    return f"{address}?…" if mark and scheme_of(url) in _WEB else url
