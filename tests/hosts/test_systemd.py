"""The printed unit on a real systemd: started, watched, stopped, restarted, killed, and read back from its journal.

One boot for the whole module. Needs root, systemd-nspawn, and debootstrap the first time; skips with the reason.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.journal import open_journal
from tests.hosts import seen
from tests.hosts.machine import Machine, rootfs, why_not
from tests.support import procs
from tests.support.cli import QUIESCE
from tests.support.wait import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

RESTARTS = int(os.environ.get("QUIESCE_RESTARTS", "20"))

AGENTS = """
import os
import time
from pathlib import Path

HERE = Path(__file__).parent

while (HERE / "hold").exists():  # a module that takes its time to load
    time.sleep(0.01)


def nap(task, state):
    state.sleep(task["s"])
    return task["n"]


def stuck(task, state):
    print("stuck", flush=True)
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass


def inherited(task, state):
    state.sleep(task["s"])
    return sorted(name for name in os.environ if name.startswith(("NOTIFY", "LISTEN", "WATCHDOG")))


def picky(task, state):
    state.sleep(task["s"])
    if task["n"] == 3:
        raise ValueError("three\\nis too many")
    return task["n"]


def grow(task, state):
    if task["n"] == 2:
        hoard = []
        while True:
            hoard.append(b"x" * (8 << 20))
            time.sleep(0.02)
    state.sleep(task["s"])
    return task["n"]
