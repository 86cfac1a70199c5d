"""Commands as agents: what they are given, how they end, how they are stopped, and how a run of them is resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from runtime.trace_ids import traceparent
from tests.process.helpers import look
from tests.support import procs
from tests.support.cli import Completed, run_cli, start_cli
from tests.support.wait import wait_until

GRACES = ("--grace", "1", "--term-grace", "1")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a journal of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRACEPARENT", raising=False)
    return tmp_path


def run(*words: str | os.PathLike[str], **options: Any) -> Completed:
    return run_cli("run", *words, **options)


def values(here: Path, run_id: str | None = None) -> dict[str, Any]:
    shown = run_cli("results", *([run_id] if run_id else []), "--json", cwd=here).stdout
    return {result["key"]: result["value"] for result in map(json.loads, shown.splitlines())}


def errors(here: Path) -> dict[str, str]:
    return {key: outcome.error or "" for key, outcome in look(here / "quiesce.db").outcomes.items()}


# -- what a command is given, and what is said of it ---------------------------------------------------

SHOW = """
import json, os, signal, sys
print(json.dumps({
    "environment": {name: os.environ.get(name) for name in sys.argv[1].split(",")},
    "is_folder": os.path.isdir(os.environ["QUIESCE_SNAPSHOT_DIR"]),
    "stdin": sys.stdin.read(),
    "group": os.getpgid(0) == os.getpid(),
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "pipe": signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN,
    "descriptors": sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:-1],
}))
"""
NAMES = "QUIESCE_RUN_ID,QUIESCE_KEY,QUIESCE_ATTEMPT,TRACEPARENT"


def test_a_command_knows_its_task_and_has_nothing_of_the_executor(here: Path) -> None:
    source = here / "in.jsonl"
    source.write_text(json.dumps({"key": "k 1", "text": "from\nthe input"}) + "\n")
    ended = run("--run-id", "r1", "--stdin", "text", "-i", source, "--", sys.executable, "-ISc", SHOW, NAMES, "{key}")
    assert ended.returncode == 0, ended
    said = json.loads(ended.stdout)
    assert said["environment"] == {
        "QUIESCE_RUN_ID": "r1",
        "QUIESCE_KEY": "k 1",
        "QUIESCE_ATTEMPT": "1",
        "TRACEPARENT": traceparent("r1", "k 1", 1),
    }
    assert said["stdin"] == "from\nthe input"
    assert said["is_folder"]
    assert said["group"]
    assert (said["blocked"], said["descriptors"]) == ([], [0, 1, 2])
    assert not (here / "quiesce.db.commands").exists()


ENDS = r"""
case $1 in
  ok) echo out; echo err >&2;;
  code) echo first >&2; printf 'the last line' >&2; exit 3;;
  shell) exit 137;;
  killed) kill -9 $$;;
  bytes) printf 'a\377b';;
  long) head -c 100000 /dev/zero | tr '\0' x; echo END;;
  reads) read line || echo no input;;
