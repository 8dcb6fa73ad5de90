"""Every path under every fault, over both transports, http and https: right bytes or a clear error, nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fault_matrix import ALWAYS, FAULTS, ONCE, PATHS, Place, cell, no_pauses, place

from storagekit_conformance.servers import S3Server

pytest_plugins = ["s3_support"]


@pytest.fixture(params=["moto", "moto_tls"])
def at(request: pytest.FixtureRequest, transport: str) -> Iterator[Place]:
    server: S3Server = request.getfixturevalue(request.param)
    with no_pauses(), place(server, transport) as made:
        yield made


@pytest.mark.filterwarnings("ignore:unclosed, not published:ResourceWarning")
@pytest.mark.parametrize("name", PATHS)
def test_right_bytes_or_a_clear_error(at: Place, name: str) -> None:
    path = PATHS[name]
    wrong = []
    seen = set()
    for title, fault in FAULTS.items():
        for how in (ONCE, ALWAYS):
            try:
                seen.add(cell(at, path, fault(at, path), how))
            except AssertionError as error:
                wrong.append(f"{title}, {how}: {error}")
    assert not wrong, "\n".join(wrong)
    assert "ok" in seen
    assert seen - {"ok", "-"}, "some faults cannot be got over"
