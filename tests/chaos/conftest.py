"""What a scenario gets: a folder with an input, a way to start a real run on it, and the proof that all is gone."""

from __future__ import annotations

import json
import random
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support import procs
from tests.support.chaos.faults import Target
from tests.support.chaos.places import Disk
from tests.support.chaos.round import AGENT
from tests.support.chaos.truth import JournalAuditor
from tests.support.cli import ROOT, Completed, Running, run_cli, start_cli
from tests.support.eof import ExitDetector
from tests.support.leaks import no_leaks
from tests.support.wait import wait_until

__all__ = ["no_leaks"]

SLACK = 2.0
"""Seconds beyond the graces, for a machine that has other things to do."""


@dataclass
class Scenario:
    """One run under attack."""

    folder: Path
    proof: ExitDetector
    run_id: str = field(default_factory=lambda: f"scenario-{secrets.token_hex(4)}")

    @property
    def journal(self) -> Path:
        """Where it is recorded."""
        return self.folder / "journal.db"

    @property
    def auditor(self) -> JournalAuditor:
        """A fresh look at the journal."""
        return JournalAuditor(self.journal, self.run_id)

    def tasks(self, kinds: list[str], hold: float = 30.0) -> list[dict[str, Any]]:
        """Write the input: one task a kind."""
        (self.folder / "marks").mkdir(exist_ok=True)
        tasks = [
            {
                "key": f"t{n:03}", "n": n, "kind": kind, "seed": 0, "marks": str(self.folder / "marks"),
                "proof": self.proof.path, "hold": hold,
            }
            for n, kind in enumerate(kinds)
        ]  # fmt: skip
        (self.folder / "input.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
        return tasks

    def arguments(self, workers: int = 2, grace: float = 0.3, term_grace: float = 0.3) -> list[str]:
        """Return the arguments of `quiesce`."""
        return [
            "run", f"{AGENT}:mixed", "--input", str(self.folder / "input.jsonl"), "--journal", str(self.journal),
            "--run-id", self.run_id, "--workers", str(workers), "--grace", str(grace), "--term-grace", str(term_grace),
        ]  # fmt: skip

    def start(self, **settings: Any) -> Running:
        """`quiesce run` in the background."""
        return start_cli(*self.arguments(**settings), env=self.environment(), cwd=self.folder)

    def resume(self) -> Completed:
        """`quiesce resume` to its end. No agent is hostile or slow any more."""
        for line in (self.folder / "input.jsonl").read_text().splitlines():
            (self.folder / "marks" / json.loads(line)["key"]).touch()
        return run_cli("resume", self.run_id, "--journal", str(self.journal), env=self.environment(), cwd=self.folder)

    def environment(self) -> dict[str, str]:
        """Agents find the package of their helpers."""
        return {"PYTHONPATH": str(ROOT)}

    def target(self, running: Running) -> Target:
        """The run as the injector sees it."""
        return Target(psutil.Process(running.pid), Disk(self.folder), random.Random(0))

    def wait_until_gone(self, within: float) -> float:
        """Wait until every process that held the proof is gone; seconds. No process carries the run's id either."""
        end = time.monotonic() + within
        seconds = self.proof.wait(within)
        wait_until(
            lambda: not procs.processes_of_run(self.run_id),
            end - time.monotonic(),
            lambda: str([procs.describe(each) for each in procs.processes_of_run(self.run_id)]),
        )
        return seconds

    def resume_to_the_end(self, tasks: list[dict[str, Any]]) -> None:
        """Resume until it is over, and compare with the truth."""
        for _ in range(4):
            run = self.auditor.read()
            if run is not None and run.ended:
                break
            done = self.resume()
            assert done.returncode in (0, 1), done
        auditor = self.auditor
        auditor.read()
        assert auditor.find_wrong_outcomes(tasks, kills=0) == []
        assert auditor.find_double_ends() == []


@pytest.fixture
def scenario(tmp_path: Path) -> Iterator[Scenario]:
    """A run's folder and proof; at the end nothing may be left (tests.support.leaks sees to that)."""
    with ExitDetector() as proof:
        yield Scenario(tmp_path, proof)
