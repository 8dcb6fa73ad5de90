"""Transports: through which implementation of the port a bucket is reached.

There are two: the ``wire``, which speaks to S3 itself, and boto3. The wire serves every bucket that it can, and says
why where it cannot (``routes``); such a bucket is boto3's. The option ``transport`` names one: ``"boto3"`` is for those
who have reasons of their own, ``"wire"`` for those who would rather have an error than the other. boto3 is imported
only where it is needed: that takes longer than many programs run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import storagekit.errors
from storagekit.fork_guard import IMPORT_SECONDS, guarded
from storagekit.location import Location
from storagekit_s3 import errors
from storagekit_s3.api import Api
from storagekit_s3.exchanges import Caller, Way
from storagekit_s3.ledger import Ledger
from storagekit_s3.options import Connection
from storagekit_s3.pools import Pool
from storagekit_s3.retrying import Retrying
from storagekit_s3.routes import Reason, Route, address_of, plain_route
from storagekit_s3.wire import WireApi

__all__ = ["Transports"]


class Transports:
    """What serves the requests with one set of connection options: one port per bucket, one pool per address."""

    def __init__(self, connection: Connection, ledger: Ledger | None = None) -> None:
        self._connection = connection
        self._ledger = ledger or Ledger()
        self._lock = threading.Lock()
        self._apis: dict[str, Api] = {}
        self._boto_api: Api | None = None
        self._retrying = Retrying()
        self._pools: dict[tuple[str, int], Pool] = {}

    def api(self, location: Location) -> Api:
        """The port for a location's bucket; *location* is also what an error is about."""
        api = self._apis.get(location.container)
        if api is None:
            with self._lock:
                api = self._apis.get(location.container)
                if api is None:
                    api = self._apis[location.container] = self._choose(location)
        return api

    def _choose(self, location: Location) -> Api:
        wanted = self._connection.transport
        if wanted == "boto3" or not location.container:
            return self._boto(location)
        found = self._route(location, None)
        if isinstance(found, Route):
            caller = Caller(self._finder(location), self._way(found), self._retrying, self._ledger)
            return WireApi(caller, lambda: self._boto(location))
        if wanted == "wire":
            raise storagekit.errors.unsupported(location, f"the option transport excludes boto3, and {found}")
        return self._boto(location)

    def _boto(self, location: Location) -> Api:
        api = self._boto_api
        if api is None:
            with guarded(IMPORT_SECONDS):
                from storagekit_s3.boto import connect
            api = self._boto_api = connect(self._connection, location, self._retrying, self._ledger)
        return api

    def _finder(self, location: Location) -> Callable[[str | None], Way]:
        bucket = Location(location.scheme, location.container, "")

        def find(region: str | None) -> Way:
            found = self._route(bucket, region)
            if isinstance(found, Route):
                return self._way(found)
            text = f"the option transport must be 'boto3' here, because {found}"
            raise storagekit.errors.describe(storagekit.errors.unsupported(bucket, text))

        return find

    def _route(self, location: Location, region: str | None) -> Route | Reason:
        connection = self._connection if region is None else replace(self._connection, region_name=region)
        try:
            plain = plain_route(connection, location.container)
            if plain is not None:
                return plain
            with guarded(IMPORT_SECONDS):
                from storagekit_s3.boto_route import boto_route
            return boto_route(connection, location.container)
        except Exception as error:
            mapped = errors.client_error(error, "connecting", location)
            if not errors.is_bad_header(error):
                raise mapped from error
        raise mapped  # here nothing of what is no header, which may be a secret, is left to be seen

    def _way(self, route: Route) -> Way:
        address = address_of(route, self._connection)
        place = (address.host, address.port)
        pool = self._pools.get(place) or self._pools.setdefault(place, Pool(address))
        return Way(route, pool)

    def close(self) -> None:
        """Let go of the connections."""
        for pool in list(self._pools.values()):
            pool.close()
        if self._boto_api is not None:
            self._boto_api.close()
