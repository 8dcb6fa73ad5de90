"""``--s3-bucket B``, alone or with ``--s3-endpoint URL``: the suite in a bucket of somebody's own.

Credentials, region and profile come from where boto3 looks for them, or from the driver's options, for the driver
and for the second client alike, which is boto3 alone. Everything happens below one prefix of the run; no bucket is
created or deleted, so the clauses that need a container of their own are skipped. Clean-up asks boto3 and not the
driver under test.

What else a target would say is asked before the run: whether the server checks secrets, and whether it tells that
a bucket does not exist. Both questions read, and change nothing.
"""

from __future__ import annotations

import socket
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from storagekit_conformance.finding import TargetError
from storagekit_conformance.given_targets import PREFIX, GivenPlace
from storagekit_conformance.s3_target import S3Client
from storagekit_conformance.target import Root, Target

__all__ = ["GivenBucket"]

# One test lists some thousands of objects, and a request to a distant server takes a tenth of a second.
_DELETING_THREADS = 16
# Statuses of a server that does not know the secret: 400 is what some say to a signature that they cannot read.
_DENIED = (400, 401, 403)
# And of one that does not know a listing.
_UNKNOWN = (400, 405, 501)
_NO_UPLOAD = "NoSuchUpload"
# The options that are credentials, each with the variable in which boto3 looks for it.
_CREDENTIALS = {
    "aws_access_key_id": "AWS_ACCESS_KEY_ID",
    "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "aws_session_token": "AWS_SESSION_TOKEN",
}
# What of the options the second client takes as a text.
_TEXTS = (*_CREDENTIALS, "region_name", "profile", "addressing_style", "ca_bundle")


