"""What is sent to systemd about a run."""

from __future__ import annotations

import pytest

from orchestrator.core.status import Phase
from orchestrator.integrations.systemd.messages import EXTENSION, NotifyState, next_messages, ping_seconds, status_line
from runtime.stop_limits import SERVICE_MARGIN
from tests.unit.orchestrator.integrations.views import STOP, view


def test_ready_waits_for_an_executor_and_for_work() -> None:
    """Neither alone will do."""
    for waiting in (view(executors="starting starting"), view(accepted=0), view(executors="")):
        assert "READY=1" not in next_messages(NotifyState(), waiting, None)[1]
    told, words = next_messages(NotifyState(), view(executors="starting ready"), None)
    assert words == ["READY=1"]
    assert next_messages(told, view(at=0.25), None)[1] == ["STATUS=0/10 done, 2 executors"]


def test_a_run_that_is_over_at_once_was_ready_too() -> None:
    """Otherwise systemd would say that it failed; and READY=1 goes alone, because the last word of a message wins."""
    over = view(phase=Phase.ENDED, executors="", completed=10)
    told, words = next_messages(NotifyState(), over, None)
    assert words == ["READY=1"]
    assert next_messages(told, over, None)[1][0] == "STOPPING=1"


def test_a_run_that_could_not_begin_never_was_ready() -> None:
    """Bad input: exit code 2 is to fail the start."""
    assert "READY=1" not in next_messages(NotifyState(), view(phase=Phase.ENDED, accepted=0), None)[1]


def test_a_run_that_is_stopped_before_it_began_is_stopping() -> None:
    """Without ever having been ready."""
    words = next_messages(NotifyState(), view(phase=Phase.STOPPING, executors="starting", signal=STOP), None)[1]
    assert words[0] == "STOPPING=1"
    assert "STATUS=stopping (received SIGTERM): 0/10 done, 1 executor" in words


def test_more_time_is_asked_for_again_and_again_but_not_for_ever() -> None:
    """As long as the ladder and its margin last, never for longer than they do."""
    told = NotifyState(ready=True)
    asked: dict[float, int] = {}
    for tick in range(200):
        at = tick / 4
        told, words = next_messages(told, view(at, Phase.STOPPING, signal=STOP, stop_bound=max(0.0, 17 - at)), None)
        for word in words:
            name, _, value = word.partition("=")
            if name == "EXTEND_TIMEOUT_USEC":
                asked[at] = int(value)
    ends = 17 + SERVICE_MARGIN
    assert min(asked) == 0.0
    assert max(asked) == ends - 1.0
    assert all(later - sooner <= 1.0 for sooner, later in zip(list(asked), list(asked)[1:], strict=False))
    assert all(at + usec / 1e6 <= ends for at, usec in asked.items())
    assert all(usec <= EXTENSION * 1e6 for usec in asked.values())


@pytest.mark.parametrize("message", ["x" * 9000, "日本" * 9000, "\x1b[31m" * 3000, "two\nlines \udcff"])
def test_a_long_reason_does_not_silence_the_rest(message: str) -> None:
    """systemd drops a datagram of more than 4 KiB whole, STOPPING=1 in it or not; and a line is an assignment."""
    why = STOP.model_copy(update={"message": message})
    words = next_messages(NotifyState(ready=True), view(phase=Phase.STOPPING, signal=why, stop_bound=17.0), 1.0)[1]
    names = [word.partition("=")[0] for word in words]
    assert names == ["STOPPING", "EXTEND_TIMEOUT_USEC", "STATUS", "WATCHDOG"]
    assert len("\n".join(words).encode()) < 4096
    assert all(word.isprintable() for word in words)


def test_stopping_is_said_once() -> None:
    """Also when all is done and no stop was requested."""
    told, words = next_messages(NotifyState(ready=True), view(phase=Phase.FINISHING), None)
    assert "STOPPING=1" in words
    assert "STOPPING=1" not in next_messages(told, view(at=5.0, phase=Phase.SWEEPING), None)[1]


def test_the_status_is_renewed_once_a_second_and_only_when_it_changed() -> None:
    """312/1600 done, 4 executors, 2 failed."""
    told, words = next_messages(NotifyState(ready=True), view(0.0), None)
    assert words == ["STATUS=0/10 done, 2 executors"]
    told, words = next_messages(told, view(0.5, completed=1), None)
    assert words == []
    told, words = next_messages(told, view(1.0, completed=5, failed=2, executors="ready"), None)
    assert words == ["STATUS=7/10 done, 1 executor, 2 failed"]
    assert next_messages(told, view(9.0, completed=5, failed=2, executors="ready"), None)[1] == []


def test_before_there_is_work_it_starts() -> None:
    assert status_line(view(accepted=0, executors="starting")) == "starting, 1 executor"


def test_a_status_is_one_line() -> None:
    """A message with a line break must not become an assignment."""
    stop = STOP.model_copy(update={"message": "enough\nMAINPID=1"})
    assert status_line(view(signal=stop)).startswith("stopping (enough MAINPID=1): ")


def test_the_watchdog_is_pinged_well_before_its_half() -> None:
    """From the first view on, ready or not."""
    told, pings = NotifyState(), []
    for tick in range(24):
        at = tick / 4
        told, words = next_messages(told, view(at, executors="starting"), watchdog=0.5)
        pings += [at] if "WATCHDOG=1" in words else []
    assert pings == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5]


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "2000000"}, 0.5),
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "42"}, 0.5),
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "43"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_may_be_meant_for_somebody_else(environment: dict[str, str], seconds: float | None) -> None:
    assert ping_seconds(environment, 42) == seconds
