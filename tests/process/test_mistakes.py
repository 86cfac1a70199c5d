"""Forty and more kinds of wrong usage: each ends with exit code 2 and one clear line on standard error.

(tests/process/test_wrong_usage.py has those of `run` that leave no run in the journal.)
"""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.process.helpers import agent, jsonl
from tests.support.cli import QUIESCE, Running, environment, run_cli

RUN = ["run", "agents.py:work", "-i", "in.jsonl"]
TIME = "write seconds, or a time like 10, 1.5s, 2m, 1h30m or 30d"
SIZE = "write bytes, or a size like 1048576, 512M or 1GiB"

MISTAKES: list[tuple[list[str], str]] = [
    # options
    ([*RUN, "--timeout", "1m1h"], f"'1m1h' is not a time: {TIME}"),
    ([*RUN, "--grace=-1"], f"'-1' is not a time: {TIME}"),
    ([*RUN, "--deadline", "1:30"], f"'1:30' is not a time: {TIME}"),
    ([*RUN, "--memory-limit", "5X"], f"'5X' is not a size: {SIZE}"),
    ([*RUN, "--max-memory-per-executor", "-1"], f"'-1' is not a size: {SIZE}"),
    ([*RUN, "--retries", "1.5"], "'--retries': it must be a whole number"),
    ([*RUN, "--workers", "two"], "it must be a whole number"),
    ([*RUN, "--concurrency", "0"], "it must be at least 1"),
    ([*RUN, "--probe-port", "99999"], "it must be at most 65535"),
    ([*RUN, "--max-failures", "-1"], "'-1' is neither a count nor a percentage"),
    ([*RUN, "--worker", "3"], "No such option: --worker (Possible options: --workers)"),
    ([*RUN, "--progress", "loud"], "'loud' is not one of 'auto', 'on', 'plain', 'off'"),
    ([*RUN, "--color", "blue"], "'blue' is not one of 'auto', 'always', 'never'"),
    ([*RUN, "--interrupted-exit-code", "256"], "it must be at most 255"),
    ([*RUN, "--preempt=maybe"], "'--preempt' does not take a value"),
    ([*RUN, "-q", "-v"], "-q and -v contradict each other"),
    ([*RUN, "--or-resume"], "--or-resume needs --run-id ID"),
    (["config", "--timeout", "soon"], f"'soon' is not a time: {TIME}"),
    (["doctor", "--workers", "0"], "it must be at least 1"),
    # agents
    (["run", "", "-i", "in.jsonl"], "the agent is blank"),
    (["run", "agents.py", "-i", "in.jsonl"], "'agents.py' is not an agent"),
    (["run", "agents.py:wrok", "-i", "in.jsonl"], "has no 'wrok'; did you mean work?"),
    (["run", "agents.py:__doc__", "-i", "in.jsonl"], "is not callable"),
    (["run", "folder/x.py:work", "-i", "in.jsonl"], "no file"),
    # inputs
    (["run", "agents.py:work", "-i"], "'-i' requires an argument"),
    (["run", "agents.py:work", "-i", "none.jsonl"], "none.jsonl"),
    # journals
    ([*RUN, "-j", ""], "--journal is blank"),
    ([*RUN, "-j", "tiny.db"], "tiny.db is not a journal: it is another kind of file"),
    ([*RUN, "-j", "folder"], "it is a directory"),
    ([*RUN, "-j", "folder/x/y.db"], "there is no directory"),
    ([*RUN, "-j", "mysql://host/x"], "no kind of journal called 'mysql'"),
    ([*RUN, "-j", "/dev/null"], "it is not a regular file"),
    (["status", "-j", "none.db"], "there is no journal at"),
    (["runs", "-j", "tiny.db"], "tiny.db is not a journal"),
    (["runs", "-j", "empty.db"], "empty.db is empty, not a journal"),
    # runs, keys and what may be chosen of them
    (["status", "none"], "there is no run none"),
    (["results", "none"], "there is no run none"),
    (["failures", "none"], "there is no run none"),
    (["show", "done"], "Missing argument 'KEY'"),
    (["show", "done", "nokey"], "nokey"),
    (["events", "done", "--key", "nokey"], "nokey"),
    (["events", "done", "--tail", "-1"], "it must be at least 0"),
    (["results", "done", "--status", "good"], "'good' is not one of"),
    (["runs", "--limit", "x"], "it must be a whole number"),
    (["resume", "none"], "there is no run none"),
    (["resume", "done", "extra"], "unexpected extra argument"),
    (["retry", "done"], "no failed task to retry"),
    (["retry", "none"], "there is no run none"),
    (["retry", "done", "--where", "("], "is not a regular expression"),
    (["interrupt", "none"], "there is no run none"),
    (["interrupt", "done", "--reason", "boredom"], "'boredom' is not one of"),
    (["interrupt", "done", "--task", "1"], "is over"),
    # files for hosts
    (["unit", "agents.py:work"], "needs --input FILE"),
    (["unit", "agents.py:work", "-i", "in.jsonl", "--watchdog", "soon"], f"'soon' is not a time: {TIME}"),
    (["unit", "agents.py:work", "-i", "in.jsonl", "--memory-max", "lots"], f"'lots' is not a size: {SIZE}"),
    (["unit", "agents.py:work", "-i", "in.jsonl", "--writable", "none"], "there is no directory"),
    (["manifest", "agents.py:work", "-i", "in.jsonl"], "Missing option '--image'"),
    (["manifest", "agents.py:work", "-i", "in.jsonl", "--image", "x", "-j", "rel.db"], "needs an absolute path"),
    (["probe", "8080"], "probe needs a port and a path"),
    (["stats"], "No such command 'stats'. Did you mean 'status', 'stacks'?"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an agent, an input, a journal with a run that is over, and files that are none of these."""
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "agents.py").write_text("def work(task_input, state):\n    return task_input\n")
    (folder / "folder").mkdir()
    (folder / "tiny.db").write_text("x")
    (folder / "empty.db").touch()
    source = jsonl(folder / "in.jsonl", [1, 2])
    done = run_cli(
        "run", agent("plain:double"), "-i", source, "-w", "1", "-j", folder / "quiesce.db", "--run-id", "done"
    )
    assert done.returncode == 0, done
    return folder


@pytest.mark.parametrize(("arguments", "words"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_a_mistake_is_one_clear_line(folder: Path, arguments: list[str], words: str) -> None:
    before = sorted(os.listdir(folder))
    with Running([*QUIESCE, *arguments], cwd=folder, env=environment()) as running:
        done = running.wait()
    assert (done.returncode, done.stdout) == (2, ""), done
    assert done.stderr.count("\n") == 1, done
    assert done.stderr.startswith(("quiesce: ", "quiesce probe: ")), done
    assert words in done.stderr
    assert (folder / "tiny.db").read_text() == "x"
    assert {name for name in os.listdir(folder) if not name.startswith(("quiesce.db", "__pycache__"))} <= set(before)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("quiesce.toml", "wrokers = 2\n", "quiesce.toml: unknown setting 'wrokers'; did you mean workers?"),
        ("quiesce.toml", 'timeout = "soon"\n', f"quiesce.toml: timeout = 'soon': 'soon' is not a time: {TIME}"),
        ("quiesce.toml", "workers = 0\n", "quiesce.toml: workers = 0"),
        ("quiesce.toml", "workers =\n", "quiesce.toml is not TOML"),
        ("quiesce.toml", "[run]\nworkers = 1\n", "quiesce.toml: unknown setting 'run'"),
        ("pyproject.toml", '[tool.quiesce]\nmemory-limit = "2G"\n', "did you mean memory_limit?"),
        ("pyproject.toml", "[tool]\nquiesce = 1\n", "tool.quiesce is not a table"),
    ],
)
@pytest.mark.parametrize("command", [["config"], ["run", "agents.py:work", "-i", "in.jsonl"]])
def test_a_mistake_in_a_file_names_it(
    tmp_path: Path, folder: Path, command: list[str], name: str, text: str, words: str
) -> None:
    (tmp_path / name).write_text(text)
    for file in ("agents.py", "in.jsonl"):
        (tmp_path / file).symlink_to(folder / file)
    with Running([*QUIESCE, *command], cwd=tmp_path, env=environment()) as running:
        done = running.wait()
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
    assert words in done.stderr
    assert not (tmp_path / "quiesce.db").exists()


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("QUIESCE_WORKERS", "many", "QUIESCE_WORKERS: workers = 'many'"),
        ("QUIESCE_TIMEOUT", "1 day", f"QUIESCE_TIMEOUT: timeout = '1 day': '1 day' is not a time: {TIME}"),
        ("QUIESCE_PREEMPT", "perhaps", "QUIESCE_PREEMPT: preempt = 'perhaps'"),
        ("QUIESCE_JOURNAL", "/dev/null", "it is not a regular file"),
    ],
)
def test_a_mistake_in_a_variable_names_it(folder: Path, variable: str, value: str, words: str) -> None:
    with Running([*QUIESCE, *RUN], cwd=folder, env=environment({variable: value})) as running:
        done = running.wait()
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
    assert words in done.stderr


@pytest.mark.parametrize("command", [["runs"], ["config"], ["events", "done"], ["status", "--help"]])
def test_a_full_disk_behind_standard_output_is_one_line(folder: Path, command: list[str]) -> None:
    words = " ".join([*map(str, QUIESCE), *command])
    with Running(["sh", "-c", f"{words} > /dev/full"], cwd=folder, env=environment()) as running:
        done = running.wait()
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done
    assert "cannot write to standard output: No space left on device" in done.stderr


@pytest.mark.skipif(shutil.which("bash") is None, reason="a shell for descriptors of two digits")
@pytest.mark.parametrize("command", [["runs"], ["config"], ["events", "done"], ["status", "--help"]])
def test_a_reader_that_is_gone_is_no_traceback(folder: Path, command: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    script = f"exec {' '.join([*map(str, QUIESCE), *command])} >&{write}"
    with Running(["bash", "-c", script], cwd=folder, env=environment(), pass_fds=[write]) as running:
        os.close(write)
        done = running.wait()
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, ""), done
