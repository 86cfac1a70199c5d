"""Tasks in uninterruptible sleep (state D): the run goes on without them, ends, and says which processes remain."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.stop_limits import ABANDON_TIMEOUT
from tests.chaos.conftest import SLACK, Scenario
from tests.support.chaos.fuse import HungFileSystem, hung_file_system
from tests.support.cli import QUIESCE, Running, start_cli
from tests.support.hold import state_of
from tests.support.wait import wait_until

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def hung(tmp_path: Path) -> Iterator[HungFileSystem]:
    """A file system that does not answer, until it is released."""
    with hung_file_system(tmp_path / "hung") as system:
        if system is None:
            pytest.skip("no FUSE file system can be mounted here")
        yield system


def write_tasks(scenario: Scenario, hung: HungFileSystem, count: int = 1, quick: int = 6) -> list[dict[str, Any]]:
    """Write an input whose first tasks read from the file system that does not answer."""
    tasks = scenario.tasks(["uninterruptible"] * count + ["quick"] * quick)
    for task in tasks[:count]:
        task["hung"] = str(hung.file)
    (scenario.folder / "input.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    return tasks


def start(scenario: Scenario, *options: str, **settings: Any) -> Running:
    words = [*scenario.arguments(**settings), *options]
    return start_cli(*words, env=scenario.environment(), cwd=scenario.folder, timeout=60)


def pid_in(line: str) -> int:
    """Return the pid of a log line."""
    found = re.search(r"pid=(\d+)", line)
    assert found is not None, line
    return int(found[1])


def test_a_task_over_its_time_has_failed_and_the_run_goes_on_and_ends(scenario: Scenario, hung: HungFileSystem) -> None:
    """One worker: what comes after it needs another executor. With retries: none of them runs beside what is left."""
    write_tasks(scenario, hung)
    with start(scenario, "--timeout", "0.5", "--retries", "2", workers=1) as running:
        pid = pid_in(running.expect(r"executor\.abandoned .*", deadline=ABANDON_TIMEOUT + 15))
        done = running.wait()
        assert state_of(pid) == "D"
        hung.release()
        scenario.wait_until_gone(SLACK)
    assert done.returncode == 1, done
    assert re.search(rf"cleanup\.verified .*remaining=\['{pid} ", done.stderr)
    auditor = scenario.auditor
    auditor.read()
    assert Counter(str(outcome.status) for outcome in auditor.seen.values()) == {"completed": 6, "failed": 1}


def test_one_that_comes_back_to_life_is_reaped_while_the_run_goes_on(scenario: Scenario, hung: HungFileSystem) -> None:
    tasks = scenario.tasks(["uninterruptible", "cooperative"])
    tasks[0]["hung"] = str(hung.file)
    (scenario.folder / "input.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    with start(scenario, "--timeout", "0.5", workers=1) as running:
        pid = pid_in(running.expect(r"executor\.abandoned .*", deadline=ABANDON_TIMEOUT + 15))
        hung.release()
        assert pid_in(running.expect(r"executor\.ended_late .*")) == pid
        wait_until(lambda: state_of(pid) == "", what="it is reaped")
        done = running.wait()
    assert done.returncode == 1, done
    assert "remaining=[]" in done.stderr


def test_too_many_of_them_end_the_run(scenario: Scenario, hung: HungFileSystem) -> None:
    write_tasks(scenario, hung, count=8, quick=0)
    with start(scenario, "--timeout", "0.3", workers=4, grace=0.1, term_grace=0.1) as running:
        done = running.wait()
        hung.release()
        scenario.wait_until_gone(SLACK)
    assert done.returncode == 75, done
    assert "executors cannot be killed" in done.stderr


def test_a_stop_does_not_wait_for_them(scenario: Scenario, hung: HungFileSystem) -> None:
    tasks = write_tasks(scenario, hung, count=2)
    with start(scenario) as running:
        scenario.proof.wait_until_held(2)
        running.send(signal.SIGTERM)
        running.popen.wait(0.6 + 2 + SLACK)
        done = running.wait()
        hung.release()
        scenario.wait_until_gone(SLACK)
    assert done.signal is signal.SIGTERM
    assert "rung=ABANDONED" in done.stderr
    scenario.resume_to_the_end(tasks)


def test_a_log_that_is_never_written_holds_up_its_own_process_alone(scenario: Scenario, hung: HungFileSystem) -> None:
    """The run is recorded and all that it started is gone; one thread of the supervisor waits for the disk."""
    scenario.tasks(["quick"] * 4)
    log = os.open(hung.file, os.O_WRONLY | os.O_APPEND)
    popen = subprocess.Popen(
        [*QUIESCE, *scenario.arguments()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=log,
        env={**os.environ, **scenario.environment()},
        cwd=scenario.folder,
    )
    os.close(log)
    try:
        wait_until(lambda: state_of(popen.pid) == "Z", 25.0, "its main thread has ended")
        assert popen.poll() is None
        scenario.wait_until_gone(SLACK)
        auditor = scenario.auditor
        auditor.read()
        assert Counter(str(outcome.status) for outcome in auditor.seen.values()) == {"completed": 4}
    finally:
        hung.release()
        code = popen.wait(10)
    assert code == 0
