"""`quiesce results`: formats, fields, files that are complete or not there, and following a run that goes on."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.records import NewTask, TaskOutcome
from orchestrator.journal.sqlite.journal import SqliteJournal
from runtime.model import ExecutionStatus
from tests.process.helpers import agent, jsonl, look
from tests.support.cli import QUIESCE, Running, environment, run_cli, start_cli
from tests.support.sync import AnnouncementPipe, Gate
from tests.support.wait import wait_until

COMPLETED, FAILED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED
ERROR = "ValueError: no, \x1b[31mnever"
VALUES: list[Any] = [
    {"n": 1, "title": 'a "b", c\n', "tags": ["x", {"y": 2}], "score": 0.5, "ok": True},
    {"n": 2, "title": "ü😀", "score": 2, "ok": False, "large": 1 << 70},
    7,
    None,
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal with a run of five tasks: four completed, one failed."""
    with SqliteJournal(str(tmp_path / "quiesce.db")) as journal:
        run = journal.claim(journal.create_run("r", agent={"agent": "m:f"}).id).id
        journal.add_tasks(run, [NewTask(f"k{number}", b"{}") for number in range(1, 6)])
        journal.seal(run)
        ended = [
            TaskOutcome(seq=seq, key="", status=COMPLETED, attempts=1, encoded=json.dumps(value).encode())
            for seq, value in enumerate(VALUES, 1)
        ]
        failed = TaskOutcome(seq=5, key="", status=FAILED, attempts=2, error=ERROR)
        journal.commit(run, outcomes=[*ended, failed])
        journal.finish_run(run, FAILED)
    return tmp_path


def results(folder: Path, *words: str) -> str:
    done = run_cli("results", *words, cwd=folder)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def refused(folder: Path, *words: str) -> str:
    done = run_cli("results", *words, cwd=folder)
    assert (done.returncode, done.stdout) == (2, ""), done
    (line,) = done.stderr.splitlines()
    return line.removeprefix("quiesce: ")


# -- formats -----------------------------------------------------------------------------------------------


def test_json_lines_with_chosen_fields(path: Path) -> None:
    lines = results(path, "--format", "jsonl", "--fields", "key,value.n,value.tags.1.y,value.tags.9,error").splitlines()
    assert list(map(json.loads, lines)) == [
        {"key": "k1", "value.n": 1, "value.tags.1.y": 2, "value.tags.9": None, "error": None},
        {"key": "k2", "value.n": 2, "value.tags.1.y": None, "value.tags.9": None, "error": None},
        {"key": "k3", "value.n": None, "value.tags.1.y": None, "value.tags.9": None, "error": None},
        {"key": "k4", "value.n": None, "value.tags.1.y": None, "value.tags.9": None, "error": None},
        {"key": "k5", "value.n": None, "value.tags.1.y": None, "value.tags.9": None, "error": ERROR},
    ]
    whole = results(path, "--format", "jsonl")
    assert whole == results(path, "--json")
    assert [json.loads(line)["value"] for line in whole.splitlines()] == [*VALUES, None]


def test_inputs_beside_values(tmp_path: Path) -> None:
    """More tasks than are looked up at once, one of them pickled, from a run and from one that retries it."""
    with SqliteJournal(str(tmp_path / "quiesce.db")) as journal:
        run = journal.claim(journal.create_run("r", agent={"agent": "m:f"}).id).id
        tasks = [NewTask(f"k{number}", json.dumps({"n": number}).encode()) for number in range(1, 1200)]
        journal.add_tasks(run, [*tasks, NewTask("p", b"\x80", "pickle")])
        journal.seal(run)
        statuses = [FAILED if seq == 1 else COMPLETED for seq in range(1, 1201)]
        ended = [TaskOutcome(seq=n, key="", status=status, attempts=1) for n, status in enumerate(statuses, 1)]
        journal.commit(run, outcomes=ended)
        journal.finish_run(run, FAILED)
    words = ("--format", "jsonl", "--fields", "key,input,input.n")
    for more in ((), ("--with-retries",), ("--follow",)):
        found = list(map(json.loads, results(tmp_path, *words, *more).splitlines()))
        assert found[:-1] == [{"key": f"k{n}", "input": {"n": n}, "input.n": n} for n in range(1, 1200)]
        assert found[-1] == {"key": "p", "input": {"$blob": "gA==", "encoding": "pickle"}, "input.n": None}
    assert results(tmp_path, "--key", "k7", "--fields", "input.n,key").splitlines()[1].split() == ["7", "k7"]
    assert "input" not in json.loads(results(tmp_path, "--key", "k7", "--json"))