@dataclass
class GivenBucket(GivenPlace):
    """A prefix of a bucket that exists."""

    bucket: str
    endpoint: str | None = None
    """None: Amazon's, or what the environment and the profile say."""
    options: Mapping[str, object] = field(default_factory=dict, repr=False)
    """More options of the driver."""
    run: str = field(default_factory=lambda: PREFIX + uuid.uuid4().hex[:12])
    checks_secrets: bool = False
    tells_missing: bool = False
    """The server says of a bucket that it does not exist, where others only refuse to speak of it."""
    _client: Any = field(default=None, init=False, repr=False)
    _begun: bool = field(default=False, init=False, repr=False)
    """Something was written, or may have been."""

    def __post_init__(self) -> None:
        # Where the driver goes, the look before the run, the second client and the clean-up have to go.
        if "endpoint_url" in self.options:
            raise TargetError("--s3-endpoint says where the bucket of --s3-bucket is, not --option endpoint_url")

    def target(self, name: str) -> Target:
        return Target(name, self.root, session=self.session)

    @contextmanager
    def session(self) -> Iterator[None]:
        """One boto3 client for a process's tests: making one takes longer than most tests."""
        self._client = self._boto()
        try:
            yield
        finally:
            self._client.close()
            self._client = None

    @contextmanager
    def root(self) -> Iterator[Root]:
        """A fresh prefix below that of the run."""
        from botocore.exceptions import BotoCoreError, ClientError

        prefix = f"{self.run}/{uuid.uuid4().hex[:12]}/"
        options = self._driver_options()
        # Bound and not listening: nobody else gets the port, and connecting to it is refused.
        with socket.socket() as dead:
            dead.bind(("127.0.0.1", 0))
            try:
                yield Root(
                    f"s3://{self.bucket}/{prefix.removesuffix('/')}",
                    options=options,
                    client=S3Client(self._client, self.bucket, prefix),
                    shared=True,
                    secrets={name: variable for name, variable in _CREDENTIALS.items() if self.options.get(name)},
                    denied={**options, **self._wrong_secret()} if self.checks_secrets else None,
                    unreachable={**options, "endpoint_url": f"http://127.0.0.1:{dead.getsockname()[1]}"},
                    missing_container=f"s3://{_absent_bucket()}" if self.tells_missing else None,
                )
            finally:
                try:
                    self._remove(self._client, prefix)
                except (BotoCoreError, ClientError):
                    pass  # all that is left is removed, or told of, at the end of the run

    def probe(self) -> dict[str, object]:
        from botocore.exceptions import BotoCoreError, ClientError

        for name in _TEXTS:
            if not isinstance(self.options.get(name), str | None):
                raise TargetError(f"the option {name} must be a text (s3://{self.bucket})")
        try:
            self._boto(patient=False).list_objects_v2(Bucket=self.bucket, Prefix=self.run + "/", MaxKeys=1)
            boto = self._boto()
            self._write(boto)
            boto.delete_object(Bucket=self.bucket, Key=f"{self.run}/probe")
            self.checks_secrets = self._refuses_wrong_secret()
            self.tells_missing = self._tells_missing(boto)
        # Values that botocore does not take, as a bucket's name, are ValueErrors there.
        except (BotoCoreError, ClientError, ValueError) as error:
            raise TargetError(f"{error} (s3://{self.bucket})") from error
        return {"run": self.run, "checks_secrets": self.checks_secrets, "tells_missing": self.tells_missing}

    def _write(self, boto: Any) -> None:
        from botocore.exceptions import ClientError

        self._begun = True
        try:
            boto.put_object(Bucket=self.bucket, Key=f"{self.run}/probe", Body=b"written before the run")
        except ClientError as error:
            # A refusal is an answer, and nothing was written; after a server's failure it may have been.
            self._begun = _status_of(error) >= 500
            raise

    def learn(self, found: Mapping[str, object]) -> None:
        self.run = str(found["run"])
        self.checks_secrets, self.tells_missing = bool(found["checks_secrets"]), bool(found["tells_missing"])

    def clear(self) -> str | None:
        if not self._begun:
            return None
        place = f"s3://{self.bucket}/{self.run}/"
        try:
            boto = self._boto()
            try:
                left = self._remove(boto, self.run + "/")
            finally:
                boto.close()
        # The listing itself has failed. Whatever it was, the run's results are not to be lost for it.
        except Exception as error:
            return f"left behind: {place} ({error})"
        if not left:
            return None
        counts = Counter(what for what, _ in left)
        told = ", ".join(f"{what} ({number})" for what, number in counts.items())
        return f"left behind: {told} below {place} ({left[0][1]})"

    def _driver_options(self) -> dict[str, object]:
        return {**self.options, **({"endpoint_url": self.endpoint} if self.endpoint else {})}

    def _session(self) -> Any:
        """A boto3 session with the credentials that the driver finds."""
        import boto3

        given = {name: self.options[name] for name in ("region_name", *_CREDENTIALS) if name in self.options}
        return boto3.session.Session(profile_name=self.options.get("profile"), **given)

    def _boto(self, *, patient: bool = True, **credentials: Any) -> Any:
        """A boto3 client that goes where the driver goes, made without any of the driver's code.

        One that is not *patient* tells within seconds that nobody answers: for the first question.
        """
        from botocore import UNSIGNED
        from botocore.config import Config

        settings: dict[str, Any] = {
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
            "connect_timeout": 5,
            "read_timeout": 60 if patient else 20,
            "retries": {"mode": "standard", "total_max_attempts": 3 if patient else 1},
            "max_pool_connections": 2 * _DELETING_THREADS,
        }
        if style := self.options.get("addressing_style"):
            settings["s3"] = {"addressing_style": style}
        if self.options.get("anonymous"):
            settings["signature_version"] = UNSIGNED
        return self._session().client(
            "s3",
            endpoint_url=self.endpoint,
            verify=False if self.options.get("verify") is False else self.options.get("ca_bundle"),
            config=Config(**settings),
            **credentials,
        )

    def _wrong_secret(self) -> dict[str, Any]:
        """The access key that boto3 finds, with a secret that is not its own."""
        credentials = self._session().get_credentials()
        if credentials is None or self.options.get("anonymous"):
            return {}
        return {"aws_access_key_id": credentials.access_key, "aws_secret_access_key": "not-the-secret"}

    def _refuses_wrong_secret(self) -> bool:
        wrong = self._wrong_secret()
        return bool(wrong) and _status(self._boto(**wrong), self.bucket, self.run) in _DENIED

    def _tells_missing(self, boto: Any) -> bool:
        return _status(boto, _absent_bucket(), self.run) == 404

    def _remove(self, boto: Any, prefix: str) -> list[tuple[str, BaseException]]:
        """Remove every key, version and unfinished upload below *prefix*; what would not go, with the error."""
        assert prefix.startswith(self.run + "/"), "only what the run made is removed"
        going: list[tuple[str, Future[Any]]] = []
        unlisted: list[tuple[str, BaseException]] = []

        def remove(threads: ThreadPoolExecutor, what: str, method: Any, **request: object) -> None:
            going.append((what, threads.submit(method, Bucket=self.bucket, **request)))

        with ThreadPoolExecutor(_DELETING_THREADS) as threads:
            for found in _pages(boto, "list_objects_v2", self.bucket, prefix, "Contents"):
                remove(threads, "objects", boto.delete_object, Key=found["Key"])
        # Where the bucket keeps versions, deleting has only hidden them; many servers do not know the question.
        with ThreadPoolExecutor(_DELETING_THREADS) as threads:
            for list_name in ("Versions", "DeleteMarkers"):
                for found in _pages_if_any(boto, "list_object_versions", self.bucket, prefix, list_name, unlisted):
                    version = found.get("VersionId", "null")
                    # The version without a number is the object itself, which has gone, or was counted, above. A
                    # marker without one is what deleting leaves where the keeping of versions was suspended.
                    if version != "null" or list_name == "DeleteMarkers":
                        remove(threads, "versions", boto.delete_object, Key=found["Key"], VersionId=version)
            for found in _pages_if_any(boto, "list_multipart_uploads", self.bucket, prefix, "Uploads", unlisted):
                remove(threads, "uploads", boto.abort_multipart_upload, Key=found["Key"], UploadId=found["UploadId"])
        failed = [(what, error) for what, future in going if (error := future.exception()) is not None]
        return [(what, error) for what, error in failed if _code_of(error) != _NO_UPLOAD] + unlisted


