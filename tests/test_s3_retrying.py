"""Retrying: pauses, turns, and the one warning."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from s3_scripted import CLOSE, Answer, Asked, Scripted, reply

import storagekit
from storagekit import deadlines
from storagekit.location import Location
from storagekit_s3 import retrying
from storagekit_s3.retrying import BURST, FIRST_DISTANCE, LEAST_DISTANCE, LONGEST_DISTANCE, LONGEST_PAUSE, Retrying

KEY = Location("s3", "box", "key")


class Clock:
    """A time that passes only in sleep."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(retrying, "time", made)
    return made


def test_without_complaints_nobody_waits(clock: Clock) -> None:
    ours = Retrying()
    for _ in range(100):
        ours.turn(KEY)
        ours.answered(busy=False)
    assert clock.slept == []


def test_a_complaint_spaces_out_all(clock: Clock) -> None:
    ours = Retrying()
    ours.answered(busy=True)
    for _ in range(11):
        ours.turn(KEY)
    assert clock.now - 100.0 == pytest.approx(10 * FIRST_DISTANCE)


def test_a_burst_of_complaints_counts_once_and_lasting_ones_double(clock: Clock) -> None:
    ours = Retrying()
    for _ in range(32):
        ours.answered(busy=True)
    assert ours.distance == FIRST_DISTANCE
    for doublings in range(1, 12):
        clock.now += BURST
        ours.answered(busy=True)
        assert ours.distance == min(FIRST_DISTANCE * 2**doublings, LONGEST_DISTANCE)


def test_answers_bring_the_rate_back(clock: Clock) -> None:
    ours = Retrying()
    ours.answered(busy=True)
    answers = 0
    while ours.distance:
        assert ours.distance >= LEAST_DISTANCE
        ours.answered(busy=False)
        answers += 1
    assert 30 < answers < 100


def test_threads_take_turns() -> None:
    ours = Retrying()
    ours.answered(busy=True)
    reserved: list[float] = []
    held = threading.Lock()

    def turn(_: int) -> None:
        ours.turn(KEY)
        with held:
            reserved.append(ours._next)

    with ThreadPoolExecutor(32) as threads:
        list(threads.map(turn, range(64)))
    assert max(reserved) - min(reserved) >= 60 * FIRST_DISTANCE - 0.1, "each has a place of its own"


def test_pauses_grow_and_are_drawn(clock: Clock) -> None:
    ours = Retrying()
    for attempt in range(1, 12):
        for _ in range(20):
            ours.pause("GetObject", KEY, "500", attempt)
            assert 0 <= (clock.slept[-1] if clock.slept else 0) <= min(2 ** (attempt - 1), LONGEST_PAUSE)
    assert len(set(clock.slept)) > 100


def test_a_pause_is_not_begun_that_cannot_end(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.random", lambda: 0.9)
    with deadlines.within(0.5), pytest.raises(TimeoutError, match="503 SlowDown, in attempt 1") as late:
        Retrying().pause("GetObject", KEY, "503 SlowDown", 1)
    assert late.value.filename == KEY.url
    assert clock.slept == []


def test_a_turn_that_comes_too_late(clock: Clock) -> None:
    ours = Retrying()
    for _ in range(12):
        ours.answered(busy=True)
        clock.now += BURST
    ours.turn(KEY)
    with deadlines.within(0.2), pytest.raises(TimeoutError):
        ours.turn(KEY)


def test_the_first_retry_is_a_warning(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "storagekit_s3.retrying")
    ours = Retrying()
    for _ in range(3):
        ours.pause("GetObject", KEY, "503 SlowDown", 1)
    assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG", "DEBUG"]
    assert "GetObject s3://box/key: 503 SlowDown; again in" in caplog.messages[0]


@pytest.mark.parametrize("way", ["wire", "boto3"])
def test_an_upload_that_was_begun_twice_is_told(way: str, caplog: pytest.LogCaptureFixture) -> None:
    begun = b"<InitiateMultipartUploadResult><UploadId>second</UploadId></InitiateMultipartUploadResult>"
    ended = b"<CompleteMultipartUploadResult><ETag>&quot;x&quot;</ETag></CompleteMultipartUploadResult>"
    lost: list[Asked] = []

    def answer(asked: Asked) -> Answer:
        if asked.method == "POST" and not lost:
            lost.append(asked)
            return [CLOSE]
        if asked.method == "POST":
            return [reply(200, ended if "uploadId" in asked.target else begun)]
        return [reply(200, ETag='"x"', content_length=str(size) if asked.method == "HEAD" else "0")]

    size = 9 * 1024 * 1024
    options: dict[str, object] = {
        "aws_access_key_id": "id",
        "aws_secret_access_key": "secret",
        "region_name": "us-east-1",
    }
    with Scripted(always=answer) as server:
        options |= {"endpoint_url": server.endpoint, "transport": way}
        with storagekit.Storage(options={"s3": options}) as storage, storage.open("s3://box/key", "wb") as file:
            file.write(bytes(size))
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len([text for text in told if "unfinished upload may remain at s3://box/key" in text]) == 1
