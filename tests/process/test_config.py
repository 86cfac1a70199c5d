"""`quiesce config` as a command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.cli import QUIESCE, Running, environment, run_cli


def test_the_settings_are_shown_with_their_origins(tmp_path: Path) -> None:
    (tmp_path / "quiesce.toml").write_text('grace = "2m"\n', encoding="utf-8")
    env = environment({"QUIESCE_RETRIES": "2", "QUIESCE_RETRYS": "3", "QUIESCE_JOURNAL": "my.db"})
    with Running([*QUIESCE, "config", "--json", "-w", "3"], cwd=tmp_path, env=env) as running:
        done = running.wait()
    assert done.returncode == 0, done
    rows = {row["setting"]: row for row in map(json.loads, done.stdout.splitlines())}
    found = {name: (rows[name]["value"], rows[name]["origin"], rows[name]["place"]) for name in rows}
    assert found["journal"] == ("my.db", "environment", "QUIESCE_JOURNAL")
    assert found["workers"] == (3, "option", "--workers")
    assert found["grace"] == (120, "file", str(tmp_path / "quiesce.toml"))
    assert found["retries"] == (2, "environment", "QUIESCE_RETRIES")
    assert done.stderr == (
        "quiesce: warning: QUIESCE_RETRYS is not a setting and has no effect; did you mean QUIESCE_RETRIES?\n"
    )
    with Running([*QUIESCE, "config"], cwd=tmp_path, env=env) as running:
        lines = running.wait().stdout.splitlines()
    assert lines[0].split() == ["SETTING", "VALUE", "ORIGIN"]
    assert ["grace", "120", f"{tmp_path}/quiesce.toml"] in [line.split() for line in lines]


@pytest.mark.parametrize("file", ["quiesce.toml", "pyproject.toml"])
def test_the_journal_of_all_commands_may_be_named_in_the_file(tmp_path: Path, file: str) -> None:
    head = "" if file == "quiesce.toml" else "[tool.quiesce]\n"
    (tmp_path / file).write_text(f'{head}journal = "mine.db"\nprogress = "off"\nlog_level = "warning"\n')
    (tmp_path / "agents.py").write_text("def work(number):\n    return 1 / number\n")
    (tmp_path / "inputs.jsonl").write_text("1\n0\n")
    done = run_cli("run", "agents.py:work", "-i", "inputs.jsonl", "-w", "1", "--run-id", "r", cwd=tmp_path)
    assert done.returncode == 1, done
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".db") == ["mine.db"]
    for words in (["runs"], ["status"], ["results"], ["show", "r", "2"], ["failures"], ["events"], ["logs", "r"]):
        asked = run_cli(*words, cwd=tmp_path)
        assert asked.returncode == 0, (words, asked)
        assert words[0] == "logs" or "r" in asked.stdout
    assert "journal mine.db" not in run_cli("runs", "--journal", "other.db", cwd=tmp_path).stdout
    pruned = run_cli("prune", "r", cwd=tmp_path)
    assert "1 run removed" in pruned.stdout, pruned


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("journal = 1\n", "quiesce.toml: journal = 1: write text in quotes"),
        ('journal = ""\n', "quiesce.toml: journal = '': write text in quotes"),
        ("jornal = 1\n", "quiesce.toml: unknown setting 'jornal'; did you mean journal?"),
        (
            'log_level = "loud"\n',
            "quiesce.toml: log_level = 'loud': it must be one of debug, info, warning, error, critical",
        ),
        ("probe_port = 70000\n", "quiesce.toml: probe_port = 70000: it must be from 0 to 65535"),
        ("probe_port = true\n", "quiesce.toml: probe_port = True: it must be a whole number"),
        ('interrupted_exit_code = "x"\n', "quiesce.toml: interrupted_exit_code = 'x': it must be a whole number"),
    ],
)
def test_a_mistake_in_the_settings_of_a_command_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "quiesce.toml").write_text(text)
    done = run_cli("config", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, f"quiesce: {said}\n")


def test_the_environment_gives_the_settings_of_a_command(tmp_path: Path) -> None:
    env = {"QUIESCE_LOG_FORMAT": "json", "QUIESCE_INTERRUPTED_EXIT_CODE": "7", "QUIESCE_PROGRESS": "loud"}
    done = run_cli("config", cwd=tmp_path, env=env)
    assert done.stderr == "quiesce: QUIESCE_PROGRESS: progress = 'loud': it must be one of auto, on, plain, off\n"
    rows = run_cli("config", "--json", cwd=tmp_path, env=env | {"QUIESCE_PROGRESS": ""}).stdout.splitlines()
    found = {row["setting"]: (row["value"], row["origin"]) for row in map(json.loads, rows)}
    assert found["log_format"] == ("json", "environment")
    assert found["interrupted_exit_code"] == (7, "environment")
    assert found["progress"] == ("auto", "default")
