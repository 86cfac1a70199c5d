"""The hub: outcomes to every waiter, events to every subscriber, and nothing bloats."""

from __future__ import annotations

import threading

import pytest

from orchestrator.core.records import RunEvent, TaskOutcome
from orchestrator.engine.hub import EventStream, Hub
from runtime.errors import UsageError
from runtime.model import ExecutionStatus


def events(count: int) -> list[RunEvent]:
    return [RunEvent(kind="e", at=0.0) for _ in range(count)]


def outcome(key: str) -> TaskOutcome:
    return TaskOutcome(seq=1, key=key, status=ExecutionStatus.COMPLETED, attempts=1)


def numbers(stream: EventStream) -> list[int]:
    return [event.seq for event in stream]


def test_every_subscriber_sees_every_event_with_the_number_that_the_journal_gave_it() -> None:
    hub = Hub()
    first = hub.subscribe(10)
    hub.publish([], events(2), 1)
    second = hub.subscribe(10)
    hub.publish([], events(2), 3)
    hub.close()
    assert numbers(first) == [1, 2, 3, 4]
    assert numbers(second) == [3, 4]


def test_a_slow_reader_loses_the_oldest_and_is_told_how_many() -> None:
    hub = Hub()
    slow, quick = hub.subscribe(3), hub.subscribe(100)
    hub.publish([], events(5), 1)
    hub.close()
    assert numbers(slow) == [3, 4, 5]
    assert slow.dropped == 2
    assert numbers(quick) == [1, 2, 3, 4, 5]
    assert quick.dropped == 0


def test_the_past_comes_first_and_nothing_twice() -> None:
    hub = Hub()
    past = [RunEvent(kind="e", at=0.0, seq=seq) for seq in range(4, 8)]
    stream = hub.subscribe(100, past)
    hub.publish([], events(4), 6)  # 6 and 7 had been read from the journal as well
    hub.close()
    assert numbers(stream) == [4, 5, 6, 7, 8, 9]


def test_a_stream_that_was_left_gets_nothing_more() -> None:
    hub = Hub()
    stream = hub.subscribe(10)
    hub.publish([], events(1), 1)
    stream.close()
    stream.close()
    hub.publish([], events(1), 2)
    assert numbers(stream) == [1]


def test_a_reader_that_waits_is_woken_by_an_event_and_by_the_end() -> None:
    hub = Hub()
    stream, seen = hub.subscribe(10), list[int]()
    got_one = threading.Event()

    def read() -> None:
        for event in stream:
            seen.append(event.seq)
            got_one.set()

    reader = threading.Thread(target=read)
    reader.start()
    hub.publish([], events(1), 1)
    assert got_one.wait(10)
    hub.close()
    reader.join(10)
    assert not reader.is_alive()
    assert seen == [1]


def test_a_stream_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="limit must be"):
        Hub().subscribe(0)


def test_an_outcome_goes_to_who_waits_for_its_key_once() -> None:
    hub, got = Hub(), list[TaskOutcome | None]()
    hub.add_waiter("a", got.append)
    with pytest.raises(UsageError, match="duplicate key 'a'"):
        hub.add_waiter("a", got.append)
    hub.publish([outcome("b"), outcome("a")], [], 0)
    hub.publish([outcome("a")], [], 0)
    assert got == [outcome("a")]
    hub.add_waiter("a", got.append)
    hub.remove_waiter("a")
    hub.publish([outcome("a")], [], 0)
    assert got == [outcome("a")]


def test_who_waits_for_what_cannot_come_is_told_now_and_later() -> None:
    hub, got = Hub(), list[TaskOutcome | None]()
    hub.add_waiter("a", got.append)
    hub.fail_waiters()
    hub.add_waiter("b", got.append)
    assert got == [None, None]
