"""Hundreds of executors end as one does: every task is recorded, every end is reported, nothing is left."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.process.helpers import agent, jsonl, look
from tests.support.cli import start_cli
from tests.support.sync import AnnouncementPipe

COUNT = 200


@pytest.mark.parametrize(("name", "rung"), [("plain:wait", "FLAG"), ("left:swallows_beside_a_child", "KILL")])
def test_hundreds_of_executors_all_end(tmp_path: Path, name: str, rung: str) -> None:
    journal = tmp_path / "j.db"
    with AnnouncementPipe(tmp_path / "post") as post:
        tasks = [{"key": f"k{number}", "post": post.path} for number in range(COUNT)]
        words = ("-i", jsonl(tmp_path / "in.jsonl", tasks), "-w", str(COUNT), "-j", journal)
        graces = ("--grace", "60", "--term-grace", "60") if rung == "FLAG" else ("--grace", "0", "--term-grace", "0")
        with start_cli("run", agent(name), *words, *graces) as running:
            post.expect(COUNT, 120)
            running.send(signal.SIGTERM)
            done = running.wait(120)
    assert done.returncode == -signal.SIGTERM, done
    seen = look(journal)
    assert seen.statuses() == {f"k{number}": "interrupted" for number in range(COUNT)}
    (verified,) = seen.named("cleanup.verified")
    assert verified["remaining"] == []
    if rung == "FLAG":
        assert len(seen.named("executor.exited")) == COUNT
        assert {each["exit"] for each in seen.named("executor.exited")} == {"exit code 0"}