esac
"""


def test_ends_are_recorded_as_they_were(here: Path) -> None:
    kinds = ["ok", "code", "shell", "killed", "bytes", "long", "reads"]
    ended = run("-q", "-k", "--run-id", "r", "--", "sh", "-c", ENDS, "sh", "{}", ":::", *kinds)
    assert ended.returncode == 1, ended
    found = values(here)
    assert {key: (value["exit"], value["signal"]) for key, value in found.items()} == {
        "ok": (0, None), "code": (3, None), "shell": (137, None), "killed": (None, "SIGKILL"), "bytes": (0, None),
        "long": (0, None), "reads": (0, None),
    }  # fmt: skip
    assert errors(here)["code"] == "exit code 3: the last line"
    assert errors(here)["killed"] == "killed by SIGKILL"
    assert (found["ok"]["stdout"], found["ok"]["stderr"]) == ("out\n", "err\n")
    assert found["long"]["stdout_bytes"] == 100_004
    assert found["long"]["stdout"].endswith("xEND\n")
    assert len(found["long"]["stdout"]) == 4096
    assert found["bytes"]["stdout"] == "a\\xffb"
    assert ended.stdout.count("x") == 100_000 + 0  # all of it was printed
    assert "no input" in ended.stdout
    shown = run_cli("show", "r", "code").stdout
    assert "exit code 3: the last line" in shown
    assert "first" in shown
    assert "first" in run_cli("logs", "r", "--key", "code").stdout
    causes = run_cli("failures", "r").stdout
    assert "exit code 137" in causes
    assert "killed by SIGKILL" in causes


def test_failures_are_grouped_by_code_and_last_line(here: Path) -> None:
    script = "echo cannot open $1 >&2; exit 2"
    run("-q", "--run-id", "r", "--", "sh", "-c", script, "sh", "{}", ":::", "a1", "b2", "c3")
    groups = [json.loads(line) for line in run_cli("failures", "r", "--json").stdout.splitlines()]
    assert [(group["cause"], group["count"]) for group in groups] == [("exit code 2: cannot open {}", 3)]
    retried = run_cli("retry", "r", "--where", "cannot open", "--ok-codes", "0,2", "-q")
    assert retried.returncode == 0, retried


def test_commands_that_cannot_be_started_fail_and_are_not_tried_again(here: Path) -> None:
    (here / "text").write_text("not executable")
    (here / "script").write_text("echo no shebang $1\n")
    (here / "script").chmod(0o755)
    names = ["./nothing", "./text", "./script", "/"]
    ended = run("-q", "--retries", "2", "--retry-delay", "0.01", "--joblog", "log", "--", "{}", "x", ":::", *names)
    assert ended.returncode == 1, ended
    assert ended.stdout == "no shebang x\n"
    found = look(here / "quiesce.db").outcomes
    assert {key: outcome.attempts for key, outcome in found.items()} == dict.fromkeys(names, 1)
    assert found["./nothing"].error == "cannot start './nothing': No such file or directory"
    assert found["./text"].error == "cannot start './text': Permission denied"
    codes = {
        line.split("\t")[8].split()[0]: line.split("\t")[6] for line in (here / "log").read_text().splitlines()[1:]
    }
    assert codes["./nothing"] == "127"


def test_inputs_that_no_argument_can_carry_fail_in_one_line(here: Path) -> None:
    source = here / "in.jsonl"
    source.write_text("\n".join(json.dumps(text) for text in ("a\0b", "x" * 3_000_000)) + "\n")
    ended = run("-q", "-i", source, "--", "echo", "{}")
    assert ended.returncode == 1, ended
    found = sorted(errors(here).values())
    assert found[0].startswith("cannot start 'echo': embedded null")
    assert "E2BIG" in found[1]


def test_ok_codes_and_retry_codes(here: Path) -> None:
    script = 'echo x >>"tries-$1"; exit $1'
    words = ("sh", "-c", script, "sh", "{}", ":::", "1", "75", "9")
    options = ("--ok-codes", "0,9", "--retry-codes", "75", "--retries", "2", "--retry-delay", "0.01")
    ended = run("-q", *options, "--", *words)
    assert ended.returncode == 1, ended
    assert {code: len((here / f"tries-{code}").read_text().split()) for code in ("1", "75", "9")} == {
        "1": 1, "75": 3, "9": 1,
    }  # fmt: skip
    assert look(here / "quiesce.db").statuses() == {"1": "failed", "75": "failed", "9": "completed"}


def test_a_timeout_ends_the_command_and_no_command_beside_it(here: Path) -> None:
    script = "case $1 in late) trap '' TERM; setsid sleep 988 & sleep 988; sleep 988;; *) sleep 3; echo done;; esac"
    began = time.monotonic()
    ended = run(
        "-q", "-j", "2", "--timeout", "2", "--timeout-grace", "0.2", "--term-grace", "0.5", "--joblog", "log",
        "--", "sh", "-c", script, "sh", "{}", ":::", "late", "beside",
    )  # fmt: skip
    assert ended.returncode == 1, ended
    found = look(here / "quiesce.db").outcomes
    assert found["late"].error is not None
    assert "took longer than 2 s" in found["late"].error
    assert time.monotonic() - began < 60
    assert not left_over("988")


# -- stopping --------------------------------------------------------------------------------------------

KINDS = {
    "plain": "exec sleep 989",
    "child": "sleep 989 & wait; sleep 989",
    "detached": "setsid sleep 989 </dev/null >/dev/null 2>&1 & sleep 989",
    "deaf": "trap '' TERM; sleep 989; sleep 989",
}


def left_over(number: str) -> list[int]:
    mark = procs.mark_of_test()
    assert mark is not None
    return [
        process.pid
        for process in procs.processes_with(mark)
        if process.pid != os.getpid() and "sleep" in process.name()
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["TERM", "KILL"])
def test_nothing_is_left_of_commands_of_any_kind(here: Path, number: signal.Signals) -> None:
    script = "case $1 in " + " ".join(f"{name}) {what};;" for name, what in KINDS.items()) + " esac"
    with start_cli("run", "-q", "-j", "4", *GRACES, "--", "sh", "-c", script, "sh", "{}", ":::", *KINDS) as running:
        wait_until(lambda: sum("sleep" in process.name() for process in running.tree()) >= 5)
        running.send(number)
        ended = running.wait()
        assert ended.returncode == -number, ended
        wait_until(
            lambda: not [one for one in running.tree() if one.pid != running.pid], what=lambda: str(running.tree())
        )
    if number == signal.SIGTERM:
        assert look(here / "quiesce.db").statuses() == dict.fromkeys(KINDS, "interrupted")


def test_the_stop_signal_reaches_the_group_and_the_stop_file_says_when_the_next_rung_comes(here: Path) -> None:
    script = """
    trap 'cat "$QUIESCE_STOP_FILE" >file-$1; kill $!; exit 0' INT
    test -e "$QUIESCE_STOP_FILE" && exit 9
    echo progress >>"$QUIESCE_SNAPSHOT_DIR/kept"; sleep 989 & touch ready-$1; wait
    """
    words = ("--", "sh", "-c", script, "sh", "{}", ":::", "a")
    with start_cli("run", "-q", "--run-id", "r", "--stop-signal", "INT", "--grace", "30", *words) as running:
        wait_until((here / "ready-a").exists)
        asked = time.time()
        running.send(signal.SIGTERM)
        assert running.wait().returncode == -signal.SIGTERM
    at = float((here / "file-a").read_text())
    assert asked + 25 < at < time.time() + 31
    found = values(here)["a"]
    assert (found["exit"], found["signal"]) == (0, None)  # it was cut short all the same
    again = run_cli("resume", "r", "--", "sh", "-c", "true", "sh", "{}")
    assert again.returncode == 2
    assert "was begun with the command" in again.stderr
    kept = list((here / "quiesce.db.commands").glob("*/snapshots/1/kept"))
    assert [file.read_text() for file in kept] == ["progress\n"]


def test_a_command_that_daemonises_ends_its_task_and_not_its_daemon_before_the_run(here: Path) -> None:
    script = "setsid sh -c 'echo $$ >daemon; exec sleep 989' & until test -s daemon; do sleep 0.05; done; echo started"
    ended = run("-q", "--", "sh", "-c", script, "sh", "{}", ":::", "a")
    assert ended.returncode == 0, ended
    assert ended.stdout == "started\n"
    assert not procs.select(lambda pid: pid == int((here / "daemon").read_text()))


def test_what_a_command_leaves_in_its_group_is_ended_with_it(here: Path) -> None:
    script = (
        "case $1 in a) sleep 989 & echo $! >left;; b) while kill -0 $(cat left) 2>/dev/null; do sleep 0.05; done;; esac"
    )
    ended = run("-q", "-j", "1", "--", "sh", "-c", script, "sh", "{}", ":::", "a", "b")
    assert ended.returncode == 0, ended


def test_commands_of_a_killed_executor_end_and_run_again(here: Path) -> None:
    """Each of them once more, alone, because one of them may have killed it; the executor's death is in the log."""
    script = """
    echo x >>"tries-$1"
    test "$(wc -l <"tries-$1")" -gt 1 && exit 0
    echo $PPID >"parent-$1"; sleep 989
    """
    words = ("run", "-j", "2", "--run-id", "r", "--", "sh", "-c", script, "sh", "{}", ":::", "a", "b")
    with start_cli(*words) as running:
        parents = [here / f"parent-{name}" for name in "ab"]
        wait_until(lambda: all(path.exists() and path.read_text().strip() for path in parents))
        os.kill(int(parents[0].read_text()), signal.SIGKILL)
        ended = running.wait()
        assert ended.returncode == 0, ended
        assert not [process for process in running.tree() if "sleep" in process.name()]
    assert "SIGKILL" in ended.stderr
    assert look(here / "quiesce.db").statuses() == {"a": "completed", "b": "completed"}


