"""Its starters: nohup, setsid, timeout, xargs, make, GNU parallel, cron, a terminal that closes, a pipe that does.

Each run ends as the users of these tools expect, and leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.process.helpers import agent, jsonl, look
from tests.support.cli import QUIESCE, ROOT, Completed, Running, run_cli
from tests.support.sync import AnnouncementPipe
from tests.support.wait import wait_until

HELD = agent("parents:held")
QUICK = agent("parents:quick")
PICKY = agent("parents:picky")


@pytest.fixture
def post(tmp_path: Path) -> Iterator[AnnouncementPipe]:
    """Where agents say that they have begun."""
    with AnnouncementPipe(tmp_path / "post") as opened:
        yield opened


@pytest.fixture
def held(tmp_path: Path, post: AnnouncementPipe) -> list[str]:
    """A run of two tasks that go on until they are interrupted."""
    return command(HELD, jsonl(tmp_path / "held.jsonl", [{"post": post.path}] * 2), tmp_path / "q.db")


def command(name: str, source: Path, journal: Path, *options: str) -> list[str]:
    return [*QUIESCE, "run", name, "-i", str(source), "-j", str(journal), "-w", "2", "--grace", "5", *options]


def shell(*words: str) -> str:
    return shlex.join(words)


def require(tool: str) -> str:
    found = shutil.which(tool)
    if found is None:
        pytest.skip(f"{tool} is not installed")
    return found


def supervisor(running: Running) -> int:
    """The process that is quiesce itself, below the program that started it."""

    def find() -> int:
        for each in running.tree():
            try:
                words = each.cmdline()
            except psutil.Error:  # it has ended
                continue
            if str(QUIESCE[0]) in words[:2] or str(QUIESCE[0]) in words[:3]:
                return each.pid
        return 0

    return wait_until(find, 10, "the supervisor is among them")


def status(journal: Path) -> str:
    return str(look(journal).record.status)


# -- tools that start a program ---------------------------------------------------------------------------------


def test_nohup_keeps_it_from_a_hangup(tmp_path: Path, post: AnnouncementPipe, held: list[str]) -> None:
    """An ignored SIGHUP is a wish; SIGTERM still stops it."""
    with Running([require("nohup"), *held]) as running:
        post.expect(2)
        running.send(signal.SIGHUP)
        running.send(signal.SIGHUP)
        running.send(signal.SIGTERM)
        assert running.wait().signal is signal.SIGTERM
    seen = look(tmp_path / "q.db")
    assert [each["message"] for each in seen.named("interrupt.requested")] == ["received SIGTERM"]


def test_setsid_changes_nothing(post: AnnouncementPipe, held: list[str]) -> None:
    """A session of its own, without a terminal; `--wait` passes the death on as 128 + n."""
    with Running([require("setsid"), "--fork", "--wait", *held]) as running:
        post.expect(2)
        os.kill(supervisor(running), signal.SIGTERM)
        assert running.wait().returncode in (128 + signal.SIGTERM, signal.SIGTERM)


def test_timeout_stops_it_in_good_order(tmp_path: Path, post: AnnouncementPipe, held: list[str]) -> None:
    """It signals its child and then the group: that is one stop. It reports 124, and the run can be resumed."""
    with Running([require("timeout"), "--kill-after=20", "1000", *held]) as running:
        post.expect(2)
        running.send(signal.SIGALRM)  # its time is over
        done = running.wait()
    assert done.returncode == 124, done
    seen = look(tmp_path / "q.db")
    assert str(seen.record.status) == "interrupted"
    assert seen.named("interrupt.escalated") == []


def test_timeout_that_is_not_needed(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", range(3))
    with Running([require("timeout"), "60", *command(QUICK, source, tmp_path / "q.db")]) as running:
        assert running.wait().returncode == 0


def test_xargs_reports_failures(tmp_path: Path) -> None:
    """A run with failed tasks is a failed command (123 for the lot); the others ran all the same."""
    good = jsonl(tmp_path / "good.jsonl", [{}])
    bad = jsonl(tmp_path / "bad.jsonl", [{"bad": True}])
    script = f"printf '%s\\n' {bad} {good} | xargs -I% {shell(*QUIESCE, 'run', PICKY)} -i % -j %.db -w 1"
    require("xargs")
    with Running(["sh", "-c", script]) as running:
        assert running.wait().returncode == 123
    assert status(tmp_path / "bad.jsonl.db") == "failed"
    assert status(tmp_path / "good.jsonl.db") == "completed"


def test_xargs_stops_when_a_command_died_by_a_signal(tmp_path: Path, post: AnnouncementPipe, held: list[str]) -> None:
    """125, and what was still to come is not started."""
    require("xargs")
    with Running(["sh", "-c", f"echo 1 2 | xargs -n1 sh -c 'exec {shell(*held)} --run-id run$0'"]) as running:
        post.expect(2)
        os.kill(supervisor(running), signal.SIGTERM)
        assert running.wait().returncode == 125
    assert look(tmp_path / "q.db").record.run_id == "run1"


def test_make_is_interrupted_with_it(tmp_path: Path, post: AnnouncementPipe, held: list[str]) -> None:
    """Ctrl-C in a build: make sees that its recipe was interrupted, deletes the target, and ends by SIGINT too."""
    (tmp_path / "Makefile").write_text(f"results:\n\ttouch results; {shell(*held)}\nnext: results\n\ttouch next\n")
    with Running([require("make"), "-C", str(tmp_path), "next"]) as running:
        post.expect(2)
        running.send_group(signal.SIGINT)
        done = running.wait()
    assert done.signal is signal.SIGINT or done.returncode == 2, done
    assert not (tmp_path / "results").exists()
    assert not (tmp_path / "next").exists()
    assert status(tmp_path / "q.db") == "interrupted"


def test_make_stops_at_a_failed_run(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", [{"bad": True}])
    line = shell(*command(PICKY, source, tmp_path / "q.db"))
    (tmp_path / "Makefile").write_text(f"next: results\n\ttouch next\nresults:\n\t{line}\n")
    with Running([require("make"), "-C", str(tmp_path), "next"]) as running:
        done = running.wait()
    assert done.returncode == 2
    assert "Error 1" in done.stderr
    assert not (tmp_path / "next").exists()


def test_parallel_counts_failures(tmp_path: Path) -> None:
    """Its exit code is the number of failed jobs; each job has its own journal."""
    sources = [str(jsonl(tmp_path / f"{n}.jsonl", [{"bad": n == 2}, {}])) for n in range(3)]
    job = f"{shell(*QUIESCE, 'run', PICKY)} -i {{}} -j {{}}.db -w 1"
    with Running([require("parallel"), "--will-cite", "-j2", job, ":::", *sources], env=home(tmp_path)) as running:
        assert running.wait().returncode == 1
    assert [status(Path(f"{source}.db")) for source in sources] == ["completed", "completed", "failed"]


def test_parallel_passes_a_stop_on(tmp_path: Path, post: AnnouncementPipe, held: list[str]) -> None:
    """`--halt now,fail=1` sends SIGTERM to the jobs that are left: they end in good order."""
    bad = jsonl(tmp_path / "bad.jsonl", [{"bad": True}])
    waits = f"while [ ! -s {tmp_path}/begun ]; do sleep 0.05; done; "
    jobs = [shell(*held), waits + shell(*command(PICKY, bad, tmp_path / "bad.db"))]
    words = [require("parallel"), "--will-cite", "-j2", "--halt", "now,fail=1", "--termseq", "TERM,9000,KILL"]
    with Running([*words, ":::", *jobs], env=home(tmp_path)) as running:
        post.expect(2)
        (tmp_path / "begun").write_text("yes")
        assert running.wait().returncode != 0
    assert status(tmp_path / "q.db") == "interrupted"


def home(folder: Path) -> dict[str, str]:
    """parallel keeps notes in the home directory."""
    return {"HOME": str(folder), "SHELL": "/bin/sh"}


def test_cron_needs_no_terminal_and_no_environment(tmp_path: Path) -> None:
    """As crond starts it: `sh -c`, nothing but HOME, LOGNAME, SHELL and PATH, no locale, no standard input."""
    source = jsonl(tmp_path / "in.jsonl", ["naïve", "日本"])
    line = (
        f"cd {tmp_path} && {shell(*command(QUICK, source, tmp_path / 'q.db'))} && {QUIESCE[0]} results -j q.db --json"
    )
    minimal = [f"HOME={tmp_path}", "LOGNAME=nobody", "SHELL=/bin/sh", "PATH=/usr/bin:/bin", f"PYTHONPATH={ROOT}"]
    with Running(["env", "-i", *minimal, "setsid", "--wait", "/bin/sh", "-c", line]) as running:
        done = running.wait()
    assert done.returncode == 0, done
    assert "日本" in done.stdout
    assert "\x1b" not in done.stderr


# -- shells -----------------------------------------------------------------------------------------------------


def test_a_shell_sees_the_signal(post: AnnouncementPipe, held: list[str]) -> None:
    """128 + n in `$?`."""
    with Running(["sh", "-c", f"{shell(*held)}; echo status=$?"]) as running:
        post.expect(2)
        os.kill(supervisor(running), signal.SIGTERM)
        assert "status=143" in running.wait().stdout


def test_a_background_job_of_a_script_is_deaf_to_ctrl_c(
    tmp_path: Path, post: AnnouncementPipe, held: list[str]
) -> None:
    """A shell without job control starts it with SIGINT ignored, and means it; SIGTERM stops it."""
    with Running(["sh", "-c", f"trap '' INT; {shell(*held)} & wait $!; echo status=$?"]) as running:
        post.expect(2)
        running.send_group(signal.SIGINT)
        os.kill(supervisor(running), signal.SIGTERM)
        assert "status=143" in running.wait().stdout
    assert look(tmp_path / "q.db").named("interrupt.requested")[0]["message"] == "received SIGTERM"


def test_a_closed_terminal_ends_it(tmp_path: Path, post: AnnouncementPipe, held: list[str]) -> None:
    """The window is closed under a live display: SIGHUP, a clean end, death by that signal."""
    ours, theirs = os.openpty()
    try:
        words = [require("setsid"), "--wait", "--ctty", "sh", "-c", f"exec {shell(*held)} 2>&0"]
        with Running(words, stdin=theirs, env={"TERM": "xterm"}) as running:
            os.close(theirs)
            theirs = -1
            with _drained(ours):
                post.expect(2)
            os.close(ours)
            ours = -1
            assert running.wait().returncode in (signal.SIGHUP, 128 + signal.SIGHUP)  # setsid's, by its version
    finally:
        for fd in (ours, theirs):
            if fd >= 0:
                os.close(fd)
    seen = look(tmp_path / "q.db")
    assert str(seen.record.status) == "interrupted"
    assert seen.named("interrupt.requested")[0]["message"] == "received SIGHUP"


@contextlib.contextmanager
def _drained(fd: int) -> Iterator[None]:
    """A user reads the terminal while the block runs."""
    stop, wake = os.pipe()

    def read() -> None:
        while stop not in select.select([fd, stop], [], [])[0]:
            os.read(fd, 65536)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield
    finally:
        os.write(wake, b".")
        reader.join()
        os.close(stop)
        os.close(wake)


# -- pipes that close -------------------------------------------------------------------------------------------


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A journal with more results than a pipe holds."""
    source = jsonl(tmp_path / "many.jsonl", ["x" * 200] * 2000)
    done = run_cli("run", QUICK, "-i", source, "-j", tmp_path / "full.db", "-w", "2")
    assert done.returncode == 0, done
    return tmp_path / "full.db"


