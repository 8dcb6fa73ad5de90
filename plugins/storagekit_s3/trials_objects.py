"""Trials of single objects: their bytes and ranges, checksums, ETags, headers, and a presigned URL."""

from __future__ import annotations

import base64
import hashlib
import os
import zlib
from collections.abc import Iterator, Mapping

from storagekit.findings import Finding
from storagekit_s3.api import Answer, Asks, Attributes, RangeReply
from storagekit_s3.errors import status_of
from storagekit_s3.examining import Bench, Outcome, Trial, said
from storagekit_s3.routes import Route, Trust
from storagekit_s3.signing import payload_hash

__all__ = ["TRIALS"]

RANGED_BYTES = 200_003
# A checksum is compared, or not, whatever the length.
CHECKED_BYTES = 70_000
# A presigned URL that is valid for the time of the trial. In seconds.
SOON = 60

_CORRUPT = "BYTES ARE CORRUPTED: do not use this server so"
_WIRE_ONLY = "not tried: only the wire can ask, and boto3 is used here"


def ranges(bench: Bench) -> Iterator[Finding]:
    """Ranges."""
    data = os.urandom(RANGED_BYTES)
    bench.put("ranges", data)
    where, wrong, forms = bench.at("ranges"), [], set()
    for start, stop in ((0, 1), (0, 1000), (65_536, 131_072), (100_001, 100_002), (len(data) - 4, len(data))):
        reply = bench.attempt(lambda a=start, b=stop: bench.api.get(where, a, b))  # type: ignore[misc]
        if reply.value is None:
            wrong.append(f"bytes {start} to {stop}: {reply}")
            continue
        reply.value.body.close()
        if start == 0 and reply.value.start == 0 and reply.value.stop > stop:
            forms.add(f"all of it for bytes 0 to {stop}")  # the driver takes what it has asked for
        elif (reply.value.start, reply.value.stop) != (start, stop):
            forms.add(f"bytes {reply.value.start} to {reply.value.stop} in place of {start} to {stop}")
        elif bench.range(where, start, stop) != data[start:stop]:
            wrong.append(f"bytes {start} to {stop}: OTHER BYTES, under the right headers")
    if isinstance(bench.api, Asks):
        answer = bench.api.ask("GetObject", "GET", where, {"range": "bytes=1-4"})
        forms.add(f"status {answer.status}" + (" + Content-Range" if "content-range" in answer.headers else ""))
    seen = ", ".join(sorted(forms))
    if wrong:
        yield Finding("ranges", False, "; ".join(wrong), _CORRUPT, wrong=True)
    elif any(form.startswith("bytes") for form in forms):
        yield Finding("ranges", False, seen, "an error, not wrong bytes: nothing can be read at an offset", wrong=True)
    else:
        yield Finding("ranges", True, f"{seen or 'the right ranges'}; the right bytes at start, middle and end", "")
    past = bench.attempt(lambda: bench.api.get(where, len(data) + 10, len(data) + 20))
    yield Finding("a range past the end", past.value is None, _ranged(past), "never asked for, as sizes are known")
    longer = bench.attempt(lambda: bench.range(where, len(data) - 5, len(data) + 100))
    fits = longer.value == data[-5:]
    seen = "what there is" if fits else f"{longer}, and not what there is"
    yield Finding("a range beyond the end", fits, seen, "asked for only by open(), of short objects")


def empty(bench: Bench) -> Iterator[Finding]:
    """A range of an empty object."""
    bench.put("empty", b"")
    reply = bench.attempt(lambda: bench.api.get(bench.at("empty"), 0, 100))
    works = reply.error is None or status_of(reply.error) == 416
    if reply.error is None or status_of(reply.error) == 416:
        yield Finding("a range of an empty object", works, _ranged(reply), "a HEAD then says that it is empty")
    else:
        yield Finding(
            "a range of an empty object", False, _ranged(reply), "EMPTY OBJECTS CANNOT BE READ: the error is raised"
        )


def _ranged(outcome: Outcome[RangeReply]) -> str:
    reply = outcome.value
    if reply is None:
        return str(outcome)
    reply.body.close()
    return f"accepted, as bytes {reply.start} to {reply.stop}"


