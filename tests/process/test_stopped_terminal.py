"""A terminal whose reader has stopped (Ctrl-S, a frozen ssh): what is shown may be lost, the run's end may not."""

from __future__ import annotations

import os
import pty
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from tests.process.helpers import agent, jsonl, look
from tests.support import procs
from tests.support.cli import QUIESCE, environment
from tests.support.sync import AnnouncementPipe
from tests.support.tmux import Terminal
from tests.support.wait import wait_until


@pytest.mark.parametrize("progress", ["on", "off"])
def test_a_terminal_that_nobody_reads_holds_nobody_up(tmp_path: Path, progress: str) -> None:
    with AnnouncementPipe(tmp_path / "post") as post:
        tasks = [{"key": "talk", "lines": 5000, "post": post.path}]
        source, journal = jsonl(tmp_path / "in.jsonl", tasks), tmp_path / "j.db"
        ours, theirs = pty.openpty()
        words = ["run", agent("plain:talk"), "-i", source, "-j", journal, "-w", "1", "--grace", "2"]
        try:
            command = subprocess.Popen(
                [*QUIESCE, *map(str, words), "--log-level", "info", "--progress", progress],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=theirs,
                env={**environment(), "TERM": "xterm"},
            )
            try:
                post.expect(1)  # far more was said than a terminal holds
                command.send_signal(signal.SIGTERM)
                assert command.wait(20) == -signal.SIGTERM
            finally:
                command.kill()
                command.wait()
        finally:
            os.close(ours)
            os.close(theirs)
    assert wait_until(lambda: look(journal).statuses()) == {"talk": "interrupted"}


def test_a_background_job_of_a_terminal_with_tostop_comes_to_its_end(tmp_path: Path) -> None:
    """Its output would stop it, and after every `kill -CONT` the next line again."""
    with AnnouncementPipe(tmp_path / "post") as post, Terminal(cwd=tmp_path) as terminal:
        source = jsonl(tmp_path / "in.jsonl", [{"key": "wait", "post": post.path}])
        words = [*QUIESCE, "run", agent("plain:wait"), "-i", source, "-j", tmp_path / "j.db", "-w", "1"]
        terminal.run("stty tostop")
        terminal.run(f"{shlex.join(map(str, words))} & echo $! > job")
        post.expect(1, deadline=30)
        pid = int((tmp_path / "job").read_text())
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGCONT)
        terminal.expect(r"To resume: quiesce resume")
        wait_until(lambda: (procs.stat_of(pid) or "Z")[0] == "Z", 15, what="the job to end")
    assert look(tmp_path / "j.db").statuses() == {"wait": "interrupted"}