"""


@contextlib.contextmanager
def booted() -> Iterator[Machine]:
    """One that runs for as long as the block does."""
    why = why_not()
    if why is not None:
        pytest.skip(why)
    base = rootfs()
    if isinstance(base, str):
        pytest.skip(f"no root file system to boot: {base}")
    try:
        machine = Machine(base)
    except RuntimeError as error:
        pytest.skip(str(error))
    with machine:
        yield machine


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with booted() as running:
        yield running


@pytest.fixture(scope="module")
def rows(machine: Machine) -> Iterator[list[tuple[str, str]]]:
    """What was seen, in the order of this file, for the table in docs/systemd.md; kept when all was seen."""
    found: list[tuple[str, str]] = []
    yield found
    order = re.findall(r'\n    saw\(\s*"([^"]+)"', Path(__file__).read_text())
    if {done for done, _ in found} == set(order):
        seen.write("systemd", machine.versions(), sorted(found, key=lambda row: order.index(row[0])))


@pytest.fixture
def saw(rows: list[tuple[str, str]]) -> seen.Saw:
    return lambda done, what: rows.append((done, what))


class Job:
    """A service made by `quiesce unit`, installed."""

    def __init__(self, machine: Machine, agent: str, tasks: int, nap: float, *options: str) -> None:
        self.machine = machine
        self.name = f"{agent}-{uuid.uuid4().hex[:6]}"
        self.service = f"{self.name}.service"
        self.folder = f"/srv/{self.name}"
        self.tasks = tasks
        machine.write(f"{self.folder}/agents.py", AGENTS)
        machine.write(
            f"{self.folder}/in.jsonl", "".join(json.dumps({"n": n, "s": nap}) + "\n" for n in range(1, tasks + 1))
        )
        words = ["unit", f"agents.py:{agent}", "--input", "in.jsonl", "--run-id", self.name, "--workers", "2", *options]
        self.text = machine.run(*QUIESCE, *words, cwd=self.folder).stdout
        machine.write(f"/etc/systemd/system/{self.service}", self.text)
        machine.run("systemctl", "enable", "-q", self.service)  # what is enabled is remembered when it has ended

    def override(self, text: str) -> None:
        """Change it as an administrator does."""
        self.machine.write(f"/etc/systemd/system/{self.service}.d/override.conf", text)
        self.machine.run("systemctl", "daemon-reload")

    def start(self) -> float:
        return self.machine.timed("systemctl", "start", self.service)

    def stop(self) -> float:
        return self.machine.timed("systemctl", "stop", self.service)

    def show(self, *names: str) -> dict[str, str]:
        return self.machine.show(self.service, *names)

    def get(self, name: str) -> str:
        return self.show(name)[name]

    @property
    def state(self) -> str:
        return self.get("ActiveState")

    def done(self) -> int:
        """How many tasks the status text says are done."""
        found = re.search(r"(\d+)/\d+ done", self.get("StatusText"))
        return int(found[1]) if found else 0

    def wait_for(self, state: str, deadline: float = 60.0) -> None:
        wait_until(lambda: self.state == state, deadline, lambda: f"{self.name} is {state}: {self.told()}")

    def wait_done(self, count: int, deadline: float = 30.0) -> None:
        wait_until(lambda: self.done() >= count, deadline, lambda: f"{count} are done: {self.told()}")

    def quiesce(self, command: str) -> list[dict[str, Any]]:
        journal = f"/var/lib/quiesce/{self.name}/quiesce.db"
        done = self.machine.run(*QUIESCE, command, self.name, "--journal", journal, "--json")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def results(self) -> dict[str, dict[str, Any]]:
        """By key; a key that comes twice fails the test."""
        found = self.quiesce("results")
        by_key = {each["key"]: each for each in found}
        assert len(by_key) == len(found)
        return by_key

    def all_completed(self) -> None:
        """Every task has its one result."""
        results = self.results()
        assert {int(key): each["value"] for key, each in results.items()} == {n: n for n in range(1, self.tasks + 1)}
        assert {each["status"] for each in results.values()} == {"completed"}

    def left(self) -> list[Any]:
        """Processes of it that are still there: in its cgroup, or anywhere with its name in their environment."""
        return [*self.machine.in_cgroup(self.service), *procs.processes_with("QUIESCE_RUN_ID", self.name)]

    def entries(self, *matches: str) -> list[Any]:
        return self.machine.journal("-u", self.service, *matches)

    def told(self) -> str:
        """All that its journal has, and its state, for a message."""
        lines = [str(entry.get("MESSAGE")) for entry in self.entries()]
        return "\n".join([str(self.show("ActiveState", "SubState", "Result", "StatusText")), *lines[-40:]])


SHORT = ("--grace", "3", "--term-grace", "1", "--restart-delay", "0.1")

# -- the unit itself --------------------------------------------------------------------------------------------


def test_systemd_is_content_with_the_unit(machine: Machine, saw: seen.Saw) -> None:
    """`verify` has nothing to say, and `security` calls the exposure OK."""
    job = Job(machine, "nap", 1, 0.0)
    path = f"/etc/systemd/system/{job.service}"
    verified = machine.run("systemd-analyze", "verify", path)
    assert (verified.stdout, verified.stderr) == ("", "")
    judged = machine.run("systemd-analyze", "security", "--offline=true", path).stdout
    exposure = float(re.findall(r"exposure level.*: ([\d.]+)", judged)[0])
    assert exposure <= 2.5, judged
    saw("`systemd-analyze verify` and `security`", f"nothing to say; overall exposure level {exposure:.1f} (OK)")


def test_awkward_words_arrive_as_they_are(machine: Machine, saw: seen.Saw) -> None:
    """Blanks, quotes, dollars, percent signs, colons and letters beyond ASCII, in every path and in the run's id."""
    run, folder = 'r "1" $HOME ${PATH} %n ü', '/srv/it\'s 50% "odd" $HOME a:b é'
    machine.write(f"{folder}/a b.py", AGENTS)
    machine.write(f"{folder}/in $1.jsonl", '{"n": 1, "s": 0}\n')
    words = [
        "a b.py:nap",
        "--input",
        "in $1.jsonl",
        "--run-id",
        run,
        "--journal",
        "j %i $x.db",
        "--deadline",
        "1000000",
    ]
    text = machine.run(*QUIESCE, "unit", *words, "--writable", folder, cwd=folder).stdout
    machine.write("/etc/systemd/system/awkward.service", text)
    verified = machine.run("systemd-analyze", "verify", "/etc/systemd/system/awkward.service")
    assert (verified.stdout, verified.stderr) == ("", "")
    machine.run("systemctl", "enable", "-q", "awkward")
    machine.run("systemctl", "start", "awkward")
    wait_until(lambda: machine.show("awkward", "ActiveState")["ActiveState"] == "inactive", 30, "it has ended")
    status = machine.run(*QUIESCE, "status", run, "--journal", f"{folder}/j %i $x.db", "--json").stdout
    assert json.loads(status)["status"] == "completed"
    saw("a unit with blanks, quotes, `$`, `%`, `:` and `é` in its paths and words", "each arrived as it was; completed")


# -- starting -----------------------------------------------------------------------------------------------------


def test_a_start_waits_until_the_agent_is_loaded(machine: Machine, saw: seen.Saw) -> None:
    """READY=1 comes when an executor has the agent and the run has begun, not when the process exists."""
    job = Job(machine, "nap", 100, 0.2, *SHORT)
    machine.write(f"{job.folder}/hold", "")
    machine.run("systemctl", "start", "--no-block", job.service)
    wait_until(lambda: len(procs.processes_with("QUIESCE_RUN_ID", job.name)) >= 3, 120, job.told)
    assert job.state == "activating"
    (machine.root / job.folder.lstrip("/") / "hold").unlink()
    job.wait_for("active")
    status = wait_until(lambda: re.fullmatch(r"\d+/100 done, [12] executors?", job.get("StatusText")), 5, job.told)
    assert status is not None
    job.stop()
    saw(
        "`systemctl start`",
        f"activating until an executor had loaded the agent, then active; status `{status.group()}`",
    )


