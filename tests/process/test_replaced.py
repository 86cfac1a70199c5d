"""Libraries that patch the process, hook every thread, or fork: quiesce's own threads do not mind, and say nothing."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.process.helpers import agent, jsonl, look
from tests.support.cli import environment, run_cli, start_cli


def run(tmp_path: Path, name: str, values: list[object], env: dict[str, str] | None = None) -> list[object]:
    """The values of a run whose executors say nothing."""
    journal, inputs = tmp_path / "j.db", jsonl(tmp_path / "in.jsonl", values)
    done = run_cli("run", agent(name), "-i", inputs, "-w", "1", "-j", journal, timeout=50, env=env)
    assert done.returncode == 0, done
    assert " | " not in done.stderr, done
    return list(look(journal).values.values())


def test_tracers_that_tasks_leave_behind_are_called_in_nothing_of_ours(tmp_path: Path) -> None:
    """They raise: the next call of ours would have ended the executor."""
    values: list[object] = ["trace", "profile", "both", "none", "both", "trace", "none"]
    assert run(tmp_path, "replaces:trace", values) == values


def test_an_agents_faulthandler_is_its_own(tmp_path: Path) -> None:
    assert run(tmp_path, "replaces:watch", [1, 2]) == [False, False]


def test_a_child_that_an_agent_forks_says_nothing_of_ours(tmp_path: Path) -> None:
    assert run(tmp_path, "replaces:fork", [1, 2, 3]) == [0, 0, 0]


GREEN = [("green:patch", {}), ("green:work", {"PATCH_EARLY": "1"}), ("green:work_async", {"PATCH_EARLY": "1"})]


@pytest.mark.parametrize(("name", "variables"), GREEN)
def test_gevent_patches_the_process_and_our_threads_do_not_mind(
    tmp_path: Path, name: str, variables: dict[str, str]
) -> None:
    pytest.importorskip("gevent", reason="gevent is not installed")
    assert run(tmp_path, name, [1, 2, 3], environment(variables)) == [10, 10, 10]


def test_a_patched_agent_is_interrupted(tmp_path: Path) -> None:
    pytest.importorskip("gevent", reason="gevent is not installed")
    inputs = jsonl(tmp_path / "in.jsonl", [1, 2])
    arguments = ("run", agent("green:long"), "-i", inputs, "-w", "2", "-j", tmp_path / "j.db")
    with start_cli(*arguments, env=environment({"PATCH_EARLY": "1"})) as running:
        running.expect(r"\| sleeps", count=2)
        running.send(signal.SIGTERM)
        done = running.wait()
    assert done.signal == signal.SIGTERM
    assert "Traceback" not in done.stderr, done
    assert "rung=TERM" not in done.stderr, done