@pytest.mark.parametrize("query", ["results", "results --json", "events", "events --json"])
def test_head_takes_what_it_wants(full: Path, query: str) -> None:
    """The query dies by SIGPIPE, as any tool does, without a word."""
    require("bash")
    script = f'{QUIESCE[0]} {query} -j {full} | head -n 1 >/dev/null; echo "${{PIPESTATUS[*]}}"'
    with Running(["bash", "-c", script]) as running:
        done = running.wait()
    assert (done.stdout, done.stderr) == ("141 0\n", "")


@pytest.mark.parametrize(
    "words", ["unit a.py:f -i x", "manifest a.py:f -i x --image i", "doctor", "doctor --json", "--help", ""]
)
def test_what_only_prints_ends_by_sigpipe_too(words: str) -> None:
    """`quiesce unit … | true`. Its own answer is not what counts then."""
    gone, writing = os.pipe()
    os.close(gone)
    with Running([require("bash"), "-c", f"exec {QUIESCE[0]} {words} >&{writing}"], pass_fds=[writing]) as running:
        os.close(writing)
        assert running.wait().signal is signal.SIGPIPE


@pytest.mark.parametrize(
    "words",
    [
        "unit a.py:f -i x",
        "doctor",
        "doctor --json",
        "results -j {full}",
        "runs -j {full}",
        "status -j {full}",
        "--help",
        "--version",
    ],
)
def test_an_output_that_cannot_be_written_is_one_line(full: Path, words: str) -> None:
    """A full disk under `quiesce results >file`: no traceback, and no success."""
    with Running(["sh", "-c", f"exec {QUIESCE[0]} {words.format(full=full)} >/dev/full"]) as running:
        done = running.wait()
    assert done.returncode == 2, done
    assert done.stderr.splitlines()[-1] == "quiesce: cannot write to standard output: No space left on device", done
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("redirection", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full >/dev/full"])
def test_a_run_needs_nobody_to_talk_to(tmp_path: Path, redirection: str) -> None:
    """Standard streams that are closed or full cost words, not work."""
    source = jsonl(tmp_path / "in.jsonl", range(5))
    line = shell(*command(QUICK, source, tmp_path / "q.db"))
    with Running(["sh", "-c", f"{line} {redirection}"]) as running:
        assert running.wait().returncode == 0
    assert len(look(tmp_path / "q.db").values) == 5


def test_a_log_reader_that_leaves_does_not_end_the_run(tmp_path: Path) -> None:
    """`quiesce run 2>&1 | head -1`: it goes on to its end."""
    require("bash")
    source = jsonl(tmp_path / "in.jsonl", range(50))
    line = shell(*command(QUICK, source, tmp_path / "q.db"))
    with Running(["bash", "-c", f'{line} 2>&1 | head -n 1 >/dev/null; echo "${{PIPESTATUS[*]}}"']) as running:
        assert running.wait().stdout == "0 0\n"
    assert len(look(tmp_path / "q.db").values) == 50


# -- a service manager ------------------------------------------------------------------------------------------


def notified(path: Path) -> socket.socket:
    """A NOTIFY_SOCKET of our own."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(path))
    listening.settimeout(10)
    return listening


def heard(listening: socket.socket, word: str) -> list[str]:
    """Everything up to a word."""
    lines: list[str] = []
    while not any(line.startswith(word) for line in lines):
        lines += listening.recv(4096).decode().split("\n")
    return lines


def test_what_a_service_manager_hears(tmp_path: Path, post: AnnouncementPipe, held: list[str]) -> None:
    """READY with the first executor, pings, the status in words, STOPPING and more time; the same without a systemd."""
    with notified(tmp_path / "n") as listening:
        told = {"NOTIFY_SOCKET": str(tmp_path / "n"), "WATCHDOG_USEC": "4000000"}
        with Running(held, env=told) as running:
            before = heard(listening, "READY=1")
            assert set(before) <= {"WATCHDOG=1", "READY=1"} | {line for line in before if line.startswith("STATUS=")}
            post.expect(2)
            heard(listening, "STATUS=0/2 done, 2 executors")
            heard(listening, "WATCHDOG=1")
            running.send(signal.SIGTERM)
            stopping = heard(listening, "STOPPING=1")
            assert "STATUS=stopping (received SIGTERM): 0/2 done, 2 executors" in stopping
            assert any(line.startswith("EXTEND_TIMEOUT_USEC=") for line in stopping)
            assert running.wait().signal is signal.SIGTERM


def test_executors_inherit_nothing_of_it(tmp_path: Path) -> None:
    """Neither its variables nor its sockets: a child must not speak for the service, or hold its port open."""
    source = jsonl(tmp_path / "in.jsonl", [1])
    with notified(tmp_path / "n") as listening, socket.socket() as port:
        os.set_inheritable(port.fileno(), True)
        told = {
            "NOTIFY_SOCKET": str(tmp_path / "n"), "WATCHDOG_USEC": "4000000", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "x",
        }  # fmt: skip
        line = command(agent("parents:inherited"), source, tmp_path / "q.db")
        launch = (
            f"import os; os.dup2({port.fileno()}, 3); "
            f"os.environ['LISTEN_PID'] = str(os.getpid()); os.execv({line[0]!r}, {line!r})"
        )
        with Running([sys.executable, "-c", launch], env=told, pass_fds=[port.fileno()]) as running:
            done = running.wait()
        assert done.returncode == 0, done
        inode = os.readlink(f"/proc/self/fd/{port.fileno()}")
        heard(listening, "READY=1")
    (found,) = look(tmp_path / "q.db").values.values()
    assert found["variables"] == []
    assert inode not in found["files"].values()


# -- what the host grants ---------------------------------------------------------------------------------------


def test_a_run_that_exists_goes_on_where_it_ended(tmp_path: Path, post: AnnouncementPipe, held: list[str]) -> None:
    """`--or-resume`: the same command starts it, resumes it, and finds it done."""
    again = [*held, "--run-id", "r", "--or-resume"]
    for _ in range(2):
        with Running(again) as running:
            post.expect(2)
            running.send(signal.SIGTERM)
            assert running.wait().signal is signal.SIGTERM
    assert look(tmp_path / "q.db").record.starts == 2
    source = jsonl(tmp_path / "in.jsonl", [1, 2])
    line = [*command(QUICK, source, tmp_path / "done.db"), "--run-id", "r", "--or-resume"]
    first, second = finished(line), finished(line)
    assert (first.returncode, second.returncode) == (0, 0)
    assert second.stderr == "run r is over: 2 completed, 0 failed\n"
    assert look(tmp_path / "done.db").record.starts == 1


def finished(line: list[str]) -> Completed:
    with Running(line) as running:
        return running.wait()


def test_a_stream_cannot_be_resumed(tmp_path: Path) -> None:
    """Nor a run without a name."""
    for words in (["-i", "-", "--run-id", "r"], ["-i", str(jsonl(tmp_path / "in.jsonl", [1]))]):
        done = run_cli("run", QUICK, *words, "--or-resume", "-j", tmp_path / "q.db", stdin="1\n")
        assert done.returncode == 2, done
        assert "--or-resume needs --run-id ID and --input FILE" in done.stderr


def test_a_ladder_shrinks_into_what_the_host_grants(tmp_path: Path, post: AnnouncementPipe) -> None:
    """The warning has the numbers and the cure; the journal keeps the graces that were asked for."""
    source = jsonl(tmp_path / "held.jsonl", [{"post": post.path}] * 2)
    line = command(HELD, source, tmp_path / "q.db", "--grace", "60", "--term-grace", "30", "--host-grace", "4")
    with Running(line) as running:
        post.expect(2)
        assert "TimeoutStopSec=" in running.expect(r"ladder\.shortened.*")
        running.send(signal.SIGTERM)
        running.wait()
    seen = look(tmp_path / "q.db")
    (warning,) = seen.named("ladder.shortened")
    assert (warning["granted"], warning["needed"]) == (4.0, 95.0)
    (stop,) = seen.named("interrupt.requested")
    assert stop["grace"] + stop["term_grace"] < 4
    assert (seen.record.config["grace"], seen.record.config["term_grace"]) == (60, 30)
