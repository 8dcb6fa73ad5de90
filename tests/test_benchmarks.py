"""The benchmarks: every workload runs and compares its bytes, failures are told, and reports say what was measured."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import environments, plot, table
from benchmarks.data import FULL, MAKERS, MiB, Sizes, make, needed
from benchmarks.headlines import HEADLINES, best
from benchmarks.measuring import Check, Run, WrongBytesError
from benchmarks.peers import PEERS, Entry
from benchmarks.peers.base import Peer, RawFile
from benchmarks.places import data_folder, simulated
from benchmarks.report import markdown
from benchmarks.results import Results, number
from benchmarks.running import run_all, run_one
from benchmarks.workloads import WORKLOADS

ROOT = Path(__file__).parent.parent
SIZES = Sizes(
    big=3 * MiB,
    whole=2 * MiB,
    text=100_000,
    archive=400_000,
    members=25,
    rows=1000,
    each=MiB,
    shared=MiB,
    sparse=MiB,
    small=20,
    keys=250,
    written=6 * MiB,
    writes=10,
    reads=4,
)
DATA = [name for name in MAKERS if name != "parquet"]  # which wants pyarrow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make(folder / "bench", SIZES, DATA)
    return folder


# Some peers leave their connections to the end of the process: so it is one of its own.
ALL_WORKLOADS = """
import json, sys
from benchmarks.measuring import Run
from benchmarks.peers import load
from benchmarks.peers.base import NotOfferedError
from benchmarks.task import Task
from benchmarks.workloads import WORKLOADS

task, names, thorough = Task.from_json(sys.argv[1]), sys.argv[2].split(","), sys.argv[3] == "True"
peer = load(task.peer, task.place())
for name in names:
    run = Run(peer.place.folder, task.sizes, task.control, thorough)
    try:
        figures = WORKLOADS[name].run(peer, run)
    except NotOfferedError:
        continue
    print(json.dumps({"workload": name, "figures": figures, **run.measured}))