def pins(bench: Bench) -> Iterator[Finding]:
    """If-Match on GET."""
    bench.put("pinned", b"this version")
    reply = bench.attempt(lambda: bench.api.get(bench.at("pinned"), 0, 4, etag="0" * 32))
    if reply.value is not None:
        reply.value.body.close()
    seen = "412" if reply.unsatisfied else "ignored" if reply.accepted else str(reply)
    consequence = "the ETag of every answer is compared too, so an open file is one version"
    yield Finding("If-Match on GET", reply.unsatisfied, seen, consequence)


def etags(bench: Bench) -> Iterator[Finding]:
    """ETags."""
    data = os.urandom(1000)
    where = bench.at("etag")
    put = bench.put("etag", data).etag
    head = bench.api.head(where).etag
    page = bench.api.list_page(
        bench.scratch, where.path, delimited=False, limit=10, start_after="", token=None
    )  # one object, as no other name begins so
    listed = next((entry.etag for entry in page.entries if entry.key == where.path), None)
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    kind = "the MD5 of the bytes" if head == md5 else "not the MD5 of the bytes"
    other = [name for name, etag in (("PUT's", put), ("the listing's", listed)) if etag not in (None, head)]
    silent = [name for name, etag in (("PUT", put), ("HEAD", head), ("the listing", listed)) if etag is None]
    seen = kind + (f"; {' and '.join(other)} differs from HEAD's" if other else "; PUT, HEAD and listing agree")
    seen = seen if not silent else f"{kind}; none from {', '.join(silent)}"
    yield bench.judge("etag_md5", "the ETag of an object stored whole", head == md5, kind)
    consequence = "" if head == md5 else "after a lost answer an equal ETag proves nothing: OutcomeUnknownError"
    if head is None:
        yield Finding("ETags", False, seen, "nothing pins a version: a file may change while it is read", wrong=True)
    elif other:
        yield Finding("ETags", False, seen, "identities of the same version differ: if_match fails", wrong=True)
    else:
        yield Finding("ETags", True, seen, consequence)


def checksums(bench: Bench) -> Iterator[Finding]:
    """Checksums of uploads."""
    topics = ("CRC-32 in a header", "a wrong CRC-32", "a wrong Content-MD5", "a wrong payload hash")
    if not isinstance(bench.api, Asks):
        for topic in topics:
            yield Finding(topic, None, _WIRE_ONLY)
        return
    route = getattr(bench.api, "route", None)
    sends = isinstance(route, Route) and route.checksums
    data, other = os.urandom(CHECKED_BYTES), os.urandom(CHECKED_BYTES)
    right = _put(bench, "crc", data, _crc(data))
    kept = right.accepted and bench.holds(bench.at("crc"), data)
    seen = "accepted, the bytes are right" if kept else f"{right}, and the bytes are not what was sent"
    seen = str(right) if not right.accepted else seen
    use = "sent with every upload" if sends else "not sent: the AWS configuration does not ask for it"
    spoilt = (sends and not kept) or (right.accepted and not kept)
    yield Finding(topics[0], kept, seen, use, wrong=spoilt)
    guarded = "damage on the way is found by the server"
    crc = _put(bench, "crc-wrong", data, _crc(other))
    yield _compared(topics[1], crc, guarded if sends else "not relied on: none is sent here")
    md5 = base64.b64encode(hashlib.md5(other, usedforsecurity=False).digest()).decode()
    yield _compared(topics[2], _put(bench, "md5-wrong", data, {"content-md5": md5}), "not relied on: none is sent")
    signed = _put(bench, "hash-wrong", data, {}, payload_hash(other))
    plain = isinstance(route, Route) and route.url.startswith("http://")
    unguarded = "NOTHING but TCP's own sums guards uploads over plain http here; https does"
    use = ("damage on the way is found by the server" if signed.error else unguarded) if plain else "TLS guards uploads"
    yield _compared(topics[3], signed, use)


