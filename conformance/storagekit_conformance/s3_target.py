"""Targets for S3: one server per process, and in it a prefix of its own for every test.

``s3_target`` makes a target of whatever starts a server (``servers``): its places have a second client,
which is boto3 alone, secrets, an address where nobody answers, and a bucket that does not exist.
"""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

from storagekit_conformance.fault_proxy import fault_proxy
from storagekit_conformance.servers import S3Server
from storagekit_conformance.target import Client, Root, Target

__all__ = ["S3Client", "s3_target"]

# Through the fault proxy nothing is far away: whoever hears nothing for this long, on a busy machine with a slow
# server too, hears nothing more. The clauses about stalls wait for a few of these.
FAULTY_TIMEOUT = 3.0
# The least that S3 allows: a test of several parts is half as long as with the driver's own size.
FAULTY_PART_SIZE = 5 * 1024 * 1024


class S3Client(Client):
    """The keys below a prefix of one bucket, through boto3 alone."""

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self._client, self._bucket, self._prefix = client, bucket, prefix

    def put(self, key: str, data: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=data)

    def get(self, key: str) -> bytes:
        try:
            return bytes(self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)["Body"].read())
        except self._client.exceptions.NoSuchKey:
            raise KeyError(key) from None

    def delete(self, key: str) -> None:
        self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)

    def keys(self) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        return [entry["Key"].removeprefix(self._prefix) for page in pages for entry in page.get("Contents", ())]

    def clear(self) -> None:
        """Remove what a test left behind, as far as the server lets us: it ends with the process anyway."""
        keys = self.keys()
        for start in range(0, len(keys), 1000):  # as many as a batch may have
            batch = [{"Key": self._prefix + key} for key in keys[start : start + 1000]]
            try:
                self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": batch, "Quiet": True})
            except self._client.exceptions.ClientError:
                pass  # keys that the server lists but will not delete


class _S3Host:
    """One server, one bucket, and one boto3 client for a process's tests."""

    def __init__(
        self, serve: Callable[[], AbstractContextManager[S3Server]], transport: str, *, checks_secrets: bool
    ) -> None:
        self._serve = serve
        self._transport = transport
        self._checks_secrets = checks_secrets
        self._server: S3Server | None = None
        self._client: Any = None
        self._bucket = ""

    @contextmanager
    def session(self) -> Iterator[None]:
        """Run the server."""
        with self._serve() as self._server:
            self._client = self._server.client()
            self._bucket = self._server.new_bucket()
            try:
                yield
            finally:
                self._client.close()
                self._server = None

    def root(self) -> AbstractContextManager[Root]:
        """A fresh prefix in the bucket."""
        return self._place(self._bucket, uuid.uuid4().hex)

    def container(self) -> AbstractContextManager[Root]:
        """A fresh bucket."""
        assert self._server is not None
        return self._place(self._server.new_bucket(), "")

    @contextmanager
    def faulty(self) -> Iterator[Root]:
        """A fresh prefix that is reached through a fault proxy; the client and the cleaning up pass it by."""
        assert self._server is not None
        with self.root() as root, fault_proxy(self._server) as (seen, faults):
            hurried = {
                "connect_timeout": FAULTY_TIMEOUT,
                "read_timeout": FAULTY_TIMEOUT,
                "part_size": FAULTY_PART_SIZE,
                "transport": self._transport,
            }
            yield replace(root, options=seen.options() | hurried, faults=faults)

    @contextmanager
    def _place(self, bucket: str, prefix: str) -> Iterator[Root]:
        assert self._server is not None
        client = S3Client(self._client, bucket, prefix and prefix + "/")
        options = self._server.options() | {"transport": self._transport}
        # Bound and not listening: nobody else gets the port, and connecting to it is refused.
        dead = socket.socket()
        dead.bind(("127.0.0.1", 0))
        try:
            yield Root(
                f"s3://{bucket}/{prefix}" if prefix else f"s3://{bucket}",
                options=options,
                client=client,
                shared=True,
                secrets={
                    "aws_access_key_id": "AWS_ACCESS_KEY_ID",
                    "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
                },
                denied=options | {"aws_secret_access_key": "not-the-secret"} if self._checks_secrets else None,
                unreachable=options | {"endpoint_url": f"http://127.0.0.1:{dead.getsockname()[1]}"},
                missing_container=f"s3://storagekit-absent-{uuid.uuid4().hex[:12]}",
            )
        finally:
            dead.close()
            client.clear()


def s3_target(
    name: str,
    serve: Callable[[], AbstractContextManager[S3Server]],
    missing: Callable[[], str | None],
    *,
    checks_secrets: bool,
    gaps: Mapping[str, str],
    unreliable: Mapping[str, str] | None = None,
    transport: str = "wire",
) -> Target:
    """A target over the server that *serve* starts, through one of the driver's two transports and never the other."""
    host = _S3Host(serve, transport, checks_secrets=checks_secrets)
    return Target(
        name,
        host.root,
        container=host.container,
        faulty=host.faulty,
        session=host.session,
        missing=missing,
        gaps=gaps,
        unreliable=unreliable or {},
    )
