"""What the engine hears while another process has the journal locked."""

from __future__ import annotations

import pytest

from orchestrator.core import stimuli
from orchestrator.engine.journal_contention import CONTENTION_LIMIT, JournalContention
from orchestrator.journal import Contention
from orchestrator.journal.contention import REPORT_AFTER, ContentionError


def lasting(seconds: float, *, over: bool = False) -> Contention:
    return Contention("runs.db", seconds, lambda _: [0], over)


def test_a_wait_is_reported_once_and_so_is_its_end() -> None:
    posted: list[stimuli.Stimulus] = []
    contention = JournalContention(posted.append)
    seen = []
    for seconds in (0.5, 1, 2, 3):
        contention.handle(lasting(seconds * REPORT_AFTER, over=seconds == 3))
        seen.append(contention.is_contended)
    assert seen == [False, True, True, False]
    assert [type(stimulus) for stimulus in posted] == [stimuli.JournalContended, stimuli.JournalAvailable]


def test_a_short_wait_is_not_reported() -> None:
    posted: list[stimuli.Stimulus] = []
    contention = JournalContention(posted.append)
    contention.handle(lasting(REPORT_AFTER / 2))
    contention.handle(lasting(REPORT_AFTER / 2, over=True))
    assert posted == []


def test_a_wait_that_lasts_stops_the_run_and_a_deadline_ends_it() -> None:
    posted: list[stimuli.Stimulus] = []
    contention = JournalContention(posted.append)
    contention.handle(lasting(REPORT_AFTER))
    for _ in range(2):
        contention.handle(lasting(CONTENTION_LIMIT))
    assert [type(stimulus) for stimulus in posted] == [stimuli.JournalContended, stimuli.JournalStarved]
    contention.set_deadline(0.0)
    with pytest.raises(ContentionError, match="another container"):
        contention.handle(lasting(CONTENTION_LIMIT))
