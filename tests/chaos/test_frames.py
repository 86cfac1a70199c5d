"""What an agent can do to the event pipe of its executor: its executor ends, never the supervisor."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from runtime.stop_limits import OUTPUT_TIMEOUT
from tests.chaos.conftest import SLACK, Scenario
from tests.support.cli import QUIESCE, environment

SAID = {
    "garbage": "executor.protocol_error",
    "oversized": r"claims 4294967295 bytes",
    "replayed": r"frame 1 came after frame",
    "torn": "executor.protocol_error",
    "cut": "executor.torn_frame",
    "closed": "exit code 70",
    "replaced": "exit code 70",
}


@pytest.mark.parametrize("forgery", SAID)
def test_a_forgery_costs_one_executor_and_no_result(scenario: Scenario, forgery: str) -> None:
    tasks = scenario.tasks([*["quick"] * 5, forgery, *["quick"] * 60])
    with scenario.start(workers=1) as running:
        done = running.wait()
    assert done.returncode == 0, done
    running.expect(SAID[forgery])
    scenario.resume_to_the_end(tasks)


def test_a_frame_that_never_ends_is_not_waited_for(scenario: Scenario) -> None:
    """It claims a size that could be true, and swallows all that its executor says after it."""
    tasks = scenario.tasks(["quick", "endless", "quick"])
    with scenario.start(workers=1) as running:
        done = running.wait()
    assert done.returncode == 0, done
    assert "did not finish it within" in done.stderr
    scenario.resume_to_the_end(tasks)


def test_an_unread_pipe_holds_nobody_up(scenario: Scenario) -> None:
    """No process reads the supervisor's output, and it has a lot to say."""
    # The last one outlasts the second for which a line may wait for its reader, or all is done before the stop is seen;
    # and it is short, because the stop may come before it begins.
    tasks = scenario.tasks(["talk", "talk", "cooperative"], hold=4 * OUTPUT_TIMEOUT)
    env = environment(scenario.environment())
    read, write = os.pipe()
    try:
        popen = subprocess.Popen(
            [*QUIESCE, *scenario.arguments()],
            stdin=subprocess.DEVNULL,
            stdout=write,
            stderr=write,
            cwd=scenario.folder,
            env=env,
        )
        try:
            scenario.proof.wait_until_held(1)
            popen.send_signal(signal.SIGTERM)
            assert popen.wait(15) == -signal.SIGTERM
        finally:
            popen.kill()
            popen.wait()
        scenario.wait_until_gone(SLACK)
    finally:
        os.close(read)
        os.close(write)
    scenario.resume_to_the_end(tasks)
