"""Paths under faults: right bytes or a clear error, and nothing else.

Each fault comes once to every path, over both transports, and over https to those that read. What comes each time is
held over the wire, but for silence, which takes a second or two until it is believed. ``scripts/fault-matrix`` runs
every cell.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fault_matrix import ALWAYS, FAULTS, ONCE, PATHS, Place, cell, faults_of, no_pauses, place

from storagekit_conformance.servers import S3Server

pytest_plugins = ["s3_support"]

SILENT = {"silence", "stall in the body"}


@pytest.fixture(params=["moto", "moto_tls"])
def at(request: pytest.FixtureRequest, transport: str) -> Iterator[Place]:
    server: S3Server = request.getfixturevalue(request.param)
    with no_pauses(), place(server, transport) as made:
        yield made


@pytest.mark.filterwarnings("ignore:unclosed, not published:ResourceWarning")
@pytest.mark.parametrize("name", PATHS)
def test_right_bytes_or_a_clear_error(at: Place, name: str) -> None:
    path = PATHS[name]
    plain = str(at.options["endpoint_url"]).startswith("http:")
    if not plain and path.operations != ("read",):
        pytest.skip("over https, what reads")
    wrong, seen = [], set()
    for title in faults_of(path):
        each_time = plain and at.options["transport"] == "wire" and title not in SILENT
        for how in (ONCE, ALWAYS) if each_time else (ONCE,):
            try:
                seen.add(cell(at, path, FAULTS[title](at, path), how))
            except AssertionError as error:
                wrong.append(f"{title}, {how}: {error}")
    assert not wrong, "\n".join(wrong)
    assert "ok" in seen
    assert seen - {"ok", "-"}, "some faults cannot be got over"
