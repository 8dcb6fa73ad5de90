"""What each kind of S3 server does differently: the one place for quirks.

A server that does not know a condition does not refuse it: it ignores the header and overwrites.
So silence is not support, and every promise below was measured against the server that it is
made for; a server that is not known here is promised nothing, and a write that must not overwrite
is refused there (``conditions`` says which option accepts the risk). The user's bucket is never probed.

A server is told, in this order, by the option ``server``, by the endpoint's host name (Amazon's own),
or by the ``Server`` header of a reply. ``Server: AmazonS3`` at a host that is not Amazon's is an imitation:
``rclone serve s3`` sends it, and it knows no condition at all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from storagekit.driver import Absent, Condition

__all__ = ["DIRECTORY_BUCKET", "PROFILES", "Profile", "is_amazon", "profile_of"]

# The names of Amazon's directory buckets end so; they list in no order.
DIRECTORY_BUCKET = "--x-s3"


@dataclass(frozen=True, slots=True)
class Profile:
    """What one kind of server can be relied on for. The defaults are those of a server that nothing is known of."""

    name: str
    put_absent: bool = False
    """PutObject decides ``If-None-Match: *`` atomically."""
    put_matches: bool = False
    """PutObject decides ``If-Match`` atomically."""
    complete_absent: bool = False
    """CompleteMultipartUpload decides ``If-None-Match: *`` atomically."""
    complete_matches: bool = False
    """CompleteMultipartUpload decides ``If-Match`` atomically."""
    delete_matches: bool = False
    """DeleteObject decides ``If-Match`` atomically."""
    copy_source_condition: bool = False
    """CopyObject and UploadPartCopy refuse a source that no longer matches. Otherwise it is looked at afterwards."""
    copy_part: bool = True
    """UploadPartCopy copies. (An implementation that ignores the source stores an empty part.)"""
    complete_etag: bool = False
    """The ETag that CompleteMultipartUpload answers with is the one that the object then has."""
    etag_md5: bool = False
    """The ETag of an object that was stored whole is the MD5 of its bytes, unless its encryption forbids that."""
    markers: bool = True
    """An empty object with a trailing slash keeps its name, and so marks an empty directory."""
    literal_keys: bool = True
    """Every key is kept as it is, ``//`` and ``..`` included."""
    control_keys: bool = True
    """Keys with control characters, a newline among them, are kept too."""
    file_beside_directory: bool = True
    """``a`` and ``a/b`` can both be objects."""

    def puts(self, condition: Condition) -> bool:
        """Whether PutObject honours *condition*."""
        return self.put_absent if isinstance(condition, Absent) else self.put_matches

    def completes(self, condition: Condition) -> bool:
        """Whether CompleteMultipartUpload honours *condition*."""
        return self.complete_absent if isinstance(condition, Absent) else self.complete_matches


_ALL = Profile(
    "aws",
    put_absent=True,
    put_matches=True,
    complete_absent=True,
    complete_matches=True,
    delete_matches=True,
    copy_source_condition=True,
    complete_etag=True,
    etag_md5=True,
)
# What the best of the others were found to do. If-Match at the end of a multipart upload is ignored by moto,
# and was not measured elsewhere.
_MOST = replace(_ALL, complete_matches=False, copy_source_condition=False)

PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        _ALL,
        # Ceph's gateway, release 20.
        replace(_MOST, name="ceph-tentacle"),
        # Release 16 and, unmeasured and so taken for old, those between: Complete ignores If-None-Match, DELETE
        # ignores If-Match, and PUT with If-Match refuses even the current ETag in its quotes.
        Profile("ceph", put_absent=True, etag_md5=True),
        # Swift refuses conditional writes with 501. Its DELETE decides If-Match, but of an object that was written in
        # parts it takes no ETag, not even the right one.
        Profile("swift", etag_md5=True),
        # rclone serve s3 keeps keys as file names. Its multipart ETag is another one than the object's,
        # and UploadPartCopy stores an empty part.
        Profile(
            "rclone",
            copy_part=False,
            etag_md5=True,
            markers=False,
            literal_keys=False,
            file_beside_directory=False,
        ),
        # moto looks and then completes, and other requests come between: its If-None-Match at the end of a multipart
        # upload refuses what is there already, but of two uploads completed at one moment both may win. It is a
        # server for tests, so it is promised all the same: a refusal would leave the path of the others untested.
        replace(_MOST, name="moto", control_keys=False),
        # LocalStack answers a conditional DELETE with 501.
        replace(_MOST, name="localstack", delete_matches=False),
        # s3rver 3.7, in Node: for tests, and it does not say what it is. It ignores conditions, has no UploadPartCopy,
        # takes keys for paths of files, and stores the frames of aws-chunked uploads as if they were data. Its listings
        # of more than a page miss keys, which no profile mends.
        Profile("s3rver", copy_part=False, literal_keys=False, control_keys=False),
        Profile("generic"),
    )
}

# What the Server header begins with, in lower case.
_BY_HEADER = (
    ("ceph object gateway (tentacle)", "ceph-tentacle"),
    ("ceph object gateway", "ceph"),
    ("werkzeug/", "moto"),
    ("rclone/", "rclone"),
    ("amazons3", "rclone"),
)


def is_amazon(endpoint: str) -> bool:
    """Whether an endpoint is Amazon's own, in any of its partitions."""
    host = (urlsplit(endpoint).hostname or "").lower()
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu", ".api.aws"))


def profile_of(endpoint: str, header: str | None, option: str | None = None) -> Profile | None:
    """The profile of a server; None where a reply with its ``Server`` header is needed and *header* is still None."""
    if option is not None:
        return PROFILES[option]
    if is_amazon(endpoint):
        return PROFILES["aws"]
    if header is None:
        return None
    for beginning, name in _BY_HEADER:
        if header.lower().startswith(beginning):
            return PROFILES[name]
    return PROFILES["generic"]
