"""`quiesce runs | status | results | events | interrupt` as processes, on journals of every kind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.records import NewTask, RunEvent, TaskOutcome
from orchestrator.journal import open_journal
from orchestrator.journal.sqlite.journal import SqliteJournal
from runtime.ipc.codec import encode_blob
from runtime.model import ExecutionStatus, InterruptReason, InterruptSignal
from tests.support.cli import QUIESCE, Completed, Running, environment

COMMAND = (
    sys.executable,
    "-c",
    (
        "from orchestrator.cli import events, queries, results, steering; from orchestrator.cli.typer_app import App\n"
        "app = App(pretty_exceptions_enable=False)\n"
        "queries.register(app); steering.register(app); results.register(app); events.register(app); app()"
    ),
)
AT = datetime(2030, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC).timestamp()
STOP = InterruptSignal(reason=InterruptReason.TIMEOUT, message="deadline")


class Bomb:
    """Unpickling it ends the process with 66."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (66,)


OUTCOMES = [
    TaskOutcome(
        seq=1,
        key="",
        status=ExecutionStatus.COMPLETED,
        attempts=1,
        encoded=b'{\n "n": 1,  "big": 1e400 }',
        started_at=AT,
        ended_at=AT + 1,
    ),
    TaskOutcome(
        seq=2, key="", status=ExecutionStatus.FAILED, attempts=3, error="bad \x1b[31minput\nline", detail="Traceback"
    ),
    TaskOutcome(seq=3, key="", status=ExecutionStatus.INTERRUPTED, attempts=1, signal=STOP),
    TaskOutcome(
        seq=4,
        key="",
        status=ExecutionStatus.COMPLETED,
        attempts=1,
        encoded=encode_blob(Bomb()),
        encoding="pickle",
        projection=b'{"type":"m.Bomb","value":{"b":1, "a":[2]}}',
    ),
    TaskOutcome(seq=5, key="", status=ExecutionStatus.COMPLETED, attempts=1, encoded=b"{not json"),
]
KEYS = ["1", "two", "3", "four", "5", "6"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "quiesce.db"


@pytest.fixture
def journal(path: Path) -> Iterator[SqliteJournal]:
    """A run that is under way in this process, with six tasks, five of them with an outcome; and an older run."""
    with SqliteJournal(str(path)) as opened:
        opened.create_run("old-run", agent=None)
        run = opened.create_run("new-run", agent={"agent": "m:f"}, cwd="/srv").id
        opened.add_tasks(run, [NewTask(key, b"null") for key in KEYS])
        opened.claim(run)
        opened.commit(run, outcomes=OUTCOMES, events=[event(n) for n in range(1, 4)])
        yield opened


def event(number: int) -> RunEvent:
    return RunEvent(kind="task.ended", at=AT, data=b'{"n":%d}' % number, address="a::b", task=number, slot=0)


def start(*args: str, cwd: Path) -> Running:
    return Running([*COMMAND, *args], cwd=cwd)


def query(*args: str, cwd: Path) -> Completed:
    with start(*args, cwd=cwd) as running:
        return running.wait()


def lines(done: Completed) -> list[Any]:
    assert done.returncode == 0, done
    assert done.stderr == "", done
    return [json.loads(line) for line in done.stdout.splitlines()]


# -- results ----------------------------------------------------------------------------------------------


def test_results_in_json_are_one_task_a_line(journal: SqliteJournal, path: Path) -> None:
    """Values are JSON inline, or the projection of a pickle, marked as such; times are ISO, in UTC."""
    done = query("results", "--json", cwd=path.parent)
    assert '"value":{"n":1,"big":1e400}' in done.stdout, "the text of the value is passed on, not rounded"
    found = lines(done)
    assert [(each["key"], each["status"], each["attempts"]) for each in found] == [
        ("1", "completed", 1),
        ("two", "failed", 3),
        ("3", "interrupted", 1),
        ("four", "completed", 1),
        ("5", "completed", 1),
    ]
    assert datetime.fromisoformat(found[0]["started_at"]) == datetime(2030, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC)
    assert found[0]["ended_at"].endswith("+00:00")
    assert (found[1]["value"], found[1]["error"], found[1]["detail"]) == (None, "bad \x1b[31minput\nline", "Traceback")
    assert found[2]["signal"]["reason"] == "timeout"
    assert [(each["exact"], each["type"]) for each in found] == [(True, None)] * 3 + [(False, "m.Bomb"), (False, "?")]
    assert found[3]["value"] == {"b": 1, "a": [2]}
    assert b64decode(found[4]["value"]["$blob"]) == b"{not json"


def test_results_for_people_are_lines_without_control_characters(journal: SqliteJournal, path: Path) -> None:
    """What a task says must not drive the terminal."""
    done = query("results", "new", "--status", "failed", "--status", "interrupted", cwd=path.parent)
    assert done.returncode == 0, done
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["two", "failed", "bad", "\\x1b[31minput\\nline"],
        ["3", "interrupted", "deadline"],
    ]


