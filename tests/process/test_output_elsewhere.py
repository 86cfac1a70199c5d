"""Agents' output in files, and in the hands of a program."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from orchestrator import Supervisor
from orchestrator.core.output import AgentOutput
from runtime import Severity
from runtime.errors import UsageError
from tests.process.agents import prints
from tests.process.helpers import agent, jsonl, look
from tests.support.cli import run_cli

KEYS = ["plain", "../up", "a b/c", "x" * 400, ".hidden"]


def test_a_file_for_each_task_has_all_of_its_output(tmp_path: Path) -> None:
    """Its name is safe, whatever the key is; what belongs to no task is the executor's."""
    source = jsonl(tmp_path / "in.jsonl", [{"key": key, "count": 3000} for key in KEYS])
    words = ("run", agent("prints:counts"), "-i", source, "-j", tmp_path / "j.db", "-w", "2", "--output-tail", "100")
    done = run_cli(*words, "--output", tmp_path / "deep" / "out", timeout=80)
    assert done.returncode == 0, done
    files = {path.name: path for path in (tmp_path / "deep" / "out").iterdir()}
    assert {"plain.log", "%2E.%2Fup.log", "a%20b%2Fc.log", "%2Ehidden.log"} < set(files)
    assert len(files) == len(KEYS)
    for path in files.values():
        lines = path.read_text().splitlines()
        assert [line for line in lines if line.isdigit()] == [str(number) for number in range(3000)]
        (record,) = [line for line in lines if not line.isdigit()]
        assert record.endswith(" ERROR shop.orders: counted")
    assert not list(tmp_path.glob("*.log"))


def test_files_that_cannot_be_written_are_named_once_and_the_run_goes_on(tmp_path: Path) -> None:
    """As on a full disk."""
    (tmp_path / "out").mkdir()
    for key in ("1", "2"):
        (tmp_path / "out" / f"{key}.log").symlink_to("/dev/full")
    source = jsonl(tmp_path / "in.jsonl", [100, 100, 100])
    words = ("run", agent("prints:many_lines"), "-i", source, "-j", tmp_path / "j.db", "-w", "1")
    done = run_cli(*words, "--output", tmp_path / "out", "--run-id", "r")
    assert done.returncode == 0, done
    (failed,) = look(tmp_path / "j.db").named("agent.output_failed")
    assert (failed["target"], failed["error"]) == (str(tmp_path / "out"), "No space left on device")
    assert done.stderr.count("agent.output_failed") == 1
    assert (tmp_path / "out" / "3.log").read_text().split() == [str(number) for number in range(100)]
    refused = run_cli(*words, "--output", "/dev/null/out")
    assert refused.returncode == 2
    assert refused.stderr == "quiesce: --output /dev/null/out: the directory cannot be made: Not a directory\n"


def test_a_program_takes_output_by_a_function() -> None:
    seen: list[AgentOutput] = []
    with Supervisor(workers=1, on_output=seen.append) as supervisor:
        supervisor.submit(prints.configured, "a", key="one").result()
    assert {output.key for output in seen} == {"one"}
    assert [(output.severity, output.logger, output.text.partition("\n")[0]) for output in seen] == [
        (Severity.DEBUG, "shop.orders", "detail of a"),
        (Severity.ERROR, "shop.orders", "it went wrong"),
        (Severity.ERROR, "shop.orders", "long é"),
    ]
    assert seen[2].text == "long " + "é\n" * 20_000
    assert {output.stream for output in seen} == {"stderr"}


def test_a_function_that_raises_is_reported_once_and_ends_nothing() -> None:
    events: list[tuple[str, object]] = []

    def fail(output: AgentOutput) -> None:
        raise ValueError("not this")

    def log(event: str, _severity: object, fields: object) -> None:
        events.append((event, fields))

    with Supervisor(workers=1, on_output=fail, log=log) as supervisor:
        assert supervisor.submit(prints.many_lines, 100).outcome().ok
        supervisor.submit(prints.many_lines, 100).result()
    names = [event for event, _ in events]
    assert names.count("agent.output_failed") == 1
    assert "executor.output" not in names
    with pytest.raises(UsageError, match="on_output = 3: give a callable"):
        Supervisor(on_output=3)  # type: ignore[arg-type]


def say(number: int) -> None:
    print("says", number)


def test_a_program_has_files_too(tmp_path: Path) -> None:
    """Beside a callback, and beside a log."""
    for name, more in (("callback", {"on_output": lambda _: None}), ("log", {"log": lambda *_: None})):
        with Supervisor(workers=1, output=tmp_path / name, **more) as supervisor:
            list(supervisor.map(say, [7], keys=["a/b"]))
        assert (tmp_path / name / "a%2Fb.log").read_text() == "says 7\n"
    with pytest.raises(UsageError, match="the directory cannot be made"), Supervisor(output="/dev/null"):
        pass
    with pytest.raises(UsageError, match="output = 3: give the path of a directory"):
        Supervisor(output=3)  # type: ignore[arg-type]


def test_output_is_logged_without_a_function(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="quiesce.agent"), Supervisor(workers=1) as supervisor:
        supervisor.submit(prints.counts, {"count": 1}, key="one").result()
    first, last = [record for record in caplog.records if record.name == "quiesce.agent"]
    assert (first.levelname, first.getMessage(), vars(first)["key"]) == ("INFO", "one | 0", "one")
    assert (last.levelname, last.getMessage()) == ("ERROR", "one | counted")
    assert vars(last)["agent_logger"] == "shop.orders"
