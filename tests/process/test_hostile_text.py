"""Text from outside reaches a terminal, a log and every query as text: no control characters, no markup."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from tests.process.agents.loud import HOSTILE
from tests.process.helpers import agent, jsonl
from tests.support.cli import QUIESCE, environment, run_cli
from tests.support.sync import AnnouncementPipe

OURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r\n")
"""What a live display and our own colours consist of, and a terminal's line ends."""

NAMES = ["exp[/2026]", "[bold]b[/]", f"x{HOSTILE}"]


def assert_clean(text: str) -> None:
    """Nothing that a terminal would obey, or that would forge a line."""
    assert text, "nothing was said"
    bad = sorted({char for char in text if not char.isprintable() and char != "\n"})
    assert not bad, f"{bad}: {text!r}"


def on_a_terminal(words: list[str]) -> tuple[int, str]:
    """Run it there, and what reached it."""
    ours, theirs = pty.openpty()
    heard = bytearray()

    def read() -> None:
        try:
            while data := os.read(ours, 65536):
                heard.extend(data)
        except OSError:
            pass  # the other side is closed

    env = {**environment(), "TERM": "xterm"}
    env.pop("NO_COLOR")
    with subprocess.Popen(
        [*QUIESCE, *words], stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=env, start_new_session=True
    ) as command:
        os.close(theirs)
        reader = threading.Thread(target=read)
        reader.start()
        try:
            code = command.wait(40)
        finally:
            command.kill()
            reader.join()
            os.close(ours)
    return code, heard.decode()


@pytest.mark.parametrize("progress", ["on", "off"])
@pytest.mark.parametrize("run_id", NAMES)
def test_on_a_terminal(tmp_path: Path, run_id: str, progress: str) -> None:
    if "\0" in run_id:
        run_id = run_id.replace("\0", "")
    tasks = [{"key": f"k{HOSTILE}"}, {"key": f"f{HOSTILE}", "fail": True}]
    source, journal = jsonl(tmp_path / "in.jsonl", tasks), str(tmp_path / "j.db")
    words = ["run", agent("loud:hostile"), "-i", str(source), "-j", journal, "-w", "1", f"--run-id={run_id}"]
    code, text = on_a_terminal([*words, "--progress", progress, "--log-level", "info"])
    assert code == 1, text
    assert "Traceback" not in text
    assert "[/b] [bold]not[/2026]" in text
    assert "EVIL" in text
    assert_clean(OURS.sub("", text).replace("\r", ""))
    for query in (["status", run_id], ["runs"], ["results", run_id], ["events", run_id]):
        code, text = on_a_terminal([*query, "-j", journal])
        assert code == 0, text
        assert_clean(OURS.sub("", text))


def test_json_for_machines_and_the_log_of_a_stop(tmp_path: Path) -> None:
    """The values are the same, in a notation that no terminal obeys; what to type next can be typed."""
    run_id = f"x{HOSTILE}".replace("\0", "")
    message = tmp_path / "message"
    with AnnouncementPipe(tmp_path / "post") as post:
        tasks = [{"key": f"k{HOSTILE}"}, {"key": f"f{HOSTILE}", "post": post.path}]
        source, journal = jsonl(tmp_path / "in.jsonl", tasks), tmp_path / "j.db"
        words = [*QUIESCE, "run", agent("loud:hostile"), "-i", str(source), "-j", str(journal), "-w", "1"]
        with subprocess.Popen(
            [*words, f"--run-id={run_id}", "--termination-message", str(message), "--json"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
        ) as running:  # fmt: skip
            try:
                post.expect(1, deadline=30)
                running.send_signal(signal.SIGTERM)
                out, err = running.communicate(timeout=90)
            finally:
                running.kill()
    assert running.returncode == -signal.SIGTERM
    assert_clean(err.decode())
    assert_clean(message.read_text())
    assert_clean(out.decode())
    assert json.loads(out)["run_id"] == run_id
    for query in ("runs", "results", "events", "status"):
        done = run_cli(query, "-j", journal, "--json")
        assert done.returncode == 0, done
        assert_clean(done.stdout)
        found = [json.loads(line) for line in done.stdout.splitlines()]
        assert query != "results" or found[0]["key"] == tasks[0]["key"]
        assert query != "results" or found[0]["value"] == HOSTILE
    hint = re.search(r"^To resume: quiesce (.*)$", err.decode(), re.MULTILINE)
    assert hint is not None
    typed = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {hint.group(1)}"], stdout=subprocess.PIPE, env=environment(), check=True
    )
    assert typed.stdout.decode().split("\0")[:2] == ["resume", run_id]


STRAY = r"""
import subprocess

def leaves(task, state):
    subprocess.Popen([b"sleep \xff\xfcller", b"1000"], executable="/bin/sleep", start_new_session=True)
    return task
"""


def test_a_stray_whose_command_line_is_no_text_is_named_and_ended(tmp_path: Path) -> None:
    """Its name travels from the guardian, which would end of it, and every executor with it."""
    (tmp_path / "agent.py").write_text(STRAY)
    source = jsonl(tmp_path / "in.jsonl", [1, 2])
    words: list[str | Path] = [
        "run",
        "agent.py:leaves",
        "-i",
        source,
        "-w",
        "2",
        "-j",
        "j.db",
        "--max-tasks-per-executor",
        "1",
    ]
    done = run_cli(*words, cwd=tmp_path)
    assert done.returncode == 0, done
    assert "guardian.lost" not in done.stderr
    assert "ller 1000" in done.stderr
    assert_clean(done.stderr)
