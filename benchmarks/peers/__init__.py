"""The libraries that storagekit is measured beside, and how each is set.

The table can be read without any of them: it says which environment a peer lives in (``benchmarks.environments``), and
its module is imported only in the process that runs it.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Literal

from benchmarks.peers.base import Peer, Place

__all__ = ["PEERS", "Entry", "load"]


@dataclass(frozen=True)
class Entry:
    """One line of the table."""

    module: str
    name: str
    """The class."""

    kind: Literal["ours", "variant", "defaults", "tuned", "limit"]
    """``tuned``: with settings that its documentation recommends for such work, rather than as it comes; ``variant``:
    ours with another setting than it comes with, to show what that makes."""

    distribution: str = ""
    """Whose version is told."""

    environment: str = "main"
    simulated: bool = False
    """True: only with the simulator."""


PEERS = {
    "storagekit": Entry("storagekit", "StorageKit", "ours", "storagekit"),
    "storagekit-boto3": Entry("storagekit", "StorageKitBoto3", "variant", "storagekit"),
    "boto3": Entry("boto3", "Boto3", "defaults", "boto3"),
    "boto3-download": Entry("boto3", "Boto3Download", "defaults", "boto3"),
    "boto3-download-t": Entry("boto3", "Boto3DownloadTuned", "tuned", "boto3"),
    "smart_open": Entry("smart_open", "SmartOpen", "defaults", "smart_open"),
    "smart_open-t": Entry("smart_open", "SmartOpenTuned", "tuned", "smart_open"),
    "s3fs": Entry("s3fs", "S3fs", "defaults", "s3fs", "s3fs"),
    "s3fs-t": Entry("s3fs", "S3fsTuned", "tuned", "s3fs", "s3fs"),
    "obstore": Entry("obstore", "Obstore", "defaults", "obstore"),
    "obstore-t": Entry("obstore", "ObstoreTuned", "tuned", "obstore"),
    "opendal": Entry("opendal", "OpenDAL", "defaults", "opendal"),
    "opendal-t": Entry("opendal", "OpenDALTuned", "tuned", "opendal"),
    "pyarrow": Entry("pyarrow", "PyArrow", "defaults", "pyarrow"),
    "pyarrow-t": Entry("pyarrow", "PyArrowTuned", "tuned", "pyarrow"),
    "cloudpathlib": Entry("cloudpathlib", "CloudPathlib", "defaults", "cloudpathlib"),
    "multi-storage-client": Entry("multistorageclient", "MultiStorageClient", "defaults", "multi-storage-client"),
    "multi-storage-client-t": Entry("multistorageclient", "MultiStorageClientTuned", "tuned", "multi-storage-client"),
    "megfile": Entry("megfile", "Megfile", "defaults", "megfile"),
    "megfile-t": Entry("megfile", "MegfileTuned", "tuned", "megfile"),
    "sockets": Entry("sockets", "Sockets", "limit", simulated=True),
    "local": Entry("local", "Local", "limit", simulated=True),
}
"""By the name that a report gives them."""


def load(name: str, place: Place) -> Peer:
    """Import a peer and make it, for a place."""
    entry = PEERS[name]
    module = importlib.import_module(f"benchmarks.peers.{entry.module}")
    peer = getattr(module, entry.name)(place)
    assert isinstance(peer, Peer)
    return peer
