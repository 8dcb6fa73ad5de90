"""OpenStack Swift on loopback, through its own S3 interface: an implementation that shares nothing with Ceph's.

A proxy with the ``s3api`` and ``tempauth`` filters, one server each for accounts, containers and objects, and
memcached, from the distribution's packages, without systemd and without root; no ``/etc/swift`` is read. It
takes about five seconds to start and 250 MB of memory.

Swift answers without a ``Server`` header and looks like nothing that is known, so the options that the server
hands out name it.

>>> from storagekit_conformance.swift import swift_server
>>> with swift_server() as server:  # doctest: +SKIP
...     bucket = server.new_bucket()
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storagekit_conformance.daemons import Daemons, NamedServer, lacking, running, serve
from storagekit_conformance.servers import S3Server, ServerMissingError

__all__ = ["missing_swift", "swift_server"]

# tempauth: the access key is "account:user".
ACCESS_KEY = "test:tester"
SECRET_KEY = "testing"

_PARTS = ("account", "container", "object")
_PROGRAMS = ("memcached", "swift-proxy-server", *(f"swift-{part}-server" for part in _PARTS))

# A program for the Python that Swift is installed in: run one of its servers with our swift.conf, whose place
# is fixed at /etc/swift, where some distributions put one and others none.
_LAUNCH = """
import runpy, sys
from swift.common import utils
utils.SWIFT_CONF_FILE, script = sys.argv[1:3]
sys.argv = sys.argv[2:]
runpy.run_path(script, run_name="__main__")
"""

# The rings, which say where an object lies: here, always in the same place.
_MAKE_RINGS = """
import sys
from swift.common import utils
utils.SWIFT_CONF_FILE = sys.argv[1]
from swift.common.ring import RingBuilder
for part in sys.argv[3:]:
    name, _, port = part.partition("=")
    builder = RingBuilder(4, 1, 0)
    builder.add_dev(dict(region=1, zone=1, ip="127.0.0.1", port=int(port), device="disk", weight=1))
    builder.rebalance()
    builder.get_ring().save(f"{sys.argv[2]}/{name}.ring.gz")
"""

# workers = 0: in the program's own process, so that killing that is enough, and under whatever user that has.
_COMMON = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
swift_dir = {folder}
log_level = WARNING
"""

_STORAGE = """\
devices = {folder}/devices
mount_check = false
disable_fallocate = true
recon_cache_path = {folder}/cache

[pipeline:main]
pipeline = {part}-server

[app:{part}-server]
use = egg:swift#{part}
"""

_PROXY = """\

[pipeline:main]
pipeline = {filters} proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true

[filter:s3api]
use = egg:swift#s3api
location = us-east-1

[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin

[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{memcached}

[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
"""
# In the order in which a request passes them. Those without settings above get a section that names them.
_FILTERS = "catch_errors gatekeeper cache listing_formats s3api tempauth copy slo dlo versioned_writes symlink"
_PLAIN_FILTERS = ("catch_errors", "gatekeeper", "listing_formats", "copy", "slo", "dlo", "symlink")


def missing_swift() -> str | None:
    """One line that says what ``swift_server`` lacks here, or None."""
    if missing := lacking(_PROGRAMS):
        return f"swift_server needs the programs {', '.join(missing)}: scripts/test-servers installs them"
    return None


@contextmanager
def swift_server() -> Iterator[S3Server]:
    """Swift's S3 interface on loopback, over a temporary folder; it checks signatures."""
    if missing := missing_swift():
        raise ServerMissingError(missing)
    with running("swift") as endpoint:
        yield NamedServer(endpoint, ACCESS_KEY, SECRET_KEY, kind="swift")


def _start(daemons: Daemons) -> str:
    """Start the five programs and return the proxy's URL."""
    folder = daemons.folder
    for name in ("devices/disk", "cache"):
        (folder / name).mkdir(parents=True)
    swift_conf = daemons.write("swift.conf", "[swift-hash]\nswift_hash_path_suffix = storagekit\n")
    ports = {part: daemons.port() for part in _PARTS}
    python = _python_of("swift-proxy-server")
    daemons.run(*python, "-c", _MAKE_RINGS, swift_conf, folder, *(f"{part}={port}" for part, port in ports.items()))
    memcached, proxy = daemons.port(), daemons.port()
    # memcached refuses to run as root unless it is told to.
    as_root = ["-u", "root"] if os.geteuid() == 0 else []
    daemons.start("memcached", "memcached", "-l", "127.0.0.1", "-p", str(memcached), "-m", "32", *as_root)
    for part, port in ports.items():
        settings = _COMMON.format(port=port, folder=folder) + _STORAGE.format(part=part, folder=folder)
        _start_server(daemons, python, part, swift_conf, settings)
    settings = _COMMON.format(port=proxy, folder=folder) + _PROXY.format(filters=_FILTERS, memcached=memcached)
    settings += "".join(f"\n[filter:{name}]\nuse = egg:swift#{name}\n" for name in _PLAIN_FILTERS)
    _start_server(daemons, python, "proxy", swift_conf, settings)
    for name, port in {"memcached": memcached, **ports, "proxy": proxy}.items():
        daemons.wait_for_port(name, port)
    return f"http://127.0.0.1:{proxy}"


def _start_server(daemons: Daemons, python: list[str], part: str, swift_conf: Path, settings: str) -> None:
    own = daemons.write(f"{part}-server.conf", settings)
    script = shutil.which(f"swift-{part}-server")
    assert script is not None
    # Verbose: its log goes to standard error instead of the system's.
    daemons.start(part, *python, "-c", _LAUNCH, swift_conf, script, own, "--verbose")


def _python_of(program: str) -> list[str]:
    """The interpreter, with its arguments, that a script's first line names."""
    path = shutil.which(program)
    assert path is not None
    with open(path, encoding="utf-8") as script:
        return script.readline().removeprefix("#!").split()


if __name__ == "__main__":
    serve("swift", _start)
