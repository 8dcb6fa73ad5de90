"""What one process is told to do: one workload with one peer, as the only argument of its command line.

No secret is in it: credentials are in the environment.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.data import Sizes
from benchmarks.peers.base import Place

__all__ = ["Task"]


@dataclass(frozen=True)
class Task:
    """One workload with one peer."""

    peer: str
    workload: str
    endpoint: str
    plain_endpoint: str
    """The same objects without delays, or the same endpoint again."""

    control: str | None
    """Whom to ask for counts: the simulator, where the endpoint is one."""

    bucket: str
    prefix: str
    folder: str
    scratch: str
    sizes: Sizes
    thorough: bool = False
    """Compare every byte; the time then means nothing."""

    def place(self) -> Place:
        """Where the objects are, with the credentials of the environment."""
        return Place(
            endpoint=self.endpoint,
            plain_endpoint=self.plain_endpoint,
            bucket=self.bucket,
            prefix=self.prefix,
            region=os.environ["AWS_DEFAULT_REGION"],
            access_key=os.environ["AWS_ACCESS_KEY_ID"],
            secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
            token=os.environ.get("AWS_SESSION_TOKEN"),
            folder=Path(self.folder),
            scratch=Path(self.scratch),
        )

    def to_json(self) -> str:
        """For a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Task:
        """What ``to_json`` wrote."""
        values = json.loads(text)
        return cls(**{**values, "sizes": Sizes(**values["sizes"])})