def test_csv(path: Path) -> None:
    rows = list(csv.reader(io.StringIO(results(path, "--format", "csv"), newline="")))
    assert rows[0] == ["key", "status", "value", "error"]
    assert [row[:2] for row in rows[1:]] == [[f"k{n}", "completed"] for n in range(1, 5)] + [["k5", "failed"]]
    assert [json.loads(row[2]) for row in rows[1:3]] == VALUES[:2]
    assert [row[2:] for row in rows[3:5]] == [["7", ""], ["", ""]]
    rows = list(
        csv.reader(io.StringIO(results(path, "--format", "csv", "--fields", "value.title,value.ok"), newline=""))
    )
    assert rows == [["value.title", "value.ok"], ['a "b", c\n', "true"], ["ü😀", "false"], ["", ""], ["", ""], ["", ""]]


def test_a_table_with_chosen_fields(path: Path) -> None:
    head, *lines = results(path, "--fields", "key,value.n,error").splitlines()
    assert head.split() == ["KEY", "VALUE.N", "ERROR"]
    assert lines[0].split() == ["k1", "1"]
    assert lines[4] == r"k5                        ValueError: no, \x1b[31mnever"


def test_parquet(path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    fields = "key,status,attempts,value,value.n,value.score,value.ok,value.title,value.tags,value.large,error"
    results(path, "--output", "r.parquet", "--fields", fields)
    table = parquet.read_table(path / "r.parquet")
    assert {field.name: str(field.type) for field in table.schema} == {
        "key": "string", "status": "string", "attempts": "int64", "value": "string", "value.n": "int64",
        "value.score": "double", "value.ok": "bool", "value.title": "string", "value.tags": "string",
        "value.large": "string", "error": "string",
    }  # fmt: skip
    first, second, *_, last = table.to_pylist()
    assert (first["value.n"], first["value.score"], first["value.ok"]) == (1, 0.5, True)
    assert json.loads(first["value"]) == VALUES[0]
    assert json.loads(first["value.tags"]) == ["x", {"y": 2}]
    assert (second["value.score"], second["value.large"]) == (2.0, str(1 << 70))
    assert (last["key"], last["status"], last["value"], last["attempts"]) == ("k5", "failed", None, 2)


def test_some_tasks_only(path: Path) -> None:
    keys = ["results", "r", "--format", "csv", "--fields", "key"]
    assert results(path, *keys[1:], "--key", "k5", "--key", "k2").split() == ["key", "k2", "k5"]
    assert results(path, *keys[1:], "--key", "k5", "--key", "k2", "--status", "failed").split() == ["key", "k5"]
    assert results(path, *keys[1:], "--status", "failed", "--status", "interrupted").split() == ["key", "k5"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--key", "nix"], "run r has no task with the key 'nix'"),
        (["--fields", "key,vlaue"], "--fields: outcomes have no field 'vlaue'; did you mean value?"),
        (["--fields", "key,,error"], "--fields: outcomes have no field ''; there are key, seq, "),
        (["--fields", "key,key"], "--fields has 'key' twice"),
        (["--format", "parquet"], "--format parquet needs --output FILE"),
        (["--json", "--format", "csv"], "--json is --format jsonl"),
        (["--follow", "--output", "x.csv"], "--follow prints outcomes as they come"),
        (["--output", "no/x.csv"], "cannot write no/x.csv: No such file or directory"),
        (["--output", "."], "--output . is no regular file"),
        (["--output", "/dev/null"], "--output /dev/null is no regular file"),
    ],
)
def test_wrong_usage_is_one_line(path: Path, words: list[str], line: str) -> None:
    assert refused(path, *words).startswith(line)
    assert not (path / "x.csv").exists()


