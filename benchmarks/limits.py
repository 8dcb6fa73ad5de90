"""What the simulator itself can do: ranges on plain sockets, and small requests one after another.

    python -m benchmarks.limits [--profile raw] [--connections 1,4,16,32] [--size MiB]
    python -m benchmarks.limits --endpoint http://127.0.0.1:9000 --object bucket/key --size 1024

Above these figures nobody can be measured with it. The second form asks another server that wants no signatures, to
compare: the object must be of that size, and ``--small`` names one of 1 KiB.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from benchmarks.machine import ram_disk
from benchmarks.peers.base import MiB
from benchmarks.peers.sockets import Connection, fetch
from benchmarks.places import simulator

# Long enough for some thousand requests, short enough to be run by the way.
REQUEST_SECONDS = 2.0


def cpu_seconds() -> float:
    """This process's own."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def server_cpu(endpoint: str) -> float | None:
    """The simulator's; None for a server that does not tell."""
    try:
        with urllib.request.urlopen(f"{endpoint}/_control/stats") as answer:
            return float(json.load(answer)["cpu_seconds"])
    except (OSError, ValueError):
        return None


def throughput(endpoint: str, name: str, size: int, connections: int, repeats: int) -> str:
    """One line: how fast *connections* ranges at once are."""
    rates, client, server = [], [], []
    for _ in range(repeats):
        before, own, start = server_cpu(endpoint), cpu_seconds(), time.perf_counter()
        fetch(endpoint, name, size, lambda start, view: None, connections)
        seconds = time.perf_counter() - start
        client.append((cpu_seconds() - own) / size * 1e9)
        after = server_cpu(endpoint)
        server.append(0.0 if before is None or after is None else (after - before) / size * 1e9)
        rates.append(size / seconds / 1e6)
    median = statistics.median
    told = f", server {median(server):.2f}" if any(server) else ""
    return (
        f"{connections:3} connections: {median(rates):5.0f} MB/s ({min(rates):.0f}-{max(rates):.0f}), "
        f"CPU s/GB: client {median(client):.2f}{told}"
    )


def requests(endpoint: str, name: str, connections: int) -> str:
    """One line: how many GETs of 1 KiB a second."""
    done = [0] * connections
    end = time.perf_counter() + REQUEST_SECONDS

    def work(number: int) -> None:
        connection, view = Connection(endpoint), memoryview(bytearray(1024))
        while time.perf_counter() < end:
            connection.get(name, 0, view)
            done[number] += 1
        connection.close()

    before = server_cpu(endpoint)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = server_cpu(endpoint)
    told = "" if before is None or after is None else f", server {(after - before) / sum(done) * 1e6:.0f} us CPU each"
    return f"{connections:3} connections: {sum(done) / REQUEST_SECONDS:6.0f} requests/s of 1 KiB{told}"


def measure(endpoint: str, large: str, small: str, size: int, connections: list[int], repeats: int) -> None:
    """Print the lines."""
    for count in connections:
        print(throughput(endpoint, large, size, count, repeats))
    for count in connections:
        print(requests(endpoint, small, count), flush=True)


def main() -> None:
    """Measure the simulator, or what ``--endpoint`` says."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.limits", description="Measure what the simulator can do."
    )
    parser.add_argument("--profile", action="append", help="of the simulator (raw and wan)")
    parser.add_argument("--connections", default="1,4,16,32", help="how many at once")
    parser.add_argument("--size", type=int, default=1024, help="of the large object, in MiB (1024)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--endpoint", help="another server, that wants no signatures")
    parser.add_argument("--object", default="bench/large", help="with --endpoint: the large object, as bucket/key")
    parser.add_argument("--small", default="bench/small", help="with --endpoint: an object of 1 KiB")
    given = parser.parse_args()
    connections = [int(text) for text in given.connections.split(",")]
    if given.endpoint:
        measure(given.endpoint, given.object, given.small, given.size * MiB, connections, given.repeats)
        return
    with tempfile.TemporaryDirectory(dir=ram_disk(), prefix="storagekit-bench-") as name:
        Path(name, "bench").mkdir()
        Path(name, "bench", "small").write_bytes(os.urandom(1024))
        with Path(name, "bench", "large").open("wb") as file:
            for _ in range(given.size):
                file.write(os.urandom(MiB))
        with simulator(Path(name), given.profile or ["raw", "wan"]) as endpoints:
            for profile, endpoint in endpoints.items():
                print(f"# {profile}")
                measure(endpoint, "bench/large", "bench/small", given.size * MiB, connections, given.repeats)


if __name__ == "__main__":
    main()