def test_the_status_counts_failures(machine: Machine, saw: seen.Saw) -> None:
    """And a run that is over with failed tasks is a failed service, which is not started again."""
    job = Job(machine, "picky", 30, 0.1, *SHORT)
    job.start()
    status = wait_until(lambda: re.search(r"\d+/30 done, 2 executors, 1 failed", job.get("StatusText")), 20, job.told)
    assert status is not None
    job.wait_for("failed")
    assert job.show("Result", "ExecMainStatus", "NRestarts") == {
        "Result": "exit-code", "ExecMainStatus": "1", "NRestarts": "0",
    }  # fmt: skip
    assert sum(each["status"] == "failed" for each in job.results().values()) == 1
    saw("a task fails", f"status `{status.group()}`; at the end failed with exit code 1, not restarted")


def test_a_run_that_is_over_stays_over(machine: Machine, saw: seen.Saw) -> None:
    """It ends with 0; a later start says so and ends with 0 again, without an executor."""
    job = Job(machine, "nap", 4, 0.05, *SHORT)
    job.start()
    job.wait_for("inactive")
    job.all_completed()
    before = len(job.entries("QUIESCE_EVENT=executor.started"))
    job.start()
    job.wait_for("inactive")
    assert job.show("Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "0"}
    assert len(job.entries("QUIESCE_EVENT=executor.started")) == before
    assert "is over: 4 completed, 0 failed" in job.told()
    saw("every task completes; started once more", "inactive, exit code 0; the second start ended at once with 0")


def test_executors_inherit_no_socket_of_the_service_manager(machine: Machine) -> None:
    """Neither NOTIFY_SOCKET nor a watchdog's or activation's variables."""
    job = Job(machine, "inherited", 2, 0.05, *SHORT)
    job.start()
    job.wait_for("inactive")
    assert [each["value"] for each in job.results().values()] == [[], []]


# -- stopping -----------------------------------------------------------------------------------------------------


def test_a_stop_in_mid_run(machine: Machine, saw: seen.Saw) -> None:
    """Clean, soon, complete: what was finished is kept, nothing is left in the cgroup, it died by the signal."""
    job = Job(machine, "nap", 400, 0.1, *SHORT)
    job.start()
    job.wait_done(6)
    took = job.stop()
    assert job.show("Result", "ExecMainCode", "ExecMainStatus", "ActiveState") == {
        "Result": "success", "ExecMainCode": "2", "ExecMainStatus": "15", "ActiveState": "inactive",
    }  # fmt: skip
    assert job.left() == []
    assert took < 3.0, job.told()
    completed = sum(each["status"] == "completed" for each in job.results().values())
    assert completed >= 6
    job.start()
    job.wait_done(completed + 2)
    job.stop()
    saw("`systemctl stop` in mid-run", f"killed by SIGTERM (success) after {took:.1f} s, nothing left; resumed")


def test_a_stop_with_a_stuck_agent(machine: Machine, saw: seen.Saw) -> None:
    """It takes the ladder, and no longer; systemd's own SIGKILL is not needed."""
    job = Job(machine, "stuck", 4, 0.0, "--grace", "1", "--term-grace", "1")
    job.start()
    wait_until(lambda: len(job.entries("QUIESCE_EVENT=executor.output", "QUIESCE_LINE=stuck")) == 2, 20, job.told)
    took = job.stop()
    assert 2.0 <= took < 5.0
    assert job.show("Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "15"}
    assert job.left() == []
    assert {each["status"] for each in job.results().values()} == {"interrupted"}
    saw("`systemctl stop`, agents deaf to everything", f"graces 1 + 1 s used up, over after {took:.1f} s, nothing left")


def test_a_stop_for_a_reason_of_many_words(machine: Machine) -> None:
    """systemd drops a notification of more than 4 KiB; it still hears that the service is stopping, and why."""
    job = Job(machine, "stuck", 4, 0.0, "--grace", "2", "--term-grace", "0.5", "--restart-delay", "60")
    job.start()
    journal = f"/var/lib/quiesce/{job.name}/quiesce.db"
    machine.run(*QUIESCE, "interrupt", job.name, "--journal", journal, "--message", "y" * 9000)
    wait_until(lambda: job.get("SubState") == "stop-sigterm", 10, job.told)
    wait_until(lambda: job.get("StatusText").startswith("stopping (yyy"), 10, job.told)
    wait_until(lambda: job.get("SubState") == "auto-restart", 10, job.told)
    assert job.get("ExecMainStatus") == "75"
    job.stop()


def test_a_ladder_that_is_too_long_for_the_unit_shrinks(machine: Machine, saw: seen.Saw) -> None:
    """TimeoutStopSec= is known: the warning has the numbers, and the stop ends by itself before systemd kills."""
    job = Job(machine, "stuck", 4, 0.0, "--grace", "20", "--term-grace", "10")
    job.override("[Service]\nTimeoutStopSec=4\n")
    job.start()
    wait_until(lambda: len(job.entries("QUIESCE_EVENT=executor.output", "QUIESCE_LINE=stuck")) == 2, 20, job.told)
    (warning,) = job.entries("QUIESCE_EVENT=ladder.shortened")
    assert (warning["PRIORITY"], warning["QUIESCE_GRANTED"], warning["QUIESCE_NEEDED"]) == ("4", "4.0", "35.0")
    took = job.stop()
    assert took < 4.5
    assert job.show("Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "15"}, job.told()
    assert {each["status"] for each in job.results().values()} == {"interrupted"}
    assert job.left() == []
    saw("TimeoutStopSec=4, graces of 30 s, deaf agents", f"warned at the start; over by itself after {took:.1f} s")


def test_a_signal_to_the_whole_cgroup(machine: Machine, saw: seen.Saw) -> None:
    """`systemctl kill` signals executors and guardian too, unless KillMode forbids it: the supervisor's word counts."""
    job = Job(machine, "nap", 400, 0.1, *SHORT)
    job.start()
    job.wait_done(6)
    machine.run("systemctl", "kill", job.service)
    job.wait_for("inactive")
    assert job.show("Result", "ExecMainStatus", "NRestarts") == {
        "Result": "success", "ExecMainStatus": "15", "NRestarts": "0",
    }  # fmt: skip
    assert {each["status"] for each in job.results().values()} <= {"completed", "interrupted"}
    assert {each["attempts"] for each in job.results().values()} == {1}
    assert job.left() == []
    saw("`systemctl kill`: SIGTERM to every process of it", "one stop in good order; no task failed or lost an attempt")


def test_the_machine_shuts_down(saw: seen.Saw) -> None:
    """Everything is stopped at once, with whatever the machine has going on; what was finished is on the disk."""
    with booted() as machine:
        nap, stuck = Job(machine, "nap", 400, 0.1, *SHORT), Job(machine, "stuck", 4, 0.0, *SHORT)
        nap.start()
        stuck.start()
        nap.wait_done(6)
        took = machine.power_off()
        counts = []
        for job in (nap, stuck):
            path = machine.root / f"var/lib/private/quiesce/{job.name}/quiesce.db"
            with open_journal(path, "read") as journal:
                run = journal.get_run(job.name)
                assert str(run.status) == "interrupted"
                counts.append(journal.counts(run.id))
    assert counts[0].completed >= 6
    assert counts[1].interrupted == 2
    saw("`systemctl poweroff`, one agent deaf", f"off after {took:.1f} s; both runs interrupted, what was done is kept")


# -- starting again -----------------------------------------------------------------------------------------------


def test_the_watchdog_restarts_a_stopped_supervisor(machine: Machine, saw: seen.Saw) -> None:
    """Pings come from the loop: a supervisor that is SIGSTOPped sends none, is killed, and the run resumes."""
    job = Job(machine, "nap", 100, 0.1, "--watchdog", "2", *SHORT)
    job.start()
    job.wait_done(4)
    first = job.get("MainPID")
    machine.run("kill", "-STOP", first)
    wait_until(lambda: job.get("NRestarts") == "1" and job.state == "active", 30, job.told)
    assert job.get("MainPID") != first
    job.wait_for("inactive")
    assert any("'watchdog'" in str(entry["MESSAGE"]) for entry in job.entries()), job.told()
    job.all_completed()
    assert job.quiesce("status")[0]["starts"] == 2
    assert job.left() == []
    saw("the supervisor is SIGSTOPped", "killed by the watchdog, restarted, the run resumed: each task completed once")


def test_a_supervisor_that_is_killed_is_restarted(machine: Machine, saw: seen.Saw) -> None:
    """kill -9 is a failure, and the next start goes on."""
    job = Job(machine, "nap", 60, 0.1, *SHORT)
    job.start()
    job.wait_done(4)
    machine.run("kill", "-KILL", job.get("MainPID"))
    wait_until(lambda: job.get("NRestarts") == "1", 30, job.told)
    job.wait_for("inactive")
    job.all_completed()
    assert job.left() == []
    saw("the supervisor is SIGKILLed", "restarted, the run resumed: each task completed once")


def test_a_deadline_is_a_pause(machine: Machine, saw: seen.Saw) -> None:
    """75 is no failure: it is started again, until the run is over."""
    job = Job(machine, "nap", 80, 0.2, "--deadline", "6", *SHORT)
    job.start()
    wait_until(lambda: job.quiesce("status")[0]["status"] == "completed", 60, job.told)
    job.wait_for("inactive")
    restarts = int(job.get("NRestarts"))
    assert restarts >= 1
    job.all_completed()
    assert not any("Failed with result" in str(entry["MESSAGE"]) for entry in job.entries())
    saw("`--deadline` is over in mid-run", f"exit code 75, restarted {restarts} times without a failure, completed")


def test_restarts_in_a_loop(machine: Machine, saw: seen.Saw) -> None:
    """Each result is recorded once, however often it is interrupted."""
    job = Job(machine, "nap", 20 * RESTARTS, 0.1, *SHORT)
    job.start()
    slowest = 0.0
    for count in range(1, RESTARTS + 1):
        job.wait_done(count)  # some work is under way each time
        slowest = max(slowest, machine.timed("systemctl", "restart", job.service))
    job.wait_for("inactive", 90)
    job.all_completed()
    assert job.quiesce("status")[0]["starts"] == RESTARTS + 1
    assert job.show("Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "0"}
    assert job.left() == []
    saw(
        "`systemctl restart` in a loop",
        f"{RESTARTS} times, {slowest:.1f} s at most: {job.tasks} tasks, each completed once, in {RESTARTS + 1} starts",
    )


# -- memory -------------------------------------------------------------------------------------------------------


def test_an_executor_beyond_its_memory_limit(machine: Machine, saw: seen.Saw) -> None:
    """It costs its own task; the others complete."""
    job = Job(machine, "grow", 6, 0.05, "--memory-limit", "150M", *SHORT)
    assert f"MemoryMax={2 * (150 << 20) + (256 << 20)}\n" in job.text
    job.start()
    job.wait_for("failed")
    results = job.results()
    assert {key for key, each in results.items() if each["status"] != "completed"} == {"2"}
    assert job.show("ExecMainStatus", "NRestarts") == {"ExecMainStatus": "1", "NRestarts": "0"}
    assert len(job.entries("QUIESCE_EVENT=executor.memory_exceeded")) == 1
    saw("an executor grows beyond `--memory-limit`", "its task failed, the others completed, the service went on")


def test_the_kernel_kills_an_executor_for_memory(machine: Machine, saw: seen.Saw) -> None:
    """Out of memory costs one executor and its task, not the service (OOMPolicy=continue)."""
    job = Job(machine, "grow", 6, 0.05, "--memory-max", "300M", *SHORT)
    job.start()
    with _limited(machine, job) as how:
        job.wait_for("failed")
    results = job.results()
    assert {key for key, each in results.items() if each["status"] != "completed"} == {"2"}, job.told()
    crashes = job.entries("QUIESCE_EVENT=task.crashed")
    assert {entry["QUIESCE_KEY"] for entry in crashes} == {"2"}
    assert job.show("ExecMainStatus", "NRestarts") == {"ExecMainStatus": "1", "NRestarts": "0"}
    saw(
        "the kernel kills an executor for memory",
        f"({how}) its task failed after {len(crashes)} executors, the others completed, the service went on",
    )


@contextlib.contextmanager
def _limited(machine: Machine, job: Job) -> Iterator[str]:
    """Have the kernel limit the service: by its unit's MemoryMax= where the container has that controller."""
    if machine.run("sh", "-c", f'cat $(find /sys/fs/cgroup -path "*/{job.service}/memory.max")', check=False).stdout:
        yield "MemoryMax="
        return
    parent = Path("/sys/fs/cgroup/memory")
    if not (parent / "memory.limit_in_bytes").exists():
        pytest.skip("no memory controller to be had: neither cgroup v2 in the container nor v1 on the host")
    group = parent / job.name
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(300 << 20))
        for process in procs.processes_with("QUIESCE_RUN_ID", job.name):  # the guardian too: its forks start there
            (group / "cgroup.procs").write_text(str(process.pid))
        yield "memory cgroup v1 of 300 MB"
    finally:
        wait_until(lambda: not (group / "cgroup.procs").read_text(), 20, "the memory cgroup is empty")
        group.rmdir()
