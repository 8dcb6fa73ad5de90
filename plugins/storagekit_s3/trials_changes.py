"""Trials of changes: which conditions the server decides, what a multipart upload is worth, and whether copies copy."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

from storagekit import errors
from storagekit.driver import Absent, Condition, Matches
from storagekit.findings import Finding
from storagekit.location import Location
from storagekit_s3.api import Attributes, Part, Source, Written
from storagekit_s3.errors import status_of, store_code_of
from storagekit_s3.examining import Bench, Outcome, Trial
from storagekit_s3.options import MIN_PART_SIZE

__all__ = ["TRIALS"]

# Writers that create one object at the same moment.
RACERS = 8
# What no object has as its ETag.
NO_ETAG = "0" * 32


def create_only(bench: Bench) -> Iterator[Finding]:
    """PutObject under If-None-Match: *."""
    topic, where = "PUT if absent (If-None-Match: *)", bench.at("absent")
    new = bench.attempt(lambda: bench.put("absent", b"first", Absent()))
    if not new.accepted:
        yield bench.judge("put_absent", topic, False, f"{new}, though nothing was there")
        return
    again = bench.attempt(lambda: bench.put("absent", b"second", Absent()))
    if not again.unsatisfied:
        seen = "ignored: it overwrites" if not bench.holds(where, b"first") else str(again)
        yield bench.judge("put_absent", topic, False, seen)
        return
    won = _race(bench)
    seen = f"412, the object is kept; of {RACERS} at one moment {won} won"
    yield bench.judge("put_absent", topic, won == 1 and bench.holds(where, b"first"), seen)


def _race(bench: Bench) -> int:
    gate, won = threading.Barrier(RACERS), []
    where = bench.at("raced")

    def run(number: int) -> None:
        gate.wait()
        if bench.attempt(lambda: bench.api.put(where, b"%d" % number, Attributes(), Absent())).accepted:
            won.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(RACERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(won)


def replace_only(bench: Bench) -> Iterator[Finding]:
    """PutObject under If-Match."""
    topic, where = "PUT if unchanged (If-Match)", bench.at("matches")
    bench.put("matches", b"first")
    other = bench.attempt(lambda: bench.put("matches", b"second", Matches(NO_ETAG)))
    if other.accepted:
        yield bench.judge("put_matches", topic, False, "ignored: another version is overwritten")
        return
    etag = bench.api.head(where).etag or NO_ETAG
    same = bench.attempt(lambda: bench.put("matches", b"third", Matches(etag)))
    works = other.unsatisfied and same.accepted and bench.holds(where, b"third")
    yield bench.judge("put_matches", topic, works, _both(other, same))


def _both(other: Outcome[object], same: Outcome[object]) -> str:
    refused = "412 for another version" if other.unsatisfied else f"{other} for another version"
    return f"{refused}, {same} for the one that is there"


def _upload(bench: Bench, where: Location, *bodies: bytes, condition: Condition = None) -> Outcome[Written]:
    """Upload *bodies* as parts and complete them under *condition*."""
    upload_id = bench.begin(where)
    parts = [
        Part(number, bench.api.put_part(where, upload_id, number, body) or "") for number, body in enumerate(bodies, 1)
    ]
    return bench.attempt(lambda: bench.api.complete_upload(where, upload_id, parts, condition))


def complete_conditions(bench: Bench) -> Iterator[Finding]:
    """CompleteMultipartUpload under a condition."""
    topic, where = "Complete if absent (If-None-Match: *)", bench.at("complete-absent")
    new = _upload(bench, where, b"first", condition=Absent())
    if not new.accepted:
        yield bench.judge("complete_absent", topic, False, f"{new}, though nothing was there")
    else:
        again = _upload(bench, where, b"second", condition=Absent())
        works = again.unsatisfied and bench.holds(where, b"first")
        seen = "412, the object is kept" if works else "ignored: it overwrites" if again.accepted else str(again)
        yield bench.judge("complete_absent", topic, works, seen)
    topic, where = "Complete if unchanged (If-Match)", bench.at("complete-matches")
    bench.put("complete-matches", b"first")
    other = _upload(bench, where, b"second", condition=Matches(NO_ETAG))
    if other.accepted:
        yield bench.judge("complete_matches", topic, False, "ignored: another version is overwritten")
        return
    etag = bench.api.head(where).etag or NO_ETAG
    same = _upload(bench, where, b"third", condition=Matches(etag))
    works = other.unsatisfied and same.accepted and bench.holds(where, b"third")
    yield bench.judge("complete_matches", topic, works, _both(other, same))


def delete_condition(bench: Bench) -> Iterator[Finding]:
    """DeleteObject under If-Match."""
    topic, where = "DELETE if unchanged (If-Match)", bench.at("delete-matches")
    bench.put("delete-matches", b"first")
    other = bench.attempt(lambda: bench.api.delete(where, Matches(NO_ETAG)))
    if not bench.holds(where, b"first"):
        yield bench.judge("delete_matches", topic, False, "ignored: another version is deleted")
        return
    etag = bench.api.head(where).etag or NO_ETAG
    same = bench.attempt(lambda: bench.api.delete(where, Matches(etag)))
    works, seen = other.unsatisfied and same.accepted, _both(other, same)
    # An object that was written in parts has another kind of ETag, which not every server compares with.
    where = bench.at("delete-matches-parts")
    if works and _upload(bench, where, b"a part").accepted:
        etag = bench.api.head(where).etag or NO_ETAG
        parts = bench.attempt(lambda: bench.api.delete(where, Matches(etag)))
        works, seen = parts.accepted, seen + ("" if parts.accepted else f"; {parts} for one that was written in parts")
    yield bench.judge("delete_matches", topic, works, seen)


def multipart(bench: Bench) -> Iterator[Finding]:
    """A multipart upload."""
    where, old = bench.at("multipart"), b"the old object"
    bench.put("multipart", old)
    first, second = os.urandom(MIN_PART_SIZE), os.urandom(1000)
    upload_id = bench.begin(where)
    parts = [
        Part(1, bench.api.put_part(where, upload_id, 1, first) or ""),
        Part(2, bench.api.put_part(where, upload_id, 2, second) or ""),
    ]
    hidden = bench.holds(where, old)
    listed = bench.attempt(lambda: _pending(bench, where))
    written = bench.api.complete_upload(where, upload_id, parts)
    right = bench.holds(where, first + second)
    seen = ("invisible before its end" if hidden else "VISIBLE BEFORE ITS END") + (
        ", then the right bytes" if right else ", then OTHER BYTES"
    )
    harm = "" if hidden and right else "OBJECTS OF MORE THAN A PART ARE NOT WHOLE"
    yield Finding("multipart upload", hidden and right, seen, harm, wrong=not (hidden and right))
    now = bench.api.head(where).etag
    seen = "that of the object" if written.etag == now else "none" if written.etag is None else "another than HEAD's"
    yield bench.judge("complete_etag", "ETag from Complete", written.etag == now and now is not None, seen)
    again = bench.attempt(lambda: bench.api.complete_upload(where, upload_id, parts))
    kept = bench.holds(where, first + second)
    consequence = "after a lost answer the object is looked at, so either will do"
    yield Finding("a repeated Complete", again.accepted, str(again), consequence, wrong=not kept)
    if listed.value is None:
        yield Finding("unfinished uploads", False, str(listed), "uploads() fails: what a killed writer left stays")
    else:
        seen = "listed" if listed.value else "not in the listing"
        use = "" if listed.value else "uploads() does not find what a killed writer left"
        yield Finding("unfinished uploads", listed.value, seen, use)


def _pending(bench: Bench, where: Location) -> bool:
    page = bench.api.uploads_page(bench.scratch, where.path, None)
    return any(entry.key == where.path for entry in page.uploads)


def abandoned(bench: Bench) -> Iterator[Finding]:
    """An aborted upload."""
    where = bench.at("aborted")
    upload_id = bench.begin(where)
    part = Part(1, bench.api.put_part(where, upload_id, 1, b"never seen") or "")
    aborted = bench.attempt(lambda: bench.api.abort_upload(where, upload_id))
    late = bench.attempt(lambda: bench.api.complete_upload(where, upload_id, [part]))
    there = bench.attempt(lambda: bench.api.head(where)).accepted
    if not aborted.accepted:
        harm = "what is given up stays in the store, unseen, and costs room"
        yield Finding("an aborted upload", False, str(aborted), harm)
    else:
        seen = "gone" if not late.accepted and not there else "IT CAN STILL BE COMPLETED"
        yield Finding("an aborted upload", not there, seen, "" if not there else "it is unseen", wrong=there)
    small = bench.attempt(lambda: _small_parts(bench))
    taken = small.value is not None and small.value.accepted
    seen = "accepted" if taken else f"refused ({small.value or small})"
    yield Finding("parts of less than 5 MiB", taken, seen, "never sent, but for the last one")


def _small_parts(bench: Bench) -> Outcome[Written]:
    return _upload(bench, bench.at("small-parts"), b"one", b"two")


def copies(bench: Bench) -> Iterator[Finding]:
    """Copies."""
    data = os.urandom(200_000)
    etag = bench.put("copy-source", data).etag or bench.api.head(bench.at("copy-source")).etag
    source, target = Source(bench.at("copy-source"), etag), bench.at("copy-target")
    made = bench.attempt(lambda: bench.api.copy(target, source, Attributes(), replace=False))
    right = bench.holds(target, data)
    seen = str(made) if not made.accepted else "the same bytes" if right else "OTHER BYTES"
    yield Finding("CopyObject", right, seen, "" if right else "COPIES AND RENAMES FAIL", wrong=not right)
    stale = Source(source.location, NO_ETAG)
    whole = bench.attempt(lambda: bench.api.copy(bench.at("copy-stale"), stale, Attributes(), replace=False))
    where = bench.at("copy-parts")
    upload_id = bench.begin(where)
    asked = Source(source.location, None)
    span = (1000, 150_000)
    part = bench.attempt(lambda: bench.api.copy_part(where, upload_id, 1, asked, span))
    if part.value:
        etag = part.value
        done = bench.attempt(lambda: bench.api.complete_upload(where, upload_id, [Part(1, etag)]))
        works = done.accepted and bench.holds(where, data[slice(*span)])
        seen = "the same bytes" if works else f"{done}, and the bytes are not the source's"
    else:
        works, seen = False, "a part without ETag, which is empty" if part.accepted else str(part)
    yield bench.judge("copy_part", "UploadPartCopy", works, seen)
    where = bench.at("copy-parts-stale")
    other_id = bench.begin(where)
    old = bench.attempt(lambda: bench.api.copy_part(where, other_id, 1, stale, span))
    works = whole.unsatisfied and old.unsatisfied
    seen = f"another version: CopyObject {whole}, UploadPartCopy {old}"
    # Swift compares the ETag of such an object with another one that it has.
    parts = bench.at("copy-source-parts")
    if works and _upload(bench, parts, b"a part").accepted:
        same = Source(parts, bench.api.head(parts).etag)
        made = bench.attempt(lambda: bench.api.copy(bench.at("copy-of-parts"), same, Attributes(), replace=False))
        works, seen = made.accepted, seen + ("" if made.accepted else f"; {made} for the same one, written in parts")
    yield bench.judge("copy_source_condition", "copy if unchanged", works, seen)


def deletes(bench: Bench) -> Iterator[Finding]:
    """Deleting many."""
    names = ["batch/plain", "batch/a<b>&amp;c", "batch/d'\"e"]
    kept = bench.at("batch/kept")
    bench.api.put(kept, b"kept", Attributes())
    for name in names:
        bench.put(name, name.encode())
    batch = [bench.at(name) for name in names]
    reply = bench.attempt(lambda: bench.api.delete_many(batch))
    still = [w.path for w in batch if bench.attempt(lambda where=w: bench.api.head(where)).accepted]  # type: ignore[misc]
    if not bench.holds(kept, b"kept"):
        yield Finding("batch delete", False, "A KEY THAT WAS NOT NAMED IS GONE", "rmtree destroys", wrong=True)
    elif reply.value is None:
        code = f"{status_of(reply.error or errors.invalid('', ''))} {store_code_of(reply.error or OSError()) or ''}"
        yield Finding("batch delete", False, f"refused ({code.strip()})", "objects are deleted one by one")
    else:
        failed = [error.strerror for _, error in reply.value]
        right = not still and not failed
        seen = "gone, with a Content-MD5" if right else f"{len(still)} of {len(batch)} are still there; {failed}"
        yield Finding("batch delete", right, seen, "1000 keys in a request", wrong=bool(still) and not failed)
    yield _spaced_batch(bench)
    missing = bench.attempt(lambda: bench.api.delete(bench.at("never-there")))
    quiet = missing.accepted or (missing.error is not None and status_of(missing.error) == 404)
    yield Finding("deleting what is not there", quiet, str(missing), "remove() looks first", wrong=not quiet)


def _spaced_batch(bench: Bench) -> Finding:
    """A parser of XML that trims its texts takes such a key for another one."""
    spaced, other = bench.at("batch/spaced "), bench.at("batch/spaced")
    for where in (spaced, other):
        bench.api.put(where, where.path.encode(), Attributes())
    reply = bench.attempt(lambda: bench.api.delete_many([spaced]))
    gone = not bench.attempt(lambda: bench.api.head(spaced)).accepted
    right = bench.holds(other, other.path.encode())
    seen = ("the right one is gone" if gone else "it is still there") if right else "ANOTHER KEY IS GONE in its place"
    seen = seen if reply.accepted else f"refused ({reply})"
    return Finding("batch delete of 'key '", gone and right, seen, "such keys are deleted one by one")


TRIALS: tuple[Trial, ...] = (
    create_only,
    replace_only,
    complete_conditions,
    delete_condition,
    multipart,
    abandoned,
    copies,
    deletes,
)