"""
# Two start processes of their own, and one wants pyarrow.
IN_ONE_PROCESS = [name for name in WORKLOADS if name not in ("parquet-columns", "first-byte", "import-time")]


@pytest.mark.parametrize(
    ("peer", "thorough", "offered"), [("storagekit", False, 19), ("boto3", True, 15), ("sockets", True, 7)]
)
def test_the_workloads_work(folder: Path, peer: str, thorough: bool, offered: int) -> None:
    with simulated(folder, ["raw"]) as ground:
        task = ground.task(peer, "", "raw", SIZES, folder, thorough)
        command = [sys.executable, "-c", ALL_WORKLOADS, task.to_json(), ",".join(IN_ONE_PROCESS), str(thorough)]
        environment = ground.environment | {"AWS_ENDPOINT_URL": task.endpoint}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == offered
    for result in results:
        assert result["figures"].keys() == {figure.name for figure in WORKLOADS[result["workload"]].figures}
        assert all(value > 0 for value in result["figures"].values())
        assert sum(result["requests"].values()) > 0
        assert result["seconds"] > 0


def test_a_program_measures_storagekit_and_boto3(tmp_path: Path) -> None:
    """As a user starts it; with everything in this environment, and small data."""
    work = "sequential,zip-members,write,first-byte"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--repeats", "1", "--profile", "raw", "--work", work]
    command += ["--peers", "storagekit,boto3", "--python", sys.executable, "--results", str(tmp_path / "results")]
    command += ["--data", str(tmp_path), "--name", "smoke"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    results = Results.load(tmp_path / "results" / "smoke.json")
    assert [run for run in results.runs if run["status"] != "ok"] == []
    assert results.workloads() == work.split(",")
    assert results.versions.keys() == {"storagekit", "boto3"}
    for name in results.workloads():
        cells = results.cells(name, "raw")
        assert cells.keys() == {"storagekit", "boto3"}
        assert all(len(cell.runs) == 1 for cell in cells.values())
    page = (tmp_path / "results" / "smoke.md").read_text(encoding="utf-8")
    assert "Small data" in page
    assert "| **storagekit** |" in page
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_an_interrupted_program_keeps_its_results_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--repeats", "1000", "--profile", "raw", "--name", "cut"]
    command += ["--work", "zip-members", "--peers", "boto3", "--python", sys.executable, "--data", str(tmp_path)]
    command += ["--results", str(tmp_path / "results")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any(line.startswith("zip-members ") for line in process.stdout)
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert errors == "interrupted\n"
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
    assert Results.load(tmp_path / "results" / "cut.json").workloads() == ["zip-members"]


def test_a_failing_peer_does_not_stop_the_others(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Only this process knows the line; the one that runs the peer finds none.
    monkeypatch.setitem(PEERS, "broken", Entry("broken", "Broken", "defaults"))
    pythons = {"main": Path(sys.executable)}
    with simulated(folder, ["raw"]) as ground:
        runs = list(run_all(ground, pythons, SIZES, ["zip-members"], ["broken", "boto3"], 2, 60))
    assert [(run["peer"], run["round"], run["status"]) for run in runs] == [
        ("broken", 1, "failed"),
        ("boto3", 1, "ok"),
        ("boto3", 2, "ok"),
    ]
    assert "KeyError" in runs[0]["reason"]


def test_a_run_that_takes_too_long_is_ended(folder: Path) -> None:
    with simulated(folder, ["wan,first_byte=60000"]) as ground:
        task = ground.task("sockets", "whole", "wan,first_byte=60000", SIZES, folder, False)
        result = run_one(Path(sys.executable), task, ground.environment, 1.5)
    assert result == {"status": "failed", "reason": "not done after 2 s"}


def test_other_bytes_are_found(tmp_path: Path) -> None:
    data = os.urandom(1000)
    (tmp_path / "key").write_bytes(data)
    wrong = data[:500] + bytes([data[500] ^ 1]) + data[501:]
    thorough = Check(tmp_path / "key", thorough=True)
    with pytest.raises(WrongBytesError, match="other bytes"):
        thorough(wrong)
    sampled = Check(tmp_path / "key", thorough=False)
    with pytest.raises(WrongBytesError, match="other bytes at 0"):
        sampled(data[1:])
    short = Check(tmp_path / "key", thorough=False)
    short(memoryview(data)[:400])
    short(data[400:900])
    with pytest.raises(WrongBytesError, match="900 bytes of 1000"):
        short.finish()
    short(data[900:], 900)
    short.finish()
    with pytest.raises(WrongBytesError, match="other bytes"):
        short.all(wrong[400:], 400)


def test_a_workload_notices_wrong_bytes(folder: Path) -> None:
    class Wrong(Peer):
        def read(self, key: str) -> bytes:
            data = bytearray((folder / "bench" / key).read_bytes())
            data[len(data) // 2] ^= 1
            return bytes(data)

    run = Run(folder / "bench", SIZES, None, False)
    for name in "whole", "small-pool":
        with pytest.raises(WrongBytesError):
            WORKLOADS[name].run(Wrong(None), run)  # type: ignore[arg-type]


def test_a_raw_file_keeps_the_promises_of_io(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"0123456789")
    with RawFile((tmp_path / "key").open("rb")) as file:
        buffer = bytearray(4)
        assert (file.readinto(buffer), bytes(buffer), file.tell()) == (4, b"0123", 4)
        assert (file.seek(-3, 2), file.read(2), file.read(), file.read()) == (7, b"78", b"9", b"")
        inner = file._inner
    assert inner.closed


def test_data_are_the_same_every_time_and_of_their_size(folder: Path, tmp_path: Path) -> None:
    make(tmp_path, SIZES, DATA)
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    for path in made:
        assert (tmp_path / path).read_bytes() == (folder / "bench" / path).read_bytes(), path
    assert (tmp_path / "big.bin").stat().st_size == SIZES.big
    assert (tmp_path / "lines.txt").stat().st_size == SIZES.text
    assert len(list((tmp_path / "keys").rglob("*.txt"))) == SIZES.keys
    blocks = {(tmp_path / "big.bin").read_bytes()[start : start + 4096] for start in range(0, SIZES.big, 4096)}
    assert len(blocks) == SIZES.big // 4096
    assert 3e9 < needed(FULL, list(MAKERS)) < 5e9
    assert {name for work in WORKLOADS.values() for name in work.needs} | {"tiny"} == set(MAKERS)


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    process = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    left = tmp_path / f"storagekit-bench-{int(process.stdout)}-x"
    mine = tmp_path / f"storagekit-bench-{os.getpid()}-x"
    for name in left, mine, tmp_path / "storagekit-bench-other-x":
        name.mkdir()
    with data_folder(tmp_path) as folder:
        assert folder.parent == tmp_path
    assert sorted(path.name for path in tmp_path.iterdir()) == [mine.name, "storagekit-bench-other-x"]


def test_every_peer_has_a_class_an_environment_and_a_line_in_the_readme() -> None:
    readme = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for name, entry in PEERS.items():
        made = getattr(importlib.import_module(f"benchmarks.peers.{entry.module}"), entry.name)
        assert issubclass(made, Peer)
        assert made.__doc__
        assert f"`{name}`" in readme, name
        wanted = environments.REQUIREMENTS[entry.environment]
        if entry.kind in ("defaults", "tuned"):
            assert any(text.startswith(f"{entry.distribution}==") for text in wanted), name
    for name in WORKLOADS:
        assert f"| `{name}` |" in readme, name


# Reports


def results_of(*runs: tuple[str, str, str, int, dict[str, float] | str]) -> Results:
    """Results with these runs: workload, profile, peer, round, and figures or a status."""
    machine = {"cpu": "Abacus", "cores": 2, "memory_gib": 8.0, "system": "Linux 1", "python": "CPython 3"}
    made = Results("toy", "2026-01-02", machine, {"wan": {}, "raw": {}}, asdict(FULL), 2, {"boto3": "1"}, "abc")
    for workload, profile, peer, round_, what in runs:
        run: dict[str, Any] = {"workload": workload, "profile": profile, "peer": peer, "round": round_}
        if isinstance(what, str):
            run |= {"status": what, "reason": "OSError: a | b"} if what == "failed" else {"status": what}
        else:
            run |= {"status": "ok", "figures": what, "cpu_seconds": 0.5, "fetched": 5e6}
            run["requests"] = {"get": 2, "head": 1}
        made.runs.append(run)
    return made


def toy() -> Results:
    return results_of(
        ("sequential", "wan", "storagekit", 0, {"speed": 1.0}),
        ("sequential", "wan", "storagekit", 1, {"speed": 900.0}),
        ("sequential", "wan", "storagekit", 2, {"speed": 700.0}),
        ("sequential", "wan", "boto3", 1, {"speed": 80.0}),
        ("sequential", "wan", "opendal", 1, {"speed": 79.0}),
        ("sequential", "wan", "opendal-t", 1, {"speed": 440.0}),
        ("sequential", "wan", "s3fs", 1, "failed"),
        ("sequential", "wan", "sockets", 1, {"speed": 1100.0}),
        ("zip-members", "wan", "storagekit", 1, {"time": 0.7}),
        ("zip-members", "wan", "boto3", 1, {"time": 2.25}),
        ("ranges", "wan", "boto3", 1, "not offered"),
        ("ranges", "wan", "storagekit", 1, {"time": 0.1}),
    )


def test_the_best_of_each_kind(tmp_path: Path) -> None:
    results = toy()
    results.save(tmp_path / "toy.json")
    assert Results.load(tmp_path / "toy.json") == results
    found = best(results, HEADLINES[0])
    assert [cell and cell.peer for cell in (found.ours, found.defaults, found.tuned, found.limit)] == [
        "storagekit",
        "boto3",
        "opendal-t",
        "sockets",
    ]
    assert found.ours is not None
    assert found.ours.median("speed") == 800  # the thorough round is none of them
    ranked = results.ranked("sequential", "wan", WORKLOADS["sequential"].figures[0])
    assert [cell.peer for cell in ranked] == ["sockets", "storagekit", "opendal-t", "boto3", "opendal", "s3fs"]
    ranked = results.ranked("zip-members", "wan", WORKLOADS["zip-members"].figures[0])
    assert [cell.peer for cell in ranked] == ["storagekit", "boto3"]


def test_the_page_tells_spread_failures_and_what_is_missing() -> None:
    page = markdown(toy())
    assert "| **800** (700–900) | 2 | 0.50 | 3 | 5 |" in page
    assert "* s3fs: failed: OSError: a / b" in page
    assert "| boto3 | 80.0 | – | 2.25 |" in page
    assert "Abacus, 2 cores" in page
    assert "Small data" not in page
    small = replace(toy(), sizes=asdict(SIZES))
    assert "Small data" in markdown(small)


def test_a_peer_that_gave_wrong_bytes_has_no_figure() -> None:
    results = results_of(
        ("sequential", "wan", "boto3", 0, "failed"), ("sequential", "raw", "opendal", 1, {"speed": 5.0})
    )
    for profile in "wan", "raw":
        assert results.cells("sequential", profile)["boto3"].status == "failed"
        assert results.cells("sequential", profile)["boto3"].runs == []


def test_results_are_added_to_older_ones() -> None:
    new = results_of(("zip-members", "wan", "storagekit", 1, {"time": 0.5}))
    new.add(toy())
    assert new.cells("zip-members", "wan").keys() == {"storagekit"}
    assert new.cells("sequential", "wan").keys() == toy().cells("sequential", "wan").keys()
    with pytest.raises(ValueError, match="other sizes"):
        new.add(replace(toy(), sizes=asdict(SIZES)))


def test_figures_are_short() -> None:
    assert [number(value) for value in (0, 0.0123, 0.5, 1.234, 12.34, 123.4, 1234.5, None)] == [
        "0.00",
        "0.012",
        "0.50",
        "1.23",
        "12.3",
        "123",
        "1,234",
        "–",
    ]


def test_the_readmes_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    readme, made = tmp_path / "README.md", tmp_path / "toy.json"
    monkeypatch.setattr(table, "README", readme)
    toy().save(made)
    readme.write_text("# A\n")
    assert table.main([str(made)]) == 1
    assert "no place for the table" in capsys.readouterr().err
    readme.write_text(f"# A\n{table.BEGIN}\nold\n{table.END}\nend\n")
    assert table.main([str(made), "--check"]) == 1
    assert "run benchmarks/table.py" in capsys.readouterr().err
    assert table.main([str(made)]) == 0
    assert table.main([str(made), "--check"]) == 0
    text = readme.read_text()
    assert "| **800 MB/s** | 80.0 MB/s (boto3) | 440 MB/s (opendal) | 1,100 MB/s (sockets) |" in text
    assert text.startswith("# A\n")
    assert text.endswith("\nend\n")
    assert "old" not in text
    made.write_text("{}")
    assert table.main([str(made)]) == 1


def test_a_panel_has_a_line_for_each_library() -> None:
    lines = plot.bars(toy(), HEADLINES[0])
    assert [(line.library, line.values) for line in lines] == [
        ("storagekit", {"ours": 800.0}),
        ("opendal", {"defaults": 79.0, "tuned": 440.0}),
        ("boto3", {"defaults": 80.0}),
    ]
    assert {headline.workload for headline in HEADLINES} <= WORKLOADS.keys()


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plot is drawn in the environment of the benchmarks")
    for name in "one.svg", "two.svg":
        plot.draw(toy(), tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