def test_prune_removes_the_snapshots_of_a_run(here: Path) -> None:
    script = "echo x >$QUIESCE_SNAPSHOT_DIR/kept; exit 1"
    assert run("-q", "--run-id", "a/../r", "--", "sh", "-c", script, "sh", "{}", ":::", "a").returncode in (1, 2)
    run("-q", "--run-id", "r.1", "--", "sh", "-c", script, "sh", "{}", ":::", "a")
    assert list((here / "quiesce.db.commands").rglob("kept"))
    assert run_cli("prune", "--status", "failed").returncode == 0
    assert not (here / "quiesce.db.commands").exists()


# -- resuming by input ---------------------------------------------------------------------------------------


def test_a_run_is_resumed_by_its_inputs_wherever_they_stand_now(here: Path) -> None:
    source = here / "in"
    source.write_text("a\nb\nc\n")
    script = 'echo "$1" >>ran; test "$1" != b || test -e go || { touch reached; sleep 989; }'
    words = ("run", "-q", "-j", "1", "--run-id", "r", "--or-resume", "--lines", "-i", source, *GRACES)
    command = ("--", "sh", "-c", script, "sh", "{}")
    with start_cli(*words, *command) as running:
        wait_until((here / "reached").exists)
        running.send(signal.SIGTERM)
        running.wait()
    assert (here / "ran").read_text() == "a\nb\n"
    (here / "go").touch()
    source.write_text("new\nc\na\nb\n")
    other = run_cli(*words, "--", "sh", "-c", "true", "sh", "{}")
    assert (other.returncode, (here / "ran").read_text()) == (2, "a\nb\n")
    assert "was begun with the command" in other.stderr
    ended = run_cli(*words, *command)
    assert ended.returncode == 0, ended
    assert sorted((here / "ran").read_text().split()) == ["a", "b", "b", "c", "new"]
    source.write_text("new\nmore\nc\na\nb\n")
    assert "takes no new inputs" in run_cli(*words, *command).stderr
    source.write_text("a\nb\n")
    assert run_cli(*words, *command).returncode == 0  # what has ended need not be there any more


