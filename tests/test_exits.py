"""Exits: what is unfinished when a process of ``multiprocessing`` ends. ``test_exit`` has the interpreter that ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from storagekit_conformance.servers import S3Server

pytest_plugins = ["s3_support"]

WORKERS = """
import concurrent.futures, multiprocessing, os, sys, threading, time, warnings
import storagekit

BASE = os.environ["BASE"]
DATA = b"x" * (11 << 20)
kept = []

def begin(name, **options):
    file = storagekit.open(f"{BASE}/{name}", "wb", options={"part_size": 5 << 20, **options})
    file.write(DATA)
    while not list(storagekit.uploads(f"{BASE}/{name}")):
        time.sleep(0.01)
    return file

def drops():
    begin("never-dropped")

def keeps():
    kept.append(begin("never-kept"))

def is_short_of_time():
    with begin("never-timed", timeout=60):  # its end is left to a thread of the library
        sys.exit(0)

def keeps_in_a_pool():
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context()) as pool:
        pool.submit(keeps).result()

def goes_on_in_a_thread():
    keeps()
    pool = concurrent.futures.ThreadPoolExecutor(1)  # whose threads end only when the process has begun to
    pool.submit(len, "")
    kept.append(pool)
    def finish(main):
        with begin("written"):
            main.join(0.5)
    threading.Thread(target=finish, args=[threading.current_thread()]).start()

def context():
    return multiprocessing.get_context(os.environ["METHOD"])

def main():
    begin("before").close()
    for work in (drops, keeps, is_short_of_time, keeps_in_a_pool, goes_on_in_a_thread):
        child = context().Process(target=work)
        child.start()
        child.join(60)
        assert child.exitcode == 0, (work, child.exitcode)
    print(sorted(storagekit.listdir(BASE)), [*storagekit.uploads(BASE)])

if __name__ == "__main__":
    main()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_that_end_with_unfinished_writers(rclone: S3Server, tmp_path: Path, method: str) -> None:
    (tmp_path / "program.py").write_text(WORKERS)
    ran = subprocess.run(
        [sys.executable, "-W", "always::ResourceWarning", str(tmp_path / "program.py")],
        env=rclone.environment() | {"BASE": f"s3://{rclone.new_bucket()}", "METHOD": method},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "['before', 'written'] []\n", ran.stderr
    # Of one that was dropped and three that were kept; whoever left the ``with`` block knows.
    assert ran.stderr.count("ResourceWarning: unclosed, not published") == 4, ran.stderr
    assert "Traceback" not in ran.stderr