def test_a_closed_standard_output_ends_it_silently(journal: SqliteJournal, path: Path) -> None:
    """As `head` expects of any tool: death by SIGPIPE, no traceback."""
    run = journal.create_run("long", agent=None).id
    journal.claim(run)
    journal.add_tasks(run, [NewTask(str(n), b"null") for n in range(1, 5001)])
    journal.commit(
        run,
        outcomes=[
            TaskOutcome(seq=n, key="", status=ExecutionStatus.COMPLETED, attempts=1, encoded=b'"%s"' % (b"x" * 100))
            for n in range(1, 5001)
        ],
    )
    for flag in ([], ["--json"]):
        command = [*COMMAND, "results", "long", *flag]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdout=pipe, stderr=pipe, cwd=path.parent, env=environment()) as child:
            assert child.stdout is not None
            assert child.stderr is not None
            assert child.stdout.readline()
            child.stdout.close()
            assert child.stderr.read() == b""
            assert child.wait(20) == -signal.SIGPIPE


# -- runs and status --------------------------------------------------------------------------------------


def test_status_in_json_is_one_object(journal: SqliteJournal, path: Path) -> None:
    """While the run lives, from a second process; and when it has ended."""
    (living,) = lines(query("status", "--json", cwd=path.parent))
    assert living["run_id"] == "new-run"
    assert (living["status"], living["agent"], living["starts"]) == ("started", {"agent": "m:f"}, 1)
    assert living["tasks"] == {"pending": 1, "completed": 3, "failed": 1, "interrupted": 1, "total": 6}
    assert (living["sealed"], living["ended_at"], living["signal"]) == (False, None, None)
    assert (living["owner"]["pid"], living["owner"]["alive"]) == (os.getpid(), True)
    run = journal.get_run().id
    journal.seal(run)
    journal.finish_run(run, ExecutionStatus.INTERRUPTED, STOP)
    journal.release(run)
    (ended,) = lines(query("status", "new-run", "--json", cwd=path.parent))
    assert (ended["status"], ended["sealed"], ended["owner"]["alive"]) == ("interrupted", True, False)
    assert ended["signal"]["message"] == "deadline"
    assert datetime.fromisoformat(ended["created_at"]) <= datetime.fromisoformat(ended["ended_at"])


def test_status_for_people_says_what_to_do_next(journal: SqliteJournal, path: Path) -> None:
    """Who executes it, or how to go on."""
    assert f"started (process {os.getpid()} on " in query("status", cwd=path.parent).stdout
    journal.release(journal.get_run().id)
    text = query("status", cwd=path.parent).stdout
    assert "started, but its supervisor is gone; to resume: quiesce resume new-run --journal " in text
    assert "6 so far: 3 completed, 1 failed, 1 interrupted, 1 pending" in text


def test_runs_lists_them_oldest_first(journal: SqliteJournal, path: Path) -> None:
    """For machines and for people; the journal may come from the environment."""
    assert [each["run_id"] for each in lines(query("runs", "--json", cwd=path.parent))] == ["old-run", "new-run"]
    with Running([*COMMAND, "runs"], cwd="/", env={"QUIESCE_JOURNAL": str(path)}) as running:
        head, old, new = running.wait().stdout.splitlines()
    assert head.split() == ["RUN", "STATUS", "DONE", "TOTAL", "FAILED", "CREATED"]
    assert old.split()[:5] == ["old-run", "awaiting", "0", "0", "0"]
    assert new.split()[:5] == ["new-run", "started", "4", "6", "1"]


# -- events -----------------------------------------------------------------------------------------------


