"""The plain way to the objects, by botocore: to compare what a peer wrote, to clean up, to fill a bucket.

    python -m benchmarks.store upload TASK     # the files of the task's folder, below its prefix
    python -m benchmarks.store remove TASK     # everything below its prefix
    python -m benchmarks.store credentials     # what boto's chain finds, as the variables of an environment

botocore is in every environment: storagekit needs it, and so do most of the others.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.peers.base import Place
from benchmarks.task import Task

__all__ = ["Store"]

# Many small objects go to a store far away, and the requests of a batch are independent.
UPLOADS = 32
# S3's own limit of one request.
BATCH = 1000


class Store:
    """The objects of a place, past every peer and every delay."""

    def __init__(self, place: Place) -> None:
        import botocore.session
        from botocore.config import Config

        self._place = place
        self._client = botocore.session.get_session().create_client(
            "s3",
            endpoint_url=place.plain_endpoint,
            region_name=place.region,
            aws_access_key_id=place.access_key,
            aws_secret_access_key=place.secret_key,
            aws_session_token=place.token,
            config=Config(max_pool_connections=UPLOADS, retries={"mode": "standard", "max_attempts": 5}),
        )

    def open(self, key: str) -> Any:
        """The body of an object, with ``read``."""
        answer = self._client.get_object(Bucket=self._place.bucket, Key=self._place.key(key))
        return answer["Body"]

    def put(self, key: str, data: bytes) -> None:
        """Write an object."""
        self._client.put_object(Bucket=self._place.bucket, Key=self._place.key(key), Body=data)

    def upload(self, folder: Path) -> None:
        """Every file below *folder*."""
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]

        def send(path: Path) -> None:
            key = self._place.key(path.relative_to(folder).as_posix())
            # One PutObject takes up to 5 GiB, and no object of ours is larger.
            with path.open("rb") as file:
                self._client.put_object(Bucket=self._place.bucket, Key=key, Body=file)

        with ThreadPoolExecutor(UPLOADS) as pool:
            for _ in pool.map(send, files):
                pass

    def delete_all(self, prefix: str) -> None:
        """Remove every object below *prefix*."""
        bucket, prefix = self._place.bucket, self._place.key(prefix)
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for page in pages:
            keys = [{"Key": entry["Key"]} for entry in page.get("Contents", ())]
            for start in range(0, len(keys), BATCH):
                batch = {"Objects": keys[start : start + BATCH], "Quiet": True}
                self._client.delete_objects(Bucket=bucket, Delete=batch)

    def end_uploads(self) -> None:
        """End the uploads below the place's prefix that were not finished: a peer that is stopped leaves them."""
        bucket, prefix = self._place.bucket, self._place.prefix
        for page in self._client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
            for upload in page.get("Uploads", ()):
                self._client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    if arguments[0] == "credentials":
        print(json.dumps(_credentials()))
        return
    task = Task.from_json(arguments[1])
    store = Store(task.place())
    if arguments[0] == "upload":
        store.upload(Path(task.folder))
    elif arguments[0] == "remove" and task.prefix:  # never a whole bucket
        store.delete_all("")
        store.end_uploads()


def _credentials() -> dict[str, str]:
    """The credentials that boto's usual chain finds, for libraries whose own chains are shorter."""
    import botocore.session

    session = botocore.session.get_session()
    found = session.get_credentials()
    if found is None:
        raise SystemExit("no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")
    frozen = found.get_frozen_credentials()
    variables = {"AWS_ACCESS_KEY_ID": frozen.access_key, "AWS_SECRET_ACCESS_KEY": frozen.secret_key}
    if frozen.token:
        variables["AWS_SESSION_TOKEN"] = frozen.token
    if region := session.get_config_variable("region"):
        variables["AWS_REGION"] = variables["AWS_DEFAULT_REGION"] = region
    return variables


if __name__ == "__main__":
    main(sys.argv[1:])
