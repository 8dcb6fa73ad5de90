"""Ceph's gateway on loopback: a real S3 server of the first rank, with everything behind it.

One monitor, one storage daemon that keeps its objects in memory, and the gateway (``radosgw``), from the
distribution's packages, without systemd, without root and without a manager daemon. It takes about ten seconds to
start and 150 MB of memory, and as much again as is written to it.

>>> from storagekit_conformance.ceph import ceph_server
>>> with ceph_server() as server:  # doctest: +SKIP
...     bucket = server.new_bucket()
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from storagekit_conformance.daemons import START_SECONDS, Daemons, NamedServer, lacking, running, serve
from storagekit_conformance.servers import S3Server, ServerMissingError

__all__ = ["ceph_server", "missing_ceph"]

ACCESS_KEY = "testkey"
SECRET_KEY = "testsecret"

_PROGRAMS = (
    "ceph",
    "ceph-authtool",
    "ceph-mon",
    "ceph-osd",
    "monmaptool",
    "radosgw",
    "radosgw-admin",
)

# Who may do what: this cluster has no secrets. (Without any authentication the gateway of release 16 hangs at start.)
_KEYS = ("mon.", "client.admin", "client.rgw", "osd.0")

_SETTINGS = """\
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{monitor}/0
mon initial members = a
ms bind msgr1 = false
public network = 127.0.0.0/8
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = {folder}/keyring
run dir = {folder}
crash dir = {folder}
# The path of a socket is short, that of a temporary folder may be long.
admin socket =
# Everything goes to standard error, which is the program's log here.
log file =
log to stderr = true
err to stderr = true
debug default = 0

[mon]
mon data = {folder}/mon
mon cluster log file = /dev/null
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 10000
# The disk may be nearly full: little is written to it.
mon data avail crit = 1
mon data avail warn = 2
# Every change of a map waits that long for others to come along; making the gateway's pools takes two dozen of them.
paxos propose interval = 0.05
# One copy, on one device, in one group per pool, is all that there can be.
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off

[osd]
osd data = {folder}/osd
osd objectstore = memstore
# What it says it has; it takes what it needs.
memstore device bytes = 17179869184
# The other scheduler of newer releases measures the disk first.
osd op queue = wpq

[client]
# With Nagle's algorithm, which is the default, every second answer waits 40 ms for a delayed ACK.
rgw frontends = beast endpoint=127.0.0.1:{gateway} tcp_nodelay=1
# The suite makes its buckets one after the other, and the default is 11 shards for each.
rgw override bucket index max shards = 1
"""


def missing_ceph() -> str | None:
    """One line that says what ``ceph_server`` lacks here, or None."""
    if missing := lacking(_PROGRAMS):
        return f"ceph_server needs the programs {', '.join(missing)}: scripts/test-servers installs them"
    return None


@contextmanager
def ceph_server() -> Iterator[S3Server]:
    """Ceph's gateway on loopback, over a monitor and a storage daemon of its own; it checks signatures."""
    if missing := missing_ceph():
        raise ServerMissingError(missing)
    with running("ceph") as endpoint:
        yield NamedServer(endpoint, ACCESS_KEY, SECRET_KEY, kind=None if _says_what_it_is(endpoint) else "ceph")


def _says_what_it_is(endpoint: str) -> bool:
    """Whether replies have a ``Server`` header: newer releases name themselves there, release 16 sends none."""
    connection = HTTPConnection(urlsplit(endpoint).netloc, timeout=START_SECONDS)
    try:
        connection.request("GET", "/")
        return connection.getresponse().getheader("Server") is not None
    finally:
        connection.close()


def _start(daemons: Daemons) -> str:
    """Start the three programs, make a user, and return the gateway's URL."""
    folder, fsid = daemons.folder, str(uuid.uuid4())
    monitor, gateway = daemons.port(), daemons.port()
    conf = daemons.write("ceph.conf", _SETTINGS.format(fsid=fsid, folder=folder, monitor=monitor, gateway=gateway))
    for name in ("mon", "osd"):
        (folder / name).mkdir()
    _make_monitor(daemons, conf, fsid, monitor)
    daemons.start("ceph-mon", "ceph-mon", "-c", conf, "-i", "a", "-f")
    # Each of the following waits until the one before answers.
    device = str(uuid.uuid4())
    daemons.run("ceph", "-c", conf, "osd", "new", device)
    daemons.run("ceph-osd", "-c", conf, "-i", "0", "--mkfs", "--osd-uuid", device)
    daemons.start("ceph-osd", "ceph-osd", "-c", conf, "-i", "0", "-f")
    daemons.start("radosgw", "radosgw", "-c", conf, "-n", "client.rgw", "-f")
    daemons.wait_for_port("radosgw", gateway)
    user = ["--uid", "test", "--display-name", "test", "--access-key", ACCESS_KEY, "--secret", SECRET_KEY]
    daemons.run("radosgw-admin", "-c", conf, "-n", "client.rgw", "user", "create", *user)
    return f"http://127.0.0.1:{gateway}"


def _make_monitor(daemons: Daemons, conf: Path, fsid: str, port: int) -> None:
    """What a monitor begins with: the map of the monitors, which is itself, and everybody's keys."""
    monitors, keyring = daemons.folder / "monmap", daemons.folder / "keyring"
    daemons.run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{port}]", monitors)
    daemons.run("ceph-authtool", "--create-keyring", keyring)
    for name in _KEYS:
        rights = [word for part in ("mon", "osd", "mgr") for word in ("--cap", part, "allow *")]
        daemons.run("ceph-authtool", keyring, "--gen-key", "-n", name, *rights)
    daemons.run("ceph-mon", "-c", conf, "-i", "a", "--mkfs", "--monmap", monitors, "--keyring", keyring)


if __name__ == "__main__":
    serve("ceph", _start)
