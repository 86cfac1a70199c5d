"""The unit's text: what agrees with what, and how words are written for systemd."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app, run_command
from orchestrator.cli import service as hosts
from orchestrator.core.ladder import Ladder
from orchestrator.integrations.systemd.unit import (
    STATE,
    ServiceUnit,
    command_line,
    memory_for,
    quote,
    render,
    stop_seconds,
)
from runtime.errors import UsageError
from tests.support.cli import QUIESCE


def service(**changes: Any) -> ServiceUnit:
    given: dict[str, Any] = {
        "run_id": "r", "agent": "a.py:f", "command": ["/opt/quiesce", "run", "/srv/a.py:f"], "directory": "/srv",
        "ladder": Ladder(10, 5, 2), **changes,
    }  # fmt: skip
    return ServiceUnit(**given)


def options(text: str) -> dict[str, str]:
    """The last value of each option."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


def test_the_times_agree_with_the_ladder() -> None:
    """TimeoutStopSec is the ladder and its margin, in whole seconds."""
    assert stop_seconds(Ladder(10, 5, 2)) == 20
    assert stop_seconds(Ladder(0.2, 0.1, 0.5)) == 4
    found = options(render(service()))
    assert found["TimeoutStopSec"] == "20"
    assert found["KillMode"] == "mixed"
    assert (found["Type"], found["NotifyAccess"]) == ("notify", "main")
    assert (found["SuccessExitStatus"], found["RestartForceExitStatus"]) == ("75", "75")
    assert found["RestartPreventExitStatus"] == "1 2"


def test_who_runs_it() -> None:
    """A user of systemd's making, or a named one; directories of either kind."""
    made = options(render(service(state="quiesce/r")))
    assert (made["DynamicUser"], made["StateDirectory"], "User" in made) == ("yes", "quiesce/r", False)
    named = options(render(service(user="batch", writable=["/data/a", "/data/b c"])))
    assert (named["User"], named["ReadWritePaths"], "DynamicUser" in named) == ("batch", '/data/a "/data/b c"', False)


def test_homes_are_hidden_unless_something_is_read_there() -> None:
    assert options(render(service()))["ProtectHome"] == "yes"
    assert options(render(service(reads_home=True)))["ProtectHome"] == "read-only"


def test_memory() -> None:
    """All executors, and something for the supervisor."""
    assert memory_for(4, None) is None
    assert memory_for(4, 1 << 30) == (4 << 30) + (256 << 20)
    assert "MemoryMax" not in options(render(service()))
    assert options(render(service(memory_max=5)))["MemoryMax"] == "5"
    assert options(render(service()))["OOMPolicy"] == "continue"


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("plain-1.0/x:y=z", "plain-1.0/x:y=z"), ("two words", '"two words"'), ("50%", "50%%"), ("", '""'),
        ("$HOME", "$$HOME"), ('say "x"', '"say \\"x\\""'), ("a\\b", '"a\\\\b"'), ("a;b", '"a;b"'),
        ("line\nbreak", '"line\\x0abreak"'), (f"{STATE}/quiesce", "%S/quiesce"), ("%S", "%%S"), ("é", "é"),
    ],
)  # fmt: skip
def test_words_of_a_command_line(word: str, written: str) -> None:
    assert quote(word, dollars=True) == written


def test_a_description_stays_on_its_line() -> None:
    text = render(service(run_id="r\nExecStart=/bin/evil", agent="50%"))
    assert "\nExecStart=/bin/evil" not in text
    assert "of 50%%\n" in text


