"""One round: a real run, attacked as planned, resumed until it is complete, and looked at from every side."""

from __future__ import annotations

import glob
import json
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from runtime.process.cgroup import RunCgroup
from tests.support import procs
from tests.support.chaos.agents import OVERLAP
from tests.support.chaos.clock import Clock
from tests.support.chaos.faults import Target, inject
from tests.support.chaos.fuse import hung_file_system
from tests.support.chaos.places import (
    PLAIN_USER,
    Disk,
    as_plain_user,
    disk_for,
    few_processes,
    stopped_terminal,
    with_blocked_signals,
    without_cgroups,
)
from tests.support.chaos.plan import Fault, Plan
from tests.support.chaos.truth import JournalAuditor
from tests.support.cli import QUIESCE, ROOT
from tests.support.eof import ExitDetector
from tests.support.stacks import dump_and_kill

LIMIT = 40.0
"""Seconds that one attempt may take before it counts as hanging, a ladder included."""

MOST_RESUMES = 6
"""A round that is not complete after so many is stuck in a circle."""

SLACK = 2.5
"""Seconds beyond the graces within which everything must be gone, on a machine that has other things to do."""

LATENESS = {"locked journal": 10.0, "second run": 10.0}
"""Seconds that a theme's world may add to the end: what docs/stopping.md grants to a journal that is locked."""

WRAPPERS = {"no cgroup": without_cgroups, "plain user": as_plain_user, "blocked signals": with_blocked_signals}
"""Commands that give a run its world."""

AGENT = str(Path(__file__).with_name("agents.py"))
_STOPS = {"TERM": signal.SIGTERM, "INT": signal.SIGINT, "HUP": signal.SIGHUP}


@dataclass
class Report:
    """What a round showed. It is good when there are no `problems`. `cannot`: why it could not be played here."""

    plan: Plan
    faults: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    seconds: float = 0.0
    cannot: str = ""

    @property
    def problems(self) -> list[str]:
        """Everything that is wrong, in words."""
        named = (("lost", self.lost), ("twice", self.twice), ("left", self.left), ("", self.other))
        return [f"{name}: {what}" if name else what for name, found in named for what in found]