# -- files -------------------------------------------------------------------------------------------------


def test_a_file_replaces_the_one_before_as_a_whole(path: Path) -> None:
    (path / "deep").mkdir()
    (path / "deep" / "r.csv").write_text("old")
    (path / "link.csv").symlink_to("deep/r.csv")
    before = os.umask(0o027)
    try:
        results(path, "--output", "link.csv", "--fields", "key")
    finally:
        os.umask(before)
    assert (path / "link.csv").is_symlink()
    assert (path / "deep" / "r.csv").read_text().split() == ["key", "k1", "k2", "k3", "k4", "k5"]
    assert (path / "deep" / "r.csv").stat().st_mode & 0o777 == 0o640
    for name, first in (("r.jsonl", '{"key":"k1"}'), ("r.txt", "KEY"), ("r", '{"key":"k1"}')):
        results(path, "--output", name, "--fields", "key")
        assert (path / name).read_text().splitlines()[0] == first
    assert [name for name in os.listdir(path) if name.startswith(".")] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="root may mount")
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_full_disk_leaves_what_was_there(path: Path, form: str) -> None:
    if form == "parquet":
        pytest.importorskip("pyarrow")
    with SqliteJournal(str(path / "quiesce.db")) as journal:
        run = journal.claim(journal.create_run("large", agent={"agent": "m:f"}).id).id
        journal.add_tasks(run, [NewTask(str(n), b"{}") for n in range(100)])
        values = [json.dumps(os.urandom(3000).hex()).encode() for _ in range(100)]
        ended = [TaskOutcome(seq=n, key="", status=COMPLETED, attempts=1, encoded=v) for n, v in enumerate(values, 1)]
        journal.commit(run, outcomes=ended)
    small = path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "quiesce-test", small], check=False)
    if mounted.returncode:
        pytest.skip("cannot mount a tmpfs")
    try:
        (small / f"r.{form}").write_text("old")
        message = refused(path, "large", "--output", f"small/r.{form}")
        assert message == f"cannot write small/r.{form}: No space left on device"
        assert os.listdir(small) == [f"r.{form}"]
        assert (small / f"r.{form}").read_text() == "old"
    finally:
        subprocess.run(["umount", small], check=True)


@pytest.mark.parametrize("words", [["--json"], ["--format", "csv"], [], ["--fields", "key"], ["--json", "--follow"]])
def test_a_full_standard_output_is_one_line(path: Path, words: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*QUIESCE, "results", *words], cwd=path, stdout=full, stderr=subprocess.PIPE, env=environment(), check=False
        )
    assert (done.returncode, done.stderr) == (
        2, b"quiesce: cannot write to standard output: No space left on device\n"
    )  # fmt: skip


# -- following ---------------------------------------------------------------------------------------------


class Held:
    """A run of six tasks in the journal a.db; k3 waits for the gate, and the others have ended."""

    def __init__(self, folder: Path, post: AnnouncementPipe, gate: Gate) -> None:
        place = {"post": post.path, "gate": gate.path}
        inputs = [{"key": f"k{number}", **(place if number == 3 else {})} for number in range(6)]
        self.words = ("-i", str(jsonl(folder / "in.jsonl", inputs)), "-w", "2", "-j", str(folder / "a.db"))
        self.follow = ("results", "a", "--follow", "-j", str(folder / "a.db"))
        self.gate, self.post = gate, post

    def start(self) -> Running:
        running = start_cli("run", agent("plain:meet"), *self.words, "--run-id", "a", "--grace", "5")
        self.post.expect(1, 90)
        return running


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    with AnnouncementPipe(tmp_path / "post") as post, Gate(tmp_path / "gate") as gate:
        yield Held(tmp_path, post, gate)