def framing(bench: Bench) -> Iterator[Finding]:
    """Uploads in chunks (aws-chunked)."""
    topic = "uploads in chunks (aws-chunked)"
    if not isinstance(bench.api, Asks):
        yield Finding(topic, None, _WIRE_ONLY)
        return
    data = os.urandom(CHECKED_BYTES)
    trailer = _crc(data)["x-amz-checksum-crc32"]
    body = b"%x\r\n%s\r\n0\r\nx-amz-checksum-crc32:%s\r\n\r\n" % (len(data), data, trailer.encode())
    headers = {
        "content-encoding": "aws-chunked",
        "x-amz-decoded-content-length": str(len(data)),
        "x-amz-trailer": "x-amz-checksum-crc32",
    }
    framed = _put(bench, "framed", body, headers, "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
    never = "never sent by the wire; by boto3 only over https, where the AWS configuration asks for checksums"
    if not framed.accepted:
        yield Finding(topic, False, str(framed), never)
    elif bench.holds(bench.at("framed"), data):
        yield Finding(topic, True, "understood", never)
    else:
        size = bench.api.head(bench.at("framed")).size
        seen = f"THE FRAMES ARE STORED AS DATA: {len(data)} bytes became {size}"
        advice = "never set request_checksum_calculation=when_supported for this server, in no program"
        yield Finding(topic, False, seen, never, advice=advice)


def _crc(data: bytes) -> dict[str, str]:
    digest = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
    return {"x-amz-sdk-checksum-algorithm": "CRC32", "x-amz-checksum-crc32": digest}


def _put(
    bench: Bench, name: str, body: bytes, headers: Mapping[str, str], payload: str | None = None
) -> Outcome[Answer]:
    asks = bench.api
    assert isinstance(asks, Asks)
    where = bench.at(name)
    return bench.attempt(lambda: asks.ask("PutObject", "PUT", where, headers, body, payload=payload))


def _compared(topic: str, outcome: Outcome[Answer], consequence: str) -> Finding:
    seen = "accepted: it is not compared" if outcome.accepted else f"refused ({outcome})"
    return Finding(topic, not outcome.accepted, seen, consequence)


def headers(bench: Bench) -> Iterator[Finding]:
    """Headers and metadata."""
    metadata = {"Plain": "value", "Mixed-Case": "Two  words", "under_score": "1"}
    given = Attributes(content_type="text/x-doctor", cache_control="max-age=5", metadata=metadata)
    where = bench.at("headers")
    bench.api.put(where, b"with headers", given)
    found = bench.api.head(where).attributes
    lost = [name for name in ("content_type", "cache_control") if getattr(found, name) != getattr(given, name)]
    kept = {name.lower(): text for name, text in metadata.items()}
    lost += [f"metadata {name}" for name, text in kept.items() if found.metadata.get(name) != text]
    seen = "kept" if not lost else f"changed or lost: {', '.join(lost)}"
    if isinstance(bench.api, Asks):
        answer = bench.api.ask("HeadObject", "HEAD", where, {})
        extra = sorted(set(found.metadata) - set(kept))
        seen += f"; added: {', '.join(extra)}" if extra else ""
        seen += "" if answer.headers else "; no headers"
    yield Finding("headers and metadata", not lost, seen, "names are given in lower case everywhere")


def presigned(bench: Bench) -> Iterator[Finding]:
    """A presigned URL."""
    from urllib.error import HTTPError, URLError
    from urllib.request import HTTPSHandler, ProxyHandler, build_opener

    topic, data = "presigned GET", os.urandom(1000)
    bench.put("presigned", data)
    if bench.options.connection.anonymous:
        yield Finding(topic, None, "not tried: there are no credentials to sign with", "presign() needs credentials")
        return
    try:
        url = bench.api.presign(bench.at("presigned"), "GET", SOON)
        connection = bench.options.connection
        # boto3's proxies and ours may differ, so none is used: a URL that needs one is not known to work.
        opener = build_opener(
            ProxyHandler({}), HTTPSHandler(context=Trust(connection.verify, connection.ca_bundle).context())
        )
        with opener.open(url, timeout=connection.read_timeout) as reply:
            got = reply.read(len(data) + 1)
        works, seen = got == data, f"status {reply.status}" + ("" if got == data else ", and other bytes")
    except HTTPError as error:
        works, seen = False, f"refused with status {error.code}"
        error.close()
    except URLError as error:  # its text may have the URL in it, which is a credential for a minute
        works, seen = False, f"no answer ({type(error.reason).__name__})"
    except OSError as error:
        works, seen = False, said(error)
    yield Finding(topic, works, seen, "presign() makes such URLs" if works else "URLs of presign() are of no use here")


TRIALS: tuple[Trial, ...] = (ranges, empty, pins, etags, checksums, framing, headers, presigned)
