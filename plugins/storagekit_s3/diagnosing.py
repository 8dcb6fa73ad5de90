"""Diagnosing: how a bucket is reached, in lines for a person, without asking the server anything.

Of credentials they say where they come from, and nothing else: no key, not even the public half of one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from storagekit.location import Location
from storagekit_s3.api import Api
from storagekit_s3.options import S3Options
from storagekit_s3.routes import Route
from storagekit_s3.servers import is_amazon, profile_of

__all__ = ["describe"]

# What botocore calls the places where it finds credentials, for people.
_SOURCES = {
    "env": "environment variables",
    "shared-credentials-file": "the credentials file",
    "config-file": "the configuration file",
    "custom-process": "the program that the configuration names",
    "assume-role": "a role that is assumed",
    "assume-role-with-web-identity": "a role, by a web identity token",
    "sso": "a single sign-on",
    "container-role": "the container's role",
    "iam-role": "the instance's role",
}


def describe(api: Api, location: Location, options: S3Options) -> Iterator[str]:
    """The lines of the hook ``diagnose``."""
    route = getattr(api, "route", None)
    yield f"endpoint: {_harmless(api.endpoint)}"
    region = route.region if isinstance(route, Route) else _region(api, location)
    yield f"region: {region or 'none'}"
    yield f"server header: {'not known: there was no answer yet' if api.server is None else api.server or 'none'}"
    profile = profile_of(api.endpoint, api.server, options.server)
    why = "by its Server header"
    if options.server is not None:
        why = "by the option server"
    elif is_amazon(api.endpoint):
        why = "by the endpoint's host name"
    elif profile is None:
        why = "there was no answer yet"
    elif profile.name == "generic":
        why = "because neither host nor Server header tells"
    yield f"profile: {'not known' if profile is None else profile.name}, {why}"
    if options.conditional_writes is not None:
        yield f"conditional writes: {options.conditional_writes}, by the option"
    yield f"transport: {_transport(route, location, options)}"
    if isinstance(route, Route):
        text = (
            f"{(route.algorithm or 'crc32').upper()} of each upload"
            if route.checksums
            else "only where the protocol wants them"
        )
        yield f"checksums sent: {text}"
    yield f"credentials: {_credentials(options)}"


def _harmless(endpoint: str) -> str:
    """The endpoint without what might be a user and a password in it."""
    parts = urlsplit(endpoint)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def _region(api: Api, location: Location) -> str | None:
    session: Any = getattr(api, "session", None)
    found = None if session is None else session(location).client.meta.region_name
    return found if isinstance(found, str) else None


def _transport(route: object, location: Location, options: S3Options) -> str:
    wanted = options.connection.transport
    if isinstance(route, Route):
        return "wire" + (", by the option" if wanted == "wire" else "")
    if wanted == "boto3":
        return "boto3, by the option"
    from storagekit_s3.boto_route import boto_route

    reason = boto_route(options.connection, location.container)
    return f"boto3, because {reason}" if isinstance(reason, str) else "boto3"


def _credentials(options: S3Options) -> str:
    connection = options.connection
    if connection.anonymous:
        return "none: requests are not signed, by the option anonymous"
    if connection.aws_access_key_id is not None:
        return "the options" + (", with a session token" if connection.aws_session_token is not None else "")
    from storagekit_s3.boto_client import make_session

    try:
        found = make_session(connection).get_credentials()
    except Exception as error:  # whatever hinders it, the requests say it better
        return f"not found ({type(error).__name__})"
    if found is None:
        return "none were found"
    source = _SOURCES.get(found.method, str(found.method))
    profile = connection.profile or os.environ.get("AWS_PROFILE")
    return f"{source}, profile {profile}" if profile else source
