"""storagekit: ``open``, ``listdir``, ``stat`` and the rest of ``os``, for ``s3://`` and every other store.

>>> import storagekit
>>> with storagekit.open("memory://box/hello.txt", "w") as f:
...     _ = f.write("hello")
>>> storagekit.listdir("memory://box")
['hello.txt']

The functions are the methods of a default ``Storage``, whose settings come from the environment; make a ``Storage``
for settings of your own. Importing this does no I/O and loads no driver.
"""

from __future__ import annotations

import logging

from storagekit.blocks import CacheInfo
from storagekit.driver import Stat, Traits, Upload
from storagekit.errors import InvalidArgumentError, ObjectChangedError, OutcomeUnknownError
from storagekit.reading import BufferedReader
from storagekit.settings import Settings
from storagekit.stats import StorageStats
from storagekit.storage import Storage, default
from storagekit.tracing import Trace
from storagekit.version import __version__
from storagekit.writing import BinaryEditor, BinaryWriter, TextWriter

__all__ = [
    "BinaryEditor",
    "BinaryWriter",
    "BufferedReader",
    "CacheInfo",
    "InvalidArgumentError",
    "ObjectChangedError",
    "OutcomeUnknownError",
    "Settings",
    "Stat",
    "Storage",
    "StorageStats",
    "TextWriter",
    "Trace",
    "Traits",
    "Upload",
    "__version__",
    "abort_upload",
    "abort_uploads",
    "copy",
    "copyfile",
    "exists",
    "getmtime",
    "getsize",
    "glob",
    "iglob",
    "isdir",
    "isfile",
    "join",
    "listdir",
    "makedirs",
    "mkdir",
    "open",
    "path_exists",
    "presign",
    "read_many",
    "remove",
    "rename",
    "replace",
    "rmdir",
    "rmtree",
    "scandir",
    "stat",
    "touch",
    "trace",
    "unlink",
    "uploads",
    "walk",
    "write_many",
]

# Quiet until the program sets logging up: without any handler Python itself would print warnings.
logging.getLogger(__name__).addHandler(logging.NullHandler())

open = default.open
read_many = default.read_many
write_many = default.write_many

listdir = default.listdir
scandir = default.scandir
walk = default.walk
glob = default.glob
iglob = default.iglob

stat = default.stat
exists = default.exists
path_exists = default.path_exists
isfile = default.isfile
isdir = default.isdir
getsize = default.getsize
getmtime = default.getmtime

mkdir = default.mkdir
makedirs = default.makedirs
rmdir = default.rmdir

remove = default.remove
unlink = default.unlink
rmtree = default.rmtree
rename = default.rename
replace = default.replace
copyfile = default.copyfile
copy = default.copy
touch = default.touch

join = default.join
presign = default.presign
uploads = default.uploads
trace = Trace
abort_upload = default.abort_upload
abort_uploads = default.abort_uploads