def _pages(boto: Any, operation: str, bucket: str, prefix: str, list_name: str) -> Iterator[dict[str, Any]]:
    """What a listing tells below *prefix*, and nothing else, whatever the server answers."""
    for page in boto.get_paginator(operation).paginate(Bucket=bucket, Prefix=prefix):
        yield from (found for found in page.get(list_name, ()) if found["Key"].startswith(prefix))


def _pages_if_any(
    boto: Any, operation: str, bucket: str, prefix: str, list_name: str, unlisted: list[tuple[str, BaseException]]
) -> Iterator[dict[str, Any]]:
    """As ``_pages``; nothing from a server that does not know the listing. One that fails goes to *unlisted*."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield from _pages(boto, operation, bucket, prefix, list_name)
    except (BotoCoreError, ClientError) as error:
        # rclone's server says so of the listing where no upload was ever begun.
        if _code_of(error) == _NO_UPLOAD:
            return
        if not (isinstance(error, ClientError) and _status_of(error) in _UNKNOWN):
            unlisted.append((f"unlisted {list_name}", error))


def _status(boto: Any, bucket: str, prefix: str) -> int:
    """The HTTP status of a listing in *bucket*."""
    from botocore.exceptions import ClientError

    try:
        answer: Mapping[str, Any] = boto.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
    except ClientError as error:
        return _status_of(error)
    return int(answer["ResponseMetadata"]["HTTPStatusCode"])


def _status_of(error: Any) -> int:
    """The HTTP status of a ``ClientError``."""
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def _code_of(error: BaseException) -> str | None:
    """The store's word for an error; None for one that is not the store's."""
    response = getattr(error, "response", None)
    return response.get("Error", {}).get("Code") if isinstance(response, dict) else None


def _absent_bucket() -> str:
    return f"storagekit-absent-{uuid.uuid4().hex[:12]}"