# -- the command that prints it -----------------------------------------------------------------------------------


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A working directory that no service has for itself, wherever these tests are."""
    monkeypatch.setattr(hosts, "_PRIVATE", ("/private/",))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ask(*words: str) -> str:
    done = CliRunner().invoke(app, ["unit", *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def hosts_said(folder: Path, agent: str, source: str, *words: str) -> list[str]:
    """The warnings, as they come on standard error."""
    line = [*QUIESCE, "unit", agent, "--input", source, *words]
    done = subprocess.run(line, capture_output=True, text=True, check=True, cwd=folder, timeout=90)
    said = [line.removeprefix("quiesce: warning: ") for line in done.stderr.splitlines()]
    return [line for line in said if "is in /tmp" not in line]


def refused(*words: str) -> str:
    done = CliRunner().invoke(app, ["unit", *words])
    assert isinstance(done.exception, UsageError), done.output
    return str(done.exception)


def test_the_options_of_run_are_checked_and_handed_on(folder: Path) -> None:
    """Paths absolute, values as given, and what makes the run resume."""
    text = ask("a.py:f", "-i", "in put.jsonl", "--grace", "1m", "--max-failures", "10%", "--keep-children", "-w", "3")
    line = options(text)["ExecStart"]
    assert f'run {folder}/a.py:f --input "{folder}/in put.jsonl"' in line
    assert "--journal %S/quiesce/in-put/quiesce.db --run-id in-put --or-resume" in line
    assert line.endswith("--workers 3 --grace 60 --max-failures 10%% --keep-children")
    assert options(text)["TimeoutStopSec"] == "70"


@pytest.mark.parametrize(
    ("given", "written"),
    [("1000000", "1000000"), ("1234567.5", "1234567.5"), ("0.00001", "0.00001"), ("12h", "43200"), ("1.50", "1.5")],
)
def test_numbers_are_written_as_they_can_be_read(folder: Path, given: str, written: str) -> None:
    """Twelve days, or a moment: with every digit, and without an exponent."""
    found = options(ask("m:f", "--input", "i", "--deadline", given, "--watchdog", given, "--restart-delay", given))
    assert found["ExecStart"].endswith(f" --deadline {written}")
    assert (found["WatchdogSec"], found["RestartSec"]) == (written, written)


def test_a_journal_of_ones_own(folder: Path) -> None:
    """Its directory can be written to, by its owner."""
    found = options(ask("m:f", "--input", "i", "--journal", "x.db", "--user", "batch", "--run-id", "nightly"))
    assert f"run m:f --input {folder}/i --journal {folder}/x.db --run-id nightly --or-resume" in found["ExecStart"]
    assert (found["ReadWritePaths"], found["User"]) == (str(folder), "batch")
    assert "StateDirectory" not in found


def test_a_database_needs_no_directory(folder: Path) -> None:
    found = options(ask("m:f", "--input", "i", "--journal", "postgresql://db/x"))
    assert "--journal postgresql://db/x" in found["ExecStart"]
    assert "ReadWritePaths" not in found
    assert "StateDirectory" not in found


def test_what_cannot_work_is_refused(folder: Path) -> None:
    """In one line each."""
    assert "needs --input FILE" in refused("m:f")
    assert "needs --input FILE" in refused("m:f", "--input", "-")
    assert "there is no directory" in refused("m:f", "--input", "i", "--journal", "/nowhere/at/all.db")
    assert CliRunner().invoke(app, ["unit", "m:f", "--input", "i", "--nonsense"]).exit_code == 2


def test_what_is_in_tmp_is_shown_to_the_service(folder: Path) -> None:
    """It has a /tmp of its own; and the user is warned."""
    done = CliRunner().invoke(app, ["unit", "m:f", "--input", "/private/in/x.jsonl", "--directory", "/private/in"])
    assert options(done.stdout)["BindReadOnlyPaths"] == "/private/in"
    assert "ReadWritePaths" not in options(done.stdout)


def test_what_is_still_missing_is_told(folder: Path) -> None:
    """A file may be about to be made; a typing error is found now, not by the service."""
    (folder / "there.jsonl").touch()
    assert hosts_said(folder, "no/agents.py:f", "there.jsonl") == [f"there is no {folder}/no/agents.py yet"]
    assert hosts_said(folder, "m:f", "there.jsonl") == []
    assert hosts_said(folder, "m:f", "gone.jsonl") == [f"there is no {folder}/gone.jsonl yet"]
    assert "not supported" in hosts_said(folder, "m:f", "there.jsonl", "--journal", "postgresql://db/x")[0]


def test_a_colon_in_a_path_does_not_part_it() -> None:
    """BindPaths= takes `source:destination`."""
    found = options(render(service(bound=["/tmp/at 12:30"], bound_read_only=["/tmp/a:b"])))
    assert (found["BindPaths"], found["BindReadOnlyPaths"]) == ('"/tmp/at 12\\:30"', "/tmp/a\\:b")


def test_the_environment_is_not_written_down(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the shell that prints it happens to have is not what the service is to have."""
    monkeypatch.setenv("QUIESCE_HOST_GRACE", "7")
    assert "--host-grace" not in ask("m:f", "--input", "i")


def test_systemd_can_read_it(folder: Path, tmp_path: Path) -> None:
    """With every awkward word in it. (A command that exists is asked for.)"""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    words = ["/bin/true", "50%", "$HOME", 'say "x"', "a\\b", "a;b", "two\twords", ""]
    text = render(service(command=words, directory="/", state="quiesce/r", memory_max=1 << 30))
    path = tmp_path / "awkward.service"
    path.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False, timeout=90)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert command_line(words) in text


def test_the_program_is_this_one() -> None:
    words = run_command.program()
    assert os.path.isabs(words[0])
    done = subprocess.run([*words, "--version"], capture_output=True, text=True, check=False, cwd="/", timeout=90)
    assert done.stdout.startswith("quiesce ")
