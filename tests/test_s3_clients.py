"""Clients: which one serves a request, and how many are kept."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from storagekit.location import Location
from storagekit_s3 import clients
from storagekit_s3.clients import Clients
from storagekit_s3.options import Connection

KEY = Location("s3", "box", "key")


class Made:
    """A client that knows what it was made for."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.closed = False

    def api(self, location: Location) -> Any:
        return self

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Clients:
    monkeypatch.setattr(clients, "MOST_CLIENTS", 3)
    return Clients(Made)


def test_one_for_each_set_of_options_and_of_variables(kept: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    here = kept.get(Connection(region_name="here"), KEY)
    assert kept.get(Connection(region_name="here"), KEY) is here
    assert kept.get(Connection(region_name="there"), KEY) is not here
    monkeypatch.setenv("AWS_SESSION_TOKEN", "another")
    assert kept.get(Connection(region_name="here"), KEY) is not here


def test_renewed_credentials_do_not_pile_up_clients(kept: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for hour in range(10):
        monkeypatch.setenv("AWS_SESSION_TOKEN", f"token {hour}")
        made.append(weakref.ref(kept.get(Connection(), KEY)))
    in_use: Any = made[-3]()
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token 10")
    last: Any = kept.get(Connection(), KEY)
    gc.collect()
    assert [client() is not None for client in made] == [False] * 7 + [True] * 3
    assert not in_use.closed, "an open file may be using it"
    kept.close()
    assert last.closed


def test_after_the_end_they_are_made_again(kept: Clients) -> None:
    first: Any = kept.get(Connection(), KEY)
    kept.close()
    assert first.closed
    assert kept.get(Connection(), KEY) is not first
