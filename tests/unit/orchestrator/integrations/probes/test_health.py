"""What the probes say of a run, judged from views alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.core.ladder import Rung
from orchestrator.core.slots import ExecutorView
from orchestrator.core.status import Phase, StatusView
from orchestrator.integrations.probes.health import SHUTDOWN_TIMEOUT, STALLED_SECONDS, Health
from runtime.model import InterruptReason, InterruptSignal

READY = ExecutorView(slot=0, pid=11, state="ready")
VIEW = StatusView(
    at=100.0,
    phase=Phase.RUNNING,
    accepted=10,
    completed=3,
    failed=1,
    interrupted=0,
    running=2,
    executors=[READY],
    signal=None,
    rung=Rung.NONE,
    next_rung=None,
    loaded=True,
)
STOP = InterruptSignal(reason=InterruptReason.SYSTEM_SHUTDOWN, message="received SIGTERM")


def test_a_run_at_work_is_live_ready_and_started() -> None:
    health = Health(99.0).seen(VIEW)
    assert health.live(100.1).ok
    assert health.ready(100.1).ok
    assert health.startup(100.1).ok


def test_before_the_first_view_it_is_live_but_neither_started_nor_ready() -> None:
    health = Health(99.0)
    assert health.live(99.0 + STALLED_SECONDS).ok
    assert not health.startup(99.1).ok
    assert not health.ready(99.1).ok


def test_a_loop_that_never_turned_is_not_live_for_ever() -> None:
    assert not Health(99.0).live(99.1 + STALLED_SECONDS).ok


def test_a_loop_that_stands_still_is_neither_live_nor_ready_but_stays_started() -> None:
    health, now = Health(99.0).seen(VIEW), VIEW.at + STALLED_SECONDS + 1
    assert not health.live(now).ok
    assert "11 s" in health.live(now).reason
    assert not health.ready(now).ok
    assert health.startup(now).ok


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.RUNNING])
def test_it_is_not_ready_in_any_phase_but_running(phase: Phase) -> None:
    health = Health(99.0).seen(replace(VIEW, phase=phase, signal=STOP))
    answer = health.ready(100.1)
    assert not answer.ok
    assert answer.reason == f"{phase.value}: received SIGTERM"
    assert health.live(100.1).ok


def test_without_a_ready_executor_it_is_not_ready() -> None:
    starting = replace(READY, state="starting")
    assert not Health(99.0).seen(replace(VIEW, executors=[starting])).ready(100.1).ok


def test_once_started_it_stays_so_when_no_executor_is_left() -> None:
    health = Health(99.0).seen(VIEW).seen(replace(VIEW, at=101.0, loaded=False, executors=[]))
    assert health.startup(101.1).ok
    assert not health.ready(101.1).ok


def test_an_ended_loop_has_time_for_its_farewell_but_not_for_ever() -> None:
    health = Health(99.0).seen(replace(VIEW, phase=Phase.ENDED))
    assert health.live(VIEW.at + SHUTDOWN_TIMEOUT).ok
    assert not health.live(VIEW.at + SHUTDOWN_TIMEOUT + 1).ok
