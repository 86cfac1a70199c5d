"""Where the user is wrong: exit code 2, one clear line on standard error, and no run is left in the journal."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sqlite3
import stat
from pathlib import Path

import pytest

from tests.process.helpers import AGENTS, agent, jsonl, look, runs_in
from tests.support.cli import QUIESCE, Completed, Running, environment, run_cli, start_cli
from tests.support.sync import AnnouncementPipe, Gate

DOUBLE = agent("plain:double")


def refused(done: Completed, *words: str) -> str:
    """The one line. Fails if it was not refused as promised."""
    assert done.returncode == 2, done
    assert done.stdout == "", done
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done
    assert lines[0].startswith("quiesce: "), done
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in lines[0], done
    return lines[0]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return jsonl(tmp_path / "in.jsonl", [1, 2, 3])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no.such.module:f", ["no module 'no'"]),
        ("os.nothing:f", ["no module 'os.nothing'"]),
        ("no/such/file.py:f", ["no file", "no/such/file.py"]),
        (agent("plain:nothing"), ["plain.py has no 'nothing'", "double"]),
        (f"{AGENTS}/plain.py", ["not an agent", "module:name"]),
        ("nonsense", ["not an agent"]),
        (":f", ["not an agent"]),
        (f"{AGENTS}:f", ["no file"]),
        (agent("raises_at_import:f"), ["RuntimeError: import went wrong", "raises_at_import.py:3"]),
        (agent("exits_at_import:f"), ["SystemExit: bye"]),
        (agent("dies_at_import:f"), ["exit code 3", "it said: libbroken.so: no such library"]),
        (agent("bad_module:number"), ["int", "not callable"]),
        (agent("bad_module:Class"), ["class"]),
        (agent("bad_module:none"), ["none() takes no input", "agent(task_input, state)"]),
        (agent("bad_module:keyword"), ["keyword needs the argument model", "--arg model=VALUE"]),
        (agent("bad_module:three"), ["three(task", "requires 3 arguments (task, state, more)", "functools.partial"]),
        (agent("bad_module:generator"), ["generator function"]),
    ],
)
def test_an_agent_that_is_none(tmp_path: Path, source: Path, name: str, words: list[str]) -> None:
    journal = tmp_path / "j.db"
    done = run_cli("run", name, "-i", source, "-w", "2", "-j", journal)
    refused(done, *words)
    assert runs_in(journal) == 0


def test_a_file_that_is_not_python(tmp_path: Path, source: Path) -> None:
    broken = tmp_path / "broken.py"
    shutil.copy(AGENTS / "not_python.py.txt", broken)
    refused(run_cli("run", f"{broken}:f", "-i", source, "-j", tmp_path / "j.db"), "SyntaxError", "broken.py")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["in.jsonl", "empty"]),
        (b"\n  \n\t\n", ["in.jsonl", "no tasks"]),
        (b"1\n2\n{oops\n", ["in.jsonl, line 3", "not JSON", "{oops"]),
        (b'{"key": "a"}\n{"key": "b"}\n{"key": "a"}\n', ["in.jsonl, line 3: duplicate key 'a'", "in.jsonl, line 1"]),
        (b'{"key": 2}\n7\n', ["in.jsonl, line 2: duplicate key '2'", "line 1", "without a key is named by its number"]),
        (b'7\n{"key": 1}\n', ["in.jsonl, line 2: duplicate key '1'", "line 1", "without a key is named by its number"]),
        (b'[{"n": 1}, {"n": 2}]\n', ["in.jsonl, line 1", "one JSON array", "--input-format json"]),
        (b'{"n":1e999}\n', ["in.jsonl, line 1", "number out of range"]),
    ],
    ids=["empty", "blank", "not json", "duplicate", "number first", "number behind", "array", "huge"],
)
def test_an_input_that_is_none(tmp_path: Path, content: bytes, words: list[str]) -> None:
    """(What a line may be is tested in tests/unit/orchestrator/cli/inputs/test_json_lines.py.)"""
    journal = tmp_path / "j.db"
    (tmp_path / "in.jsonl").write_bytes(content)
    refused(run_cli("run", DOUBLE, "-i", tmp_path / "in.jsonl", "-w", "1", "-j", journal), *words)
    assert runs_in(journal) == 0


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_standard_input_without_a_task(tmp_path: Path, content: bytes) -> None:
    done = run_cli("run", DOUBLE, "-i", "-", "-w", "1", "-j", tmp_path / "j.db", stdin=content)
    assert done.returncode == 2, done
    assert "standard input has no tasks" in done.stderr.splitlines()[-1]


def test_an_input_that_cannot_be_read(tmp_path: Path) -> None:
    journal = tmp_path / "j.db"
    refused(run_cli("run", DOUBLE, "-i", tmp_path / "none.jsonl", "-j", journal), "none.jsonl", "No such file")
    (tmp_path / "folder").mkdir()
    refused(run_cli("run", DOUBLE, "-i", tmp_path / "folder", "-j", journal), "folder has no files")
    refused(run_cli("run", DOUBLE, "-i", f"{tmp_path}/*.pdf", "-j", journal), "no file matches", "*.pdf")
    assert runs_in(journal) == 0


def test_a_journal_that_is_none(tmp_path: Path, source: Path) -> None:
    text = tmp_path / "text.db"
    text.write_text("I am not a database, and long enough to look like one " * 40)
    before = text.read_bytes()
    refused(run_cli("run", DOUBLE, "-i", source, "-j", text), "text.db", "not a journal")
    assert text.read_bytes() == before
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE songs (name TEXT)")
    connection.commit()
    connection.close()
    before = other.read_bytes()
    refused(run_cli("run", DOUBLE, "-i", source, "-j", other), "other.db", "another program")
    assert other.read_bytes() == before
    refused(run_cli("run", DOUBLE, "-i", source, "-j", tmp_path), "directory")
    refused(run_cli("run", DOUBLE, "-i", source, "-j", tmp_path / "no" / "j.db"), "no directory")
    refused(run_cli("run", DOUBLE, "-i", source, "-j", "postgresql://db/x"), "PostgreSQL")
    refused(run_cli("resume", "-j", tmp_path / "none.db"), "no journal")
    refused(run_cli("resume", "-j", text), "not a journal")


def test_a_journal_from_a_newer_version(tmp_path: Path, source: Path) -> None:
    journal = tmp_path / "j.db"
    assert run_cli("run", DOUBLE, "-i", source, "-j", journal).returncode == 0
    connection = sqlite3.connect(journal)
    connection.execute("PRAGMA user_version=999")
    connection.commit()
    connection.close()
    refused(run_cli("run", DOUBLE, "-i", source, "-j", journal), "newer")
    refused(run_cli("resume", "-j", journal), "newer")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_is_read_only(tmp_path: Path, source: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    refused(run_cli("run", DOUBLE, "-i", source, "-j", folder / "j.db"), "read-only")


def test_a_run_that_somebody_else_executes(tmp_path: Path) -> None:
    """The second supervisor is refused, and the first one goes on undisturbed."""
    journal = tmp_path / "j.db"
    with AnnouncementPipe(tmp_path / "post") as post, Gate(tmp_path / "gate") as gate:
        source = jsonl(tmp_path / "in.jsonl", [{"key": "a", "post": post.path, "gate": gate.path}, {"key": "b"}])
        arguments = ("run", agent("plain:meet"), "-i", source, "-w", "1", "-j", journal, "--run-id", "mine")
        with start_cli(*arguments) as first:
            post.expect()
            refused(run_cli("resume", "mine", "-j", journal), "mine", f"process {first.pid}")
            refused(run_cli("resume", "-j", journal), "mine", f"process {first.pid}")
            refused(run_cli(*arguments), "run mine already")
            gate.open()
            done = first.wait()
    assert done.returncode == 0, f"{done}\n{look(journal).outcomes}"
    assert "2 completed" in done.stderr


@pytest.mark.parametrize("words", [["resume"], ["doctor"], ["unit", "a.py:f", "-i", "x"]])
def test_a_working_directory_that_is_gone(tmp_path: Path, words: list[str]) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    with Running(["sh", "-c", f"rmdir {gone} && exec {shlex.join([*QUIESCE, *words])}"], cwd=gone) as running:
        refused(running.wait(), "working directory", "removed")


def test_a_resume_of_nothing(tmp_path: Path, source: Path) -> None:
    journal = tmp_path / "j.db"
    assert run_cli("run", DOUBLE, "-i", source, "-j", journal, "--run-id", "done").returncode == 0
    refused(run_cli("resume", "-j", journal), "nothing to resume")
    refused(run_cli("resume", "other", "-j", journal), "no run other")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--max-failures", "200%"], ["--max-failures '200%'"]),
        (["--workers", "0"], ["--workers", "see quiesce run --help"]),
        (["--workers", "100000"], ["workers", "4096"]),
        (["--timeout", "soon"], ["--timeout", "'soon' is not a time"]),
        (["--timeout", "0"], ["timeout", "greater than 0"]),
        (["--deadline", "0"], ["deadline", "greater than 0"]),
        (["--memory-limit", "0"], ["memory_limit", "greater than 0"]),
        (["--log-format", "xml"], ["--log-format", "'xml'"]),
        (["--grace", "99999999999999999999"], ["--grace", "more than ten years"]),
        (["--term-grace", "9" * 400], ["--term-grace", "more than ten years"]),
        (["--heartbeat-timeout", "1000000h"], ["--heartbeat-timeout", "more than ten years"]),
        (["--heartbeat-timeout", "0.4"], ["heartbeat_timeout", "greater than or equal to 0.5"]),
        (["--memory-limit", "9" * 400], ["--memory-limit", "bytes"]),
        (["--retries", "99999999999999999999"], ["retries", "1000000000"]),
        (["--workers", "9" * 5000], ["--workers"]),
        (["--max-tasks-per-executor", "99999999999999999999"], ["max_tasks_per_executor", "1000000000"]),
        (["--run-id", "x" * 151], ["run id", "150 bytes"]),
        (["--run-id", "ü" * 100], ["run id", "150 bytes"]),
        (["--run-id", " "], ["run id", "blank"]),
        (["--run-id", ""], ["run id", "blank"]),
        (["--run-id", "\udcff"], ["argument", "UTF-8"]),
        (["--nonsense"], ["No such option: --nonsense"]),
        (["again"], ["extra argument", "again", "--input FILE"]),
        (["-i", ""], ["an --input is blank"]),
        (["-i", "-", "-i", "-"], ["--input - is given twice"]),
        (["--key-field", ""], ["--key-field is blank"]),
        (["--key-field", "nope"], ["line 1: no object, so it has no field"]),
        (["--config", "none.json"], ["--config none.json: No such file"]),
        (["--config", "none.yaml"], ["its name must end in .json or .toml"]),
        (["--arg", "=1"], ["--arg =1: give NAME=VALUE"]),
        (["--arg", "x=1"], ["has no argument 'x'; it takes none"]),
        (["--slot-env", "X"], ["slot_env", "one value for each slot"]),
        (["--slot-env", "X=1", "-w", "3"], ["X has 1 value for 3 workers"]),
        (["--retry-on", "1x"], ["'1x' is not the name of an exception"]),
        (["--retry-jitter", "2"], ["retry_jitter = '2': it must be less than or equal to 1"]),
        (["--output", "/dev/null"], ["--output /dev/null: the directory cannot be made"]),
        (["--probe-address", "nowhere.invalid", "--probe-port", "0"], ["cannot serve the probes on nowhere.invalid"]),
        (["--interrupted-exit-code", "300"], ["it must be at most 255"]),
        (["--or-resume"], ["--or-resume needs --run-id ID"]),
        (["--label", "x"], ["'x' is no label"]),
        (["--label", "quiesce/retries=x"], ["are quiesce's own"]),
        (["--output-tail", "lots"], ["'lots' is not a size"]),
        (["--grace", "1w"], ["'1w' is not a time"]),
        (["--progress-interval", "0"], ["progress_interval = 0.0: it must be greater than 0"]),
    ],
)
def test_options_that_are_none(tmp_path: Path, source: Path, options: list[str], words: list[str]) -> None:
    done = run_cli("run", DOUBLE, "-i", source, "-j", tmp_path / "j.db", *options)
    refused(done, *words)
    assert runs_in(tmp_path / "j.db") == 0


def test_the_longest_name_and_a_grace_of_weeks_are_no_mistakes(tmp_path: Path, source: Path) -> None:
    """A grace of 1000 hours is more milliseconds than a poll can count."""
    done = run_cli("run", DOUBLE, "-i", source, "-j", tmp_path / "j.db", "--run-id", "x" * 150, "--grace", "1000h")
    assert done.returncode == 0, done


def test_a_directory_that_is_no_text_is_refused(tmp_path: Path, source: Path) -> None:
    odd = os.path.join(os.fsencode(tmp_path), b"\xff")
    os.mkdir(odd)
    with Running([*QUIESCE, "run", DOUBLE, "-i", source, "-j", tmp_path / "j.db"], cwd=os.fsdecode(odd)) as running:
        refused(running.wait(), "working directory", "UTF-8")
    assert runs_in(tmp_path / "j.db") == 0


@pytest.mark.parametrize("given", ["odd_agent.py:work", "link.py:work"])
def test_an_agents_file_whose_path_is_no_text_is_refused(tmp_path: Path, source: Path, given: str) -> None:
    """The path is made absolute: what the command line says may be text, and what it leads to none."""
    odd = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), b"\xff")))
    odd.mkdir()
    (odd / "odd_agent.py").write_text("def work(task_input, state):\n    return task_input\n")
    (tmp_path / "link.py").symlink_to(odd / "odd_agent.py")
    here = odd if given.startswith("odd") else tmp_path
    with Running([*QUIESCE, "run", given, "-i", source, "-j", tmp_path / "j.db"], cwd=str(here)) as running:
        refused(running.wait(), "working directory", "UTF-8")
    assert runs_in(tmp_path / "j.db") == 0


@pytest.mark.parametrize("mask", [0, 0o077, 0o777])
def test_the_umask_has_no_say_in_a_journals_permissions(tmp_path: Path, source: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        running = Running([*QUIESCE, "run", DOUBLE, "-i", source, "-j", tmp_path / "j.db"], cwd=tmp_path)
    finally:
        os.umask(before)
    with running:
        assert running.wait().returncode == 0
    assert (tmp_path / "j.db").stat().st_mode & 0o777 == 0o600


def test_a_search_path_that_is_no_text_reaches_the_agent(tmp_path: Path, source: Path) -> None:
    odd = os.path.join(os.fsencode(tmp_path), b"\xfe")
    os.mkdir(odd)
    Path(os.fsdecode(odd), "odd_agent.py").write_text("def work(task_input, state):\n    return task_input\n")
    env = {**environment(), "PYTHONPATH": os.fsdecode(odd)}
    args: list[str | Path] = [*QUIESCE, "run", "odd_agent:work", "-i", source, "-j", tmp_path / "j.db"]
    with Running(args, cwd=tmp_path, env=env) as running:
        done = running.wait()
    assert done.returncode == 0, done


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["nonsense"], "nonsense"),
        (["run"], "AGENT"),
        (["events", "--from", "x"], "--from"),
        (["events", "--from", "99999999999999999999"], "--from"),
        (["show", "r"], "Missing argument 'KEY'"),
        (["retry"], "Missing argument 'RUN'"),
        (["statsu"], "Did you mean 'status'"),
        (["interrupt", "r", "--reason", "bored"], "'bored' is not one of"),
        (["prune", "--older-than", "yesterday"], "'yesterday' is not a time"),
        (["prune", "--to-size", "big"], "'big' is not a size"),
        (["runs", "--limit", "-3"], "it must be at least 0"),
        (["results", "--format", "xml"], "'xml' is not one of"),
        (["logs", "--tail", "x"], "it must be a whole number"),
        (["manifest", "a.py:f", "-i", "in.jsonl"], "Missing option '--image'"),
    ],
)
def test_commands_that_are_none(arguments: list[str], word: str) -> None:
    refused(run_cli(*arguments), word, "--help")


def test_the_same_input_twice(tmp_path: Path, source: Path) -> None:
    done = run_cli("run", DOUBLE, "-i", source, "-i", source, "-j", tmp_path / "j.db")
    refused(done, "in.jsonl is given twice: its tasks would have the same keys")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["runs", "-j", ""], "--journal is blank"),
        (["status", "-j", ""], "--journal is blank"),
        (["runs", "--label", "x"], "'x' is no label"),
        (["prune"], "say what to remove"),
        (["results", "--follow", "-o", "x"], "--follow prints outcomes as they come"),
        (["results", "--follow", "--with-retries"], "needs all of its retries"),
        (["results", "--format", "parquet"], "--format parquet needs --output FILE"),
        (["results", "--fields", "key,vlaue"], "did you mean value?"),
        (["results", "--output", "/nope/x.csv"], "cannot write /nope/x.csv"),
        (["retry", "r"], "has no failed task to retry"),
        (["show", "r", "9"], "run r has no task '9'"),
    ],
)
def test_queries_that_are_none(tmp_path: Path, source: Path, arguments: list[str], words: str) -> None:
    """None of them prints a part of an answer first."""
    assert run_cli("run", DOUBLE, "-i", source, "-w", "1", "--run-id", "r", "-q", cwd=tmp_path).returncode == 0
    refused(run_cli(*arguments, cwd=tmp_path), words)


def test_a_grace_of_nothing_is_a_grace(tmp_path: Path, source: Path) -> None:
    """0 is a value, and not the absence of one."""
    options = ("--grace", "0", "--term-grace", "0", "--retries", "0")
    done = run_cli("run", DOUBLE, "-i", source, "-j", tmp_path / "j.db", *options)
    assert done.returncode == 0, done
    config = look(tmp_path / "j.db").record.config
    assert config is not None
    assert (config["grace"], config["term_grace"]) == (0, 0)


def test_keys_of_any_text(tmp_path: Path) -> None:
    """A key is text: empty, long, or with line ends in it is no mistake."""
    keys = ["", "a\nb", "ü" * 1000, "0", "{}", "'; DROP TABLE tasks; --", "\u0000"]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"key": key, "n": 1}) + "\n" for key in keys))
    done = run_cli("run", DOUBLE, "-i", source, "-w", "1", "-j", tmp_path / "j.db")
    assert done.returncode == 0, done
