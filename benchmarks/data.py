"""The objects that the workloads read: made from a seed, so that they are the same everywhere.

    python -m benchmarks.data FOLDER --sizes quick --only big,zip

Every block differs from every other one, and says where it belongs: bytes from a wrong place are found out.
"""

from __future__ import annotations

import argparse
import io
import random
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

__all__ = ["FULL", "MAKERS", "QUICK", "TINY", "Sizes", "make"]

MiB = 1024 * 1024
SEED = 4


@dataclass(frozen=True)
class Sizes:
    """How large everything is: bytes where nothing else is said."""

    big: int
    whole: int
    text: int
    archive: int
    members: int
    """Files in the archive."""

    rows: int
    """Rows of the table, of 20 columns of 8 bytes."""

    each: int
    """Each of the eight objects that eight threads read."""

    shared: int
    """The one object that they all read."""

    sparse: int
    small: int
    """Objects of 16 KiB."""

    keys: int
    """Keys to list, a hundred in a folder."""

    written: int
    writes: int
    """Small objects to write."""

    reads: int
    """Random reads."""

    @property
    def read_first(self) -> int:
        """What is read of the big object before it is closed."""
        return min(10 * MiB, self.big // 4)


FULL = Sizes(
    big=1024 * MiB,
    whole=256 * MiB,
    text=256 * MiB,
    archive=256 * MiB,
    members=2000,
    rows=1_300_000,
    each=128 * MiB,
    shared=192 * MiB,
    sparse=64 * MiB,
    small=2000,
    keys=20_000,
    written=256 * MiB,
    writes=500,
    reads=60,
)

# For a smoke test: it shows that everything works, and its figures mean nothing.
QUICK = Sizes(
    big=48 * MiB,
    whole=16 * MiB,
    text=8 * MiB,
    archive=16 * MiB,
    members=200,
    rows=100_000,
    each=8 * MiB,
    shared=24 * MiB,
    sparse=16 * MiB,
    small=100,
    keys=3000,
    written=24 * MiB,
    writes=50,
    reads=10,
)

SMALL_SIZE = 16 * 1024
THREADS = 8
COLUMNS = 20
PER_FOLDER = 100
# What a member's header takes in a tar archive, whose sizes are those of the zip archive too.
TAR_HEADER = 512

# Read before the timer starts, so that clients are made and connected.
TINY = "tiny.bin"

_source = random.Random(SEED).randbytes(16 * MiB)


def _block(number: int, salt: int, size: int) -> bytes:
    """At most a MiB that no other *number* and *salt* have."""
    start = (number * 104_729 + salt * 7919) % (len(_source) - MiB)
    return (number.to_bytes(4, "big") + salt.to_bytes(4, "big") + _source[start : start + size])[:size]


def blocks(size: int, salt: int) -> Iterator[bytes]:
    """An object of *size* bytes, a MiB at a time."""
    for number, start in enumerate(range(0, size, MiB)):
        yield _block(number, salt, min(MiB, size - start))


def _write(path: Path, chunks: Iterator[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.writelines(chunks)


def _plain(key: str, field: str, salt: int) -> Callable[[Path, Sizes], None]:
    return lambda folder, sizes: _write(folder / key, blocks(getattr(sizes, field), salt))


def _tiny(folder: Path, sizes: Sizes) -> None:
    _write(folder / TINY, iter([_block(0, 1, 1024)]))


def _lines(size: int) -> Iterator[bytes]:
    """Lines of about 80 characters, each with its number."""
    words = [_source[start : start + 6].hex() for start in range(0, 36_000, 9)]
    made = number = 0
    while made < size:
        lines = []
        for number in range(number + 1, number + 10_001):  # noqa: B020 (it goes on where the last ten thousand ended)
            picked = ",".join(words[number * prime % len(words)] for prime in (1, 7, 13, 29, 31))
            lines.append(f"{number:09},{picked}\n")
        data = "".join(lines).encode()[: size - made]
        made += len(data)
        yield data


def _member(number: int, sizes: Sizes) -> tuple[str, bytes]:
    return f"folder/{number:05}.bin", _block(number, 2, sizes.archive // sizes.members - 2 * TAR_HEADER)


def _tar(folder: Path, sizes: Sizes) -> None:
    with tarfile.open(folder / "members.tar", "w") as archive:
        for number in range(sizes.members):
            name, data = _member(number, sizes)
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def _zip(folder: Path, sizes: Sizes) -> None:
    with zipfile.ZipFile(folder / "members.zip", "w", zipfile.ZIP_STORED) as archive:
        for number in range(sizes.members):
            name, data = _member(number, sizes)
            # With the time that ZipInfo has of itself, 1980: the same bytes every time.
            archive.writestr(zipfile.ZipInfo(name), data)


def _parquet(folder: Path, sizes: Sizes) -> None:
    """A table of random numbers in ten row groups: a column of a group is one run of bytes."""
    import numpy
    import pyarrow
    from pyarrow import parquet

    source = numpy.random.default_rng(SEED)
    table = pyarrow.table({f"c{number:02}": source.random(sizes.rows) for number in range(COLUMNS)})
    parquet.write_table(
        table, folder / "table.parquet", row_group_size=sizes.rows // 10, compression="none", use_dictionary=False
    )


def _each(folder: Path, sizes: Sizes) -> None:
    for number in range(THREADS):
        _write(folder / f"each/{number}.bin", blocks(sizes.each, 10 + number))


def _small(folder: Path, sizes: Sizes) -> None:
    for number in range(sizes.small):
        _write(folder / f"small/{number:05}.bin", iter([_block(number, 3, SMALL_SIZE)]))


def _keys(folder: Path, sizes: Sizes) -> None:
    for number in range(sizes.keys):
        _write(folder / f"keys/{number // PER_FOLDER:03}/{number:05}.txt", iter([b"x"]))


MAKERS: dict[str, Callable[[Path, Sizes], None]] = {
    "tiny": _tiny,
    "big": _plain("big.bin", "big", 4),
    "whole": _plain("whole.bin", "whole", 5),
    "shared": _plain("shared.bin", "shared", 6),
    "sparse": _plain("sparse.bin", "sparse", 7),
    "text": lambda folder, sizes: _write(folder / "lines.txt", _lines(sizes.text)),
    "zip": _zip,
    "tar": _tar,
    "parquet": _parquet,
    "each": _each,
    "small": _small,
    "keys": _keys,
}
"""By the name that a workload needs it by."""


def make(folder: Path, sizes: Sizes, names: list[str]) -> None:
    """Make the objects of these names as files below *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        MAKERS[name](folder, sizes)


def needed(sizes: Sizes, names: list[str]) -> int:
    """About how many bytes they take."""
    of_name = {
        "text": sizes.text,
        "zip": sizes.archive,
        "tar": sizes.archive,
        "parquet": sizes.rows * COLUMNS * 8,
        "each": sizes.each * THREADS,
        "small": sizes.small * SMALL_SIZE,
        "keys": sizes.keys * 4096,  # a file takes a page
        "tiny": 4096,
    }
    plain = {field.name: getattr(sizes, field.name) for field in fields(sizes)}
    return sum(of_name[name] if name in of_name else plain[name] for name in names)


def main() -> None:
    """Make what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data", description="Make the objects to read.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", choices=["full", "quick"], default="full")
    parser.add_argument("--only", default=",".join(MAKERS), help="names, separated by commas")
    given = parser.parse_args()
    make(given.folder, FULL if given.sizes == "full" else QUICK, given.only.split(","))


if __name__ == "__main__":
    main()
