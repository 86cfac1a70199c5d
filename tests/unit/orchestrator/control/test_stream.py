"""What one client of the control socket gets of the events: all in order, or a gap that says what is missing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from orchestrator.control import server
from orchestrator.control.protocol import Ended, Events, Gap, Reply
from orchestrator.control.server import EventBacklog
from orchestrator.core.records import RunEvent


def events(first: int, last: int, size: int = 2) -> list[RunEvent]:
    return [RunEvent(kind="k", at=0.0, seq=seq, data=b"x" * size) for seq in range(first, last + 1)]


def shown(replies: Sequence[Reply]) -> list[object]:
    """Events as a range of their numbers, gaps as their number."""
    words: list[object] = []
    for reply in replies:
        if isinstance(reply, Events):
            words.append((reply.events[0].seq, reply.events[-1].seq))
        else:
            words.append(reply.next_seq if isinstance(reply, Gap) else type(reply).__name__)
    return words


def backlog(from_seq: int | None, known: int = 1) -> EventBacklog:
    made = EventBacklog(lambda: None, from_seq)
    made.skip_to(known)
    return made


def test_what_was_committed_before_is_a_gap_at_once() -> None:
    stream = backlog(from_seq=3, known=8)
    assert stream.has_more()
    assert shown(stream.take()) == [8]
    stream.put(events(8, 9))
    assert shown(stream.take()) == [(8, 9)]


@pytest.mark.parametrize("from_seq", [None, 8, 20])
def test_without_a_past_there_is_no_gap(from_seq: int | None) -> None:
    stream = backlog(from_seq, known=8)
    assert not stream.has_more()
    stream.put(events(8, 25))
    assert shown(stream.take()) == [(from_seq or 8, 25)]


def test_a_batch_that_overlaps_with_the_gap_is_not_sent_twice() -> None:
    """The hub counts a batch before it is delivered: a client that comes in between gets it, too."""
    stream = backlog(from_seq=1, known=11)
    stream.put(events(8, 10))
    stream.put(events(11, 12))
    assert shown(stream.take()) == [11, (11, 12)]


def test_a_resumed_run_shows_its_past_at_its_first_event() -> None:
    stream = backlog(from_seq=1)
    stream.put(events(40, 41))
    assert shown(stream.take()) == [40, (40, 41)]


def test_who_is_too_slow_gets_a_gap_and_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BACKLOG", 10_000)
    stream = backlog(from_seq=None)
    stream.put(events(1, 3))
    assert shown(stream.take()) == [(1, 3)]
    stream.put(events(4, 200, size=744))
    gap, rest = stream.take()
    assert isinstance(gap, Gap)
    assert isinstance(rest, Events)
    assert 4 < rest.events[0].seq == gap.next_seq < 200
    assert rest.events[-1].seq == 200
    assert sum(len(event.data) for event in rest.events) <= 10_000


def test_large_batches_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BATCH", 10)
    stream = backlog(from_seq=1)
    stream.put(events(1, 25))
    assert shown(stream.take()) == [(1, 10), (11, 20), (21, 25)]


def test_the_end_comes_once_and_last() -> None:
    stream = backlog(from_seq=1)
    stream.put(events(1, 2))
    stream.close()
    replies = stream.take()
    assert isinstance(replies[-1], Ended)
    assert shown(replies) == [(1, 2), "Ended"]
    assert stream.take() == []
    assert not stream.has_more()