def test_events_can_begin_anywhere(journal: SqliteJournal, path: Path) -> None:
    """A stream is taken up again from a sequence number."""
    first, second = lines(query("events", "--from", "2", "--json", cwd=path.parent))
    assert (first["seq"], second["seq"]) == (2, 3)
    assert first == {
        "seq": 2,
        "kind": "task.ended",
        "at": "2030-01-02T03:04:05.600000+00:00",
        "data": {"n": 2},
        "address": "a::b",
        "task": 2,
        "key": "two",
        "slot": 0,
        "incarnation": None,
    }
    assert 'task.ended two a::b {"n":2}' in query("events", cwd=path.parent).stdout


def test_events_of_a_kind_of_a_task_and_the_last_ones(journal: SqliteJournal, path: Path) -> None:
    """Each option takes away; with --follow the last ones come before the new ones."""
    run = journal.get_run().id
    journal.commit(run, events=[RunEvent(kind="run.stopping", at=AT), event(2)])

    def seqs(*args: str) -> list[int]:
        return [each["seq"] for each in lines(query("events", "--json", *args, cwd=path.parent))]

    assert seqs("--kind", "run.stopping") == [4]
    assert seqs("--kind", "run.*", "--kind", "task.ended", "--from", "3") == [3, 4, 5]
    assert seqs("--key", "two") == [2, 5]
    assert seqs("--key", "two", "--tail", "1") == [5]
    assert seqs("--tail", "0") == []
    assert [each["key"] for each in lines(query("events", "--json", "--tail", "2", cwd=path.parent))] == [None, "two"]
    refused = query("events", "--key", "unknown", cwd=path.parent)
    assert (refused.returncode, refused.stderr) == (2, "quiesce: the run has no task with the key 'unknown'\n")
    journal.release(run)
    followed = query("events", "--tail", "1", "--follow", "--json", cwd=path.parent)
    assert [json.loads(line)["seq"] for line in followed.stdout.splitlines()] == [5]


def test_the_latest_runs(journal: SqliteJournal, path: Path) -> None:
    """`--limit` keeps the order."""
    journal.create_run("newest-run", agent=None)
    found = lines(query("runs", "--json", "--limit", "2", cwd=path.parent))
    assert [each["run_id"] for each in found] == ["new-run", "newest-run"]
    assert lines(query("runs", "--json", "--limit", "0", cwd=path.parent)) == []


def test_events_are_followed_until_the_run_has_ended(journal: SqliteJournal, path: Path) -> None:
    """Each as it is committed; then the command ends with 0, and nothing is missing or twice."""
    run = journal.get_run().id
    with start("events", "--follow", "--json", cwd=path.parent) as running:
        running.expect('"seq":3', stream="stdout")
        for number in (4, 5):
            journal.commit(run, events=[event(number)])
            running.expect(f'"seq":{number}', stream="stdout")
        journal.commit(run, events=[event(6)])
        journal.finish_run(run, ExecutionStatus.COMPLETED)
        done = running.wait()
    assert [each["seq"] for each in lines(done)] == [1, 2, 3, 4, 5, 6]


def test_following_ends_when_the_supervisor_is_gone(journal: SqliteJournal, path: Path) -> None:
    """One that was killed commits nothing more, so there is nothing to wait for."""
    with start("events", "--follow", cwd=path.parent) as running:
        running.expect("task.ended 3 a::b", stream="stdout")
        journal.release(journal.get_run().id)
        done = running.wait()
    assert done.returncode == 0
    assert done.stderr == "quiesce: the supervisor of run new-run is gone: nothing more comes until it is resumed\n"


def test_ctrl_c_ends_following_by_sigint(journal: SqliteJournal, path: Path) -> None:
    """The shell must see the truth; no traceback."""
    with start("events", "--follow", cwd=path.parent) as running:
        running.expect("task.ended 3 a::b", stream="stdout")
        running.send_group(signal.SIGINT)
        done = running.wait()
    assert done.signal is signal.SIGINT
    assert done.stderr == ""


# -- interrupt --------------------------------------------------------------------------------------------