def test_outcomes_are_followed_as_they_come(held: Held) -> None:
    """Those behind a slow task are not held up by it, and each comes once."""
    with held.start() as run, start_cli(*held.follow, "--fields", "key,value") as follower:
        follower.expect(r"^k5 +k5$", stream="stdout", deadline=60)
        assert "k3" not in follower.stdout
        held.gate.open()
        assert run.wait().returncode == 0
        done = follower.wait()
    assert (done.returncode, done.stderr) == (0, ""), done
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["KEY", "VALUE"]
    assert sorted(lines[1:]) == [[f"k{number}"] * 2 for number in range(6)]
    assert lines[-1] == ["k3", "k3"]


def test_the_results_of_one_run_are_the_inputs_of_the_next(tmp_path: Path, held: Held) -> None:
    """The second run works on the first outcomes while the first run still goes on."""
    second = tmp_path / "b.db"
    chain = (
        f"'{QUIESCE[0]}' results a --follow --json -j '{tmp_path}/a.db' | '{QUIESCE[0]}' run '{agent('plain:value')}'"
    )
    command = ["bash", "-c", f"set -o pipefail; {chain} -i - -w 1 -j '{second}' --run-id b"]
    with held.start() as run, Running(command) as chained:
        chained.expect(r"executor\.started", deadline=60)
        wait_for(second, 5)
        held.gate.open()
        assert run.wait().returncode == 0
        done = chained.wait()
    assert done.returncode == 0, done
    assert look(second, "b").values == {f"k{number}": f"k{number}" for number in range(6)}


def wait_for(journal: Path, count: int) -> None:
    """Wait until the run `b` has this many results."""

    def values() -> bool:
        try:
            return len(look(journal, "b").values) == count
        except Exception:
            return False

    wait_until(values, 60)


def test_a_run_that_is_stopped_ends_what_follows_it(held: Held) -> None:
    """With 75, and the outcomes that are not final come last, if they are wanted."""
    with held.start() as run, start_cli(*held.follow, "--format", "csv", "--fields", "key,status") as follower:
        follower.expect("k5,completed", stream="stdout", deadline=60)
        run.send(signal.SIGTERM)
        held.gate.open()
        run.wait()
        done = follower.wait()
    stopped = look(Path(held.words[-1]), "a")
    assert done.returncode == (75 if stopped.record.status == "interrupted" else 0), done
    assert ("quiesce: run a is not over: to resume it: quiesce resume a" in done.stderr) == (done.returncode == 75)
    assert dict(csv.reader(done.stdout.splitlines()[1:])) == stopped.statuses()


def test_a_killed_supervisor_ends_what_follows_it(held: Held) -> None:
    with held.start() as run, start_cli(*held.follow, "--format", "csv", "--fields", "key") as follower:
        follower.expect("k5", stream="stdout", deadline=60)
        run.send(signal.SIGKILL)
        held.gate.open()
        run.wait()
        done = follower.wait()
    assert done.returncode == 75, done
    assert "the supervisor of run a is gone" in done.stderr
    assert done.stdout.splitlines()[0] == "key"


def test_a_reader_that_is_gone_ends_a_follower_that_has_nothing_to_say(held: Held) -> None:
    reading, writing = os.pipe()
    with held.start() as run:
        follower = subprocess.Popen([*QUIESCE, *held.follow], stdout=writing, env=environment())
        os.close(writing)
        with open(reading) as lines:
            for _ in range(5):
                assert lines.readline()
        assert follower.wait(60) == -signal.SIGPIPE
        held.gate.open()
        assert run.wait().returncode == 0
