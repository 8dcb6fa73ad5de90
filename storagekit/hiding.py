"""Hiding: what must not be seen by chance is held by objects that do not show it.

A secret is passed from the user's call down to the request that it signs, through the locals of a dozen functions. When
one of them raises, programs that report errors write down every local by its ``repr``; so what counts is that nothing
that a function holds has a ``repr`` with a secret in it. Three small types see to that. Each *is* the builtin that it
stands for, so that no code has to know of them: a driver signs with a ``Secret`` as with any other text.

It begins at the public functions (``hides_options``), because the mapping that was given to one is a local of its
frame. The caller's own frame is the caller's.

A URL with a password in it is refused here too, before anything has a copy of it: URLs stand in every error and log.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, SupportsIndex, TypeVar, cast

from storagekit.errors import invalid
from storagekit.location import scheme_of

__all__ = [
    "HiddenBytes",
    "HiddenOptions",
    "Secret",
    "hidden",
    "hides_given",
    "hides_options",
    "refuse_password",
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
        if (scheme := _scheme_of_password(args) or _scheme_of_password(kwargs.values())) is not None:
            args, kwargs = (), {}  # this frame is seen as well
            raise _refusal(scheme)
        if kwargs.get("options") is not None:
            if not isinstance(kwargs["options"], Mapping):
                kind, kwargs = type(kwargs["options"]).__name__, {}
                raise TypeError(f"options must be a mapping, not {kind}")
            kwargs["options"] = hidden(kwargs["options"])
        return function(*args, **kwargs)

    return cast(F, call)


# ---------------------------------------------------------------- URLs


def _scheme_of_password(arguments: Any) -> str | None:
    """The scheme of the first URL among *arguments* that has a password; None where none has one."""
    for argument in arguments:
        if isinstance(argument, str) and "@" in argument and (scheme := _password_scheme(argument)):
            return scheme
    return None


def _password_scheme(url: str) -> str | None:
    scheme = scheme_of(url)
    if scheme is None:
        return None
    name, at, _ = url[len(scheme) + 3 :].partition("/")[0].rpartition("@")
    return scheme if at and ":" in name else None


def refuse_password(url: str) -> None:
    """Raise where *url* has a password before its first slash, as in ``scheme://name:password@host/``."""
    if (scheme := _password_scheme(url)) is not None:
        url = ""
        raise _refusal(scheme)


def _refusal(scheme: str) -> OSError:
    return invalid(
        f"{scheme}://…",
        "a URL holds no credentials: give them as options, or where the store's own tools look for them",
    )


def without_query(url: str) -> str:
    """A web address as it may be shown: without what signs it, where it is a presigned URL."""
    address, mark, _ = url.partition("?")
    return f"{address}?…" if mark and scheme_of(url) in ("http", "https") else url