def test_a_pending_input_that_is_gone_is_named(here: Path) -> None:
    words = ("run", "-q", "-j", "1", "--run-id", "r", "--or-resume", *GRACES)
    command = ("--", "sh", "-c", "touch reached; sleep 989", "sh", "{}", ":::")
    with start_cli(*words, *command, "a", "b") as running:
        wait_until((here / "reached").exists)
        running.send(signal.SIGTERM)
        running.wait()
    ended = run_cli(*words, *command, "a")
    assert ended.returncode == 2
    assert "has the input 'b', which is not among the inputs now" in ended.stderr


# -- wrong usage ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--",), "no command behind --"),
        (("a.py:f", "--", "true", ":::", "a"), "not both"),
        (("-k", "a.py:f", "-i", "x"), "--keep-order is for commands"),
        (("--delay", "1", "a.py:f", "-i", "x"), "--delay is for commands"),
        (("--concurrency", "3", "--", "true", ":::", "a"), "--workers N (-j N)"),
        (("--", "no-such-program-at-all", ":::", "a"), "there is no program 'no-such-program-at-all'"),
        (("--lines", "--", "true", ":::", "a"), "stand behind ::: already"),
        (("--retry-codes", "75", "--", "true", ":::", "a"), "give --retries N"),
        (("--stop-signal", "NONE", "--", "true", ":::", "a"), "not the name of a signal"),
        (("--halt", "maybe", "--", "true", ":::", "a"), "is not like now,fail=1"),
        (("--arg", "a=1", "--", "true", ":::", "a"), "a command has its words"),
        (("--joblog", "/no/such/folder/log", "--", "true", ":::", "a"), "--joblog /no/such/folder/log"),
        (("--", "true", ":::"), "has no tasks"),
    ],
)
def test_wrong_usage_is_one_line(here: Path, words: tuple[str, ...], said: str) -> None:
    ended = run(*words)
    assert ended.returncode == 2, ended
    assert said in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_a_gibibyte_of_output_passes_through_no_process_of_ours(here: Path) -> None:
    gib = 1 << 30
    script = f"head -c {gib} /dev/zero"
    ended = run("-q", "--results", "res", "--", "sh", "-c", script, "sh", "{}", ":::", "a")
    assert ended.returncode == 0, ended
    file = here / "res" / "1" / "a" / "stdout"
    assert file.stat().st_size == gib
    file.unlink()
    assert (here / "quiesce.db").stat().st_size < 1 << 20
    assert values(here)["a"]["stdout_bytes"] == gib
    assert subprocess.run(["ls", "-A", here / "res" / "1" / "a"], capture_output=True, check=True).stdout.split() == [
        b"seq", b"stderr",
    ]  # fmt: skip