def test_an_interrupt_reaches_the_living_supervisor(journal: SqliteJournal, path: Path) -> None:
    """With its reason, message and task."""
    run = journal.get_run().id
    done = query(
        "interrupt", "new", "--reason", "resource_limit", "--message", "no room", "--task", "6", cwd=path.parent
    )
    assert done.returncode == 0, done
    assert done.stdout == f"asked process {os.getpid()} to stop task '6' of new-run\n"
    (request,) = journal.take_requests(run)
    assert (request.signal.reason, request.signal.message) == (InterruptReason.RESOURCE_LIMIT, "no room")
    assert "quiesce interrupt" in request.signal.triggered_by
    assert (request.key, request.task) == ("6", 6)
    (told,) = lines(query("interrupt", "new-run", "--json", cwd=path.parent))
    assert (told["requested"], told["owner"]["pid"]) == (True, os.getpid())


def test_an_interrupt_without_a_living_supervisor_is_1(journal: SqliteJournal, path: Path) -> None:
    """And leaves nothing behind that would stop the next one."""
    done = query("interrupt", "old", cwd=path.parent)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "quiesce: no living supervisor has run old-run: nothing to interrupt\n"
    assert query("interrupt", "new", "--task", "seven", cwd=path.parent).returncode == 2


@pytest.mark.parametrize("option", ["--message", "--task"])
def test_a_word_that_is_no_text_is_refused(journal: SqliteJournal, path: Path, option: str) -> None:
    done = Running([*QUIESCE, "interrupt", "new", option, os.fsdecode(b"caf\xe9")], cwd=path.parent).wait()
    assert (done.returncode, done.stderr) == (2, "quiesce: argument 4, 'caf\\udce9', is not text in UTF-8\n")
    assert list(journal.take_requests(journal.get_run().id)) == []


def test_a_task_that_is_over_cannot_be_interrupted(journal: SqliteJournal, path: Path) -> None:
    key = next(outcome.key for outcome in journal.results(journal.get_run("new").id) if outcome.ok)
    done = query("interrupt", "new", "--task", key, cwd=path.parent)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"quiesce: task {key!r} of run new-run is over: it has completed\n"


def test_a_standard_output_that_takes_nothing_is_one_line(journal: SqliteJournal, path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        words = [*QUIESCE, "runs", "--journal", str(path)]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=90, check=False)
    assert (done.returncode, done.stderr) == (2, "quiesce: cannot write to standard output: No space left on device\n")


@pytest.mark.parametrize(("options", "key"), [([], r"\u043a\xfc"), (["--json"], '"key":"кü"')])
def test_a_locale_without_the_characters_is_no_obstacle(tmp_path: Path, options: list[str], key: str) -> None:
    where = tmp_path / "j.db"
    with open_journal(where) as journal:
        run = journal.create_run("r", agent=None)
        journal.add_tasks(run.id, [NewTask("кü", b"1")])
        journal.claim(run.id)
        outcome = TaskOutcome(seq=1, key="кü", status=ExecutionStatus.COMPLETED, attempts=1, encoded=b"1")
        journal.commit(run.id, outcomes=[outcome])
    plain = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    words = [*QUIESCE, "results", "--journal", str(where), *options]
    done = subprocess.run(words, capture_output=True, timeout=90, check=False, env=environment(plain))
    assert done.returncode == 0, done.stderr
    assert key in done.stdout.decode()


# -- wrong usage ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["status", "nothing"], "there is no run nothing in"),
        (["results", "--journal", "missing.db"], "there is no journal at"),
        (["events", "--journal", "text"], "is not a journal: it is another kind of file"),
        (["runs", "--journal", "."], "it is a directory"),
        (["runs", "--journal", "postgresql://h/d"], "not supported yet"),
        (["interrupt", "x", "--journal", "missing.db"], "there is no journal at"),
    ],
)
def test_wrong_usage_is_one_line_and_2(journal: SqliteJournal, path: Path, args: list[str], says: str) -> None:
    """No traceback, nothing on standard output, no file made."""
    (path.parent / "text").write_text("hello\n")
    before = set(os.listdir(path.parent))
    done = query(*args, cwd=path.parent)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert done.stderr.startswith("quiesce: ")
    assert done.stderr.count("\n") == 1
    assert set(os.listdir(path.parent)) == before


def test_a_query_does_not_disturb_a_run(journal: SqliteJournal, path: Path) -> None:
    """Its claim stands, its commits go on, while a query reads."""
    run = journal.get_run().id
    for args in (["status"], ["results"], ["runs"], ["events"]):
        assert query(*args, cwd=path.parent).returncode == 0
        journal.commit(run, events=[event(9)])
    owner = journal.get_run().owner
    assert owner is not None
    assert owner.alive