def play(plan: Plan) -> Report:
    """Play one round, and clean up after it whatever happens."""
    report = Report(plan)
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="quiesce-chaos-"))
    try:
        with ExitStack() as stack:
            disk = stack.enter_context(disk_for(plan.theme, folder))
            clock = Clock.build(folder) if plan.theme == "clock" else None
            if disk is None or (plan.theme == "clock" and clock is None):
                report.cannot = f"this host cannot have the world of {plan.theme!r}"
            else:
                round_ = _Round(plan, folder, disk, report, stack, clock)
                report.cannot = round_.cannot()
                if not report.cannot:
                    round_.play()
    except Exception:
        report.other.append(f"the round itself failed:\n{traceback.format_exc()}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report.seconds = time.monotonic() - began
    return report


class _Round:
    def __init__(
        self, plan: Plan, folder: Path, disk: Disk, report: Report, stack: ExitStack, clock: Clock | None
    ) -> None:
        self.plan, self.folder, self.disk, self.report = plan, folder, disk, report
        self.rng = random.Random(plan.seed ^ 0x5EED)
        self.run_id = f"chaos-{plan.seed}-{uuid.uuid4().hex[:6]}"
        self.marker = f"QUIESCE_CHAOS_{uuid.uuid4().hex[:12]}"
        self.auditor = JournalAuditor(disk.journal, self.run_id)
        self.tmp = folder / "tmp"
        self.clock = clock
        self.is_hasty = plan.theme in ("plain", "no cgroup") and random.Random(plan.seed ^ 0xA57E).random() < 0.5
        """Whether the next start does not wait until what a killed supervisor left is gone."""
        self.unproven: list[ExitDetector] = []
        self.target: Target | None = None
        self.stack = stack
        for each in (self.tmp, folder / "marks"):
            each.mkdir()
        wanted = plan.theme == "no processes"
        self.pids = stack.enter_context(few_processes(self.marker.lower())) if wanted else None
        self.wrapper = WRAPPERS[plan.theme]() if plan.theme in WRAPPERS else []
        self.hung = stack.enter_context(hung_file_system(folder / "hung")) if plan.theme == "uninterruptible" else None
        self._give_to_plain_user(self.folder, self.disk.folder, self.tmp, self.folder / "marks")

    def _give_to_plain_user(self, *paths: str | os.PathLike[str]) -> None:
        if self.plan.theme == "plain user" and self.wrapper:
            for path in paths:
                os.chown(path, PLAIN_USER, PLAIN_USER)

    def cannot(self) -> str:
        """Return why this host cannot have the round's world; empty if it can."""
        is_missing = (self.plan.theme == "plain user" and not self.wrapper) or (
            self.plan.theme == "uninterruptible" and self.hung is None
        )
        return f"this host cannot have the world of {self.plan.theme!r}" if is_missing else ""

    def play(self) -> None:
        """Every planned attempt, then as many as it needs, then the last look."""
        for number in range(MOST_RESUMES + len(self.plan.attempts)):
            faults = self.plan.attempts[number] if number < len(self.plan.attempts) else ()
            self._attempt(faults, self.stack.enter_context(ExitDetector()))
            if self.report.problems:
                return
            if self.plan.theme == "deleted" and self.report.faults["deleted"]:
                return  # there is nothing to go on with
            if self.plan.theme == "truncated" and self.report.faults["truncated"] and self.code not in (0, 1):
                return  # it ended with an error, and what the log had is gone
            self.disk.mend()
            run = self.auditor.read()
            self.report.lost += self.auditor.lost
            if run is not None and run.ended:
                break
        else:
            self.report.other.append("was not complete after many resumes")
            return
        tasks = self.plan.tasks(str(self.folder), "")
        self.report.lost += self.auditor.find_wrong_outcomes(tasks, self.report.faults["executor KILL"])
        self.report.twice += self.auditor.find_double_ends()

    # -- one attempt --------------------------------------------------------------------------------------

    def _attempt(self, faults: Sequence[Fault], proof: ExitDetector) -> None:
        began = time.monotonic()
        with (self.folder / "stderr").open("w+b") as stderr:
            popen = self._start(proof, stderr.fileno())
            is_over = True
            try:
                stopped_at = self._attack(popen, faults, proof, began)
                is_over = self._end(popen, stopped_at, proof)
            finally:
                if self.target is not None:
                    self.target.wait_scheduled()  # not before the end: a tracer that lets go later must not lengthen it
                self._release(popen)
                if is_over:
                    self._clean()
            stderr.seek(0)
            said = stderr.read().decode(errors="replace")
            self.code = popen.returncode
            self._judge_end(popen.returncode, faults, said)
            if self.report.problems:
                self.report.other.append(f"it said:\n{said[-40000:]}")

    def _start(self, proof: ExitDetector, stderr: int) -> subprocess.Popen[bytes]:
        self._give_to_plain_user(proof.path, os.path.dirname(proof.path))
        command = [*QUIESCE, *self._arguments(proof.path)]
        env = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(self.tmp),
            self.marker: "1",
            "PYTHONFAULTHANDLER": "1",
        }
        if self.clock is not None:
            env |= self.clock.environment
        self.unread = os.pipe() if self.plan.theme == "unread" else None
        out = stderr if self.unread is None else self.unread[1]
        if self.plan.theme == "hung log":
            out = self.stack.enter_context(stopped_terminal())
        popen = subprocess.Popen(
            [*self.wrapper, *command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=env,
            cwd=self.folder,
            process_group=0,
        )
        if self.pids is not None:
            (self.pids / "cgroup.procs").write_text(str(popen.pid))
        return popen

    def _arguments(self, proof: str) -> list[str]:
        journal = str(self.disk.journal)
        try:
            exists = self.auditor.read() is not None
        except Exception:  # a journal that cannot be read can still be resumed, or refused
            exists = True
        self._write_input(proof)
        common = ["--journal", journal, "--progress", "off"]
        if exists:
            return ["resume", self.run_id, *common]
        common += self.plan.options
        agent = f"{AGENT}:{'amixed' if self.plan.asynchronous else 'mixed'}"
        settings = {
            "--workers": self.plan.workers, "--concurrency": self.plan.concurrency, "--grace": self.plan.grace,
            "--term-grace": self.plan.term_grace, "--input": self.folder / "input.jsonl", "--run-id": self.run_id,
        }  # fmt: skip
        return ["run", agent, *common, *(str(word) for pair in settings.items() for word in pair)]

    def _write_input(self, proof: str) -> None:
        """Make a new proof for every attempt; the tasks name a link to it."""
        link = self.folder / "proof"
        with suppress(FileNotFoundError):
            link.unlink()
        link.symlink_to(proof)
        lines = "".join(json.dumps(task) + "\n" for task in self.plan.tasks(str(self.folder), str(link)))
        (self.folder / "input.jsonl").write_text(lines)

    # -- the attack -----------------------------------------------------------------------------------------

    def _attack(
        self, popen: subprocess.Popen[bytes], faults: Sequence[Fault], proof: ExitDetector, began: float
    ) -> float | None:
        """Carry the faults out. When the last one came that ends the attempt (monotonic seconds)."""
        try:
            target = self.target = Target(psutil.Process(popen.pid), self.disk, self.rng, self.pids, self.clock)
        except psutil.Error:
            return None
        stopped_at = None
        if any(not fault.early for fault in faults):
            began = self._wait_until_working(popen, proof)
        for fault in faults:
            self._wait(popen, began + fault.at)
            if popen.poll() is not None:
                break
            self.auditor.try_to_read()
            if inject(fault.kind, target):
                self.report.faults[fault.kind] += 1
                if fault.kind.split()[0] in ("supervisor", "group") and not fault.kind.endswith("CONT"):
                    stopped_at = time.monotonic()
        return stopped_at

    def _wait_until_working(self, popen: subprocess.Popen[bytes], proof: ExitDetector) -> float:
        end = time.monotonic() + LIMIT
        while popen.poll() is None and time.monotonic() < end:
            with suppress(AssertionError):
                proof.wait_until_held(1, deadline=0.05)
                break
        return time.monotonic()

    def _wait(self, popen: subprocess.Popen[bytes], until: float) -> None:
        with suppress(subprocess.TimeoutExpired):
            popen.wait(max(0.0, until - time.monotonic()))

    # -- the end --------------------------------------------------------------------------------------------

    def _end(self, popen: subprocess.Popen[bytes], stopped_at: float | None, proof: ExitDetector) -> bool:
        """Wait until the supervisor ends and its processes are gone. Return False where that is not waited for."""
        try:
            popen.wait(LIMIT)
        except subprocess.TimeoutExpired:
            everybody = [psutil.Process(popen.pid), *self._strays()]
            self.report.other.append(f"did not end within {LIMIT:g} s:\n{dump_and_kill(everybody)}")
            return True
        if self.hung is not None:
            self.hung.release()  # not before: the supervisor had to end beside it
        self.unproven.append(proof)
        overlaps = [path.stem for path in (self.folder / "marks").glob(f"*{OVERLAP}")]
        self.report.other += [f"task {key} was executed by two at once" for key in overlaps]
        if self.is_hasty and popen.returncode == -signal.SIGKILL:
            return False
        graces = self.plan.grace + self.plan.term_grace
        try:
            for each in self.unproven:
                each.wait(graces + SLACK)
        except AssertionError as error:
            self.report.left.append(f"after exit {popen.returncode}: {error}")
        self.unproven.clear()
        bound = time.monotonic() + SLACK
        while (strays := self._strays()) and time.monotonic() < bound:
            time.sleep(0.01)
        self.report.left += [procs.describe(each) for each in strays]
        if stopped_at is not None:
            seconds = time.monotonic() - stopped_at
            self.report.ends.append(seconds)
            if seconds > graces + SLACK + LATENESS.get(self.plan.theme, 0.0):
                self.report.other.append(f"it took {seconds:.2f} s until all was gone, the graces are {graces:g} s")
        return True

    def _strays(self) -> list[psutil.Process]:
        marked = procs.processes_with(self.marker)
        known = {each.pid for each in marked}
        return marked + [each for each in procs.processes_of_run(self.run_id) if each.pid not in known]

    def _release(self, popen: subprocess.Popen[bytes]) -> None:
        popen.kill()
        popen.wait()
        for fd in self.unread or ():
            os.close(fd)

    def _clean(self) -> None:
        """After a failure too, nothing stays; before a kill, what is left was written down."""
        procs.kill_all(self._strays())
        leaves = glob.glob(f"/sys/fs/cgroup/**/quiesce-{self.run_id}*", recursive=True)
        if self.hung is not None:  # what cannot be killed keeps its cgroup until the disk answers
            leaves = [leaf for leaf in leaves if not RunCgroup(leaf).remove(SLACK)]
        guardian_died = self.report.faults["guardian KILL"] and self.report.faults["supervisor KILL"]
        if leaves and not guardian_died:
            self.report.left += leaves
        self.report.left += [str(path) for path in self.tmp.iterdir()]
        # `-journal`: SQLite's own, of a file that was being made when a signal came; the next start rolls it back
        allowed = {f"journal.db{suffix}" for suffix in ("", "-wal", "-shm", "-journal")}
        allowed |= {"lost+found", "filler"}
        self.report.left += [str(path) for path in self.disk.folder.iterdir() if path.name not in allowed]

    def _judge_end(self, code: int, faults: Sequence[Fault], said: str) -> None:
        """Check that the faults explain the exit status, and that no traceback was printed."""
        allowed = {0, 1}
        if self.report.plan.theme == "read-only":  # a disk that failed once may fail again, with a clear line
            allowed |= {75, 2}
        for fault in faults:
            who, _, what = fault.kind.partition(" ")
            if who in ("supervisor", "group") and what != "STOP+CONT":
                allowed |= {-s for n, s in _STOPS.items() if what in (n, "storm")} | ({-9} if what == "KILL" else set())
            elif who in ("disk", "deleted", "read-only", "no", "locked", "truncated"):
                allowed |= {75, 2}
        if any(fault.early for fault in faults) and _is_before_us(said):
            return
        if code not in allowed:
            self.report.other.append(f"ended with {code}, not with one of {sorted(allowed)}")
        if self.plan.theme == "holder" and "executor.heartbeat_lost" in said:
            self.report.other.append("an executor that worked was taken for a hung one")
        for line in said.splitlines():
            if line.startswith("Traceback") or "a defect in quiesce" in line:
                self.report.other.append(line)
                break


def _is_before_us(said: str) -> bool:
    """Whether an early SIGINT met the interpreter on its way to our first line, where it is Python's to answer."""
    is_python_s = "Fatal Python error: init_" in said or said.rstrip().endswith("KeyboardInterrupt")
    return is_python_s and re.search(r'orchestrator/entry\.py", line \d+, in main', said) is None
