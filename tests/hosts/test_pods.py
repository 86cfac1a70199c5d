"""The printed Pod, played by podman: probed, stopped, killed, resumed, and looked into.

One image for the whole module. Needs root, podman and runc, and debootstrap the first time; skips with the reason.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import random
import shlex
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.journal import open_journal
from orchestrator.outcome import Outcome
from tests.hosts import seen
from tests.hosts.pods import Pod, Podman, Unavailable, printed, why_not
from tests.support.wait import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

AGENTS = """
import os
import subprocess
import time


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


def fail(task, state):
    raise ValueError("as it was asked to")


def orphaning(task, state):
    for seconds in ("0", "0", "1000"):
        subprocess.run(["sh", "-c", f"(setsid sleep {seconds} &)"], check=True)
    state.sleep(task["s"])
    return task["n"]


def can_write(path):
    try:
        with open(path, "w"):
            return True
    except OSError:
        return False


def who(task, state):
    status = dict(line.split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
    found = {name: status[name].strip() for name in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")}
    found |= {"uid": os.getuid(), "gid": os.getgid()}
    return found | {path: can_write(path + "/x") for path in ("/", "/app", "/opt/quiesce", "/tmp", "/data")}
"""

HOSTILE = "\x1b[31m" + "é" * 9000

SHORT = [{"s": 0, "n": 0}]
LONG = [*SHORT, *({"s": 600, "n": n} for n in range(1, 5))]
"""One that is done at once, and four that last."""


Row = tuple[tuple[int, int], str, str]
"""Where it belongs in the table, what was done, what was seen."""


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    if (why := why_not()) is not None:
        pytest.skip(why)
    try:
        engine = Podman()
    except Unavailable as missing:
        pytest.skip(str(missing))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def table(podman: Podman) -> Iterator[list[Row]]:
    rows: list[Row] = []
    yield rows
    rows.sort(key=lambda row: row[0])
    seen.write("podman", podman.versions(), [(what, found) for _, what, found in rows])


@pytest.fixture
def saw(table: list[Row], request: pytest.FixtureRequest) -> seen.Saw:
    """What a test has seen, reported after its assertions. The table has this file's order, whatever the tests' was."""
    parameters = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    place = request.function.__code__.co_firstlineno, parameters.get("code", 0)
    return lambda what, found: table.append((place, what, found))


def _free_port() -> int:
    """Return a port on which no program listens, and that the kernel gives to no other program before the Pod takes it.

    The kernel gives those above 32767 (ip(7), ip_local_port_range).
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class Scene:
    """Pods of one test: a config map with agents and input, a journal's claim, a termination log as a kubelet's."""

    _numbers = itertools.count(1)

    def __init__(self, podman: Podman, folder: Path) -> None:
        self.podman, self.folder = podman, folder
        self.name = f"scene{os.getpid()}-{next(self._numbers)}"
        self.message = folder / "termination-log"
        self.port = _free_port()
        self._played = 0

    def play(self, agent: str, tasks: Sequence[Any], *words: str, shell: bool = False) -> Pod:
        """A Pod for the scene's run; the second one finds the first one's journal."""
        self._played += 1
        again = ["--journal-claim", f"{self.name}-journal"] if self._played > 1 else []
        documents = printed(
            f"/input/agents.py:{agent}", "--input", "/input/tasks.jsonl", "--workers", "2", "--pod", "--image",
            self.podman.image, "--name", self.name, "--config-map", f"{self.name}-{self._played}", "--probe-port",
            str(self.port), *again, *words,
        )  # fmt: skip
        self._mount_message(documents[-1])
        if shell:
            container = documents[-1]["spec"]["containers"][0]
            container["command"] = ["sh", "-c", f"{shlex.join(container['command'])}; true"]
        lines = "".join(json.dumps(task) + "\n" for task in tasks)
        return Pod(self.podman, documents, self.folder, [self._config_map(lines)])

    def _config_map(self, lines: str) -> Any:
        metadata = {"name": f"{self.name}-{self._played}"}
        data = {"agents.py": AGENTS, "tasks.jsonl": lines}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}

    def _mount_message(self, pod: Any) -> None:
        """A kubelet makes this file for every container; podman does not."""
        self.message.touch()
        self.message.chmod(0o666)
        pod["spec"]["volumes"].append({"name": "message", "hostPath": {"path": str(self.message), "type": "File"}})
        mount = {"name": "message", "mountPath": "/dev/termination-log"}
        pod["spec"]["containers"][0]["volumeMounts"].append(mount)

    # -- what is seen -------------------------------------------------------------------------------------

    def get(self, path: str) -> tuple[int | None, str]:
        """Status and body of a page, None without an answer."""
        try:
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)) as connection:
                connection.request("GET", path)
                answer = connection.getresponse()
                return answer.status, answer.read().decode()
        except OSError:
            return None, ""

    def probes(self) -> list[int | None]:
        return [self.get(path)[0] for path in ("/startupz", "/livez", "/readyz")]

    def wait_ready(self) -> None:
        wait_until(lambda: self.probes() == [200] * 3, 60, "all probes say yes")

    def wait_completed(self, count: int) -> None:
        line = f'quiesce_tasks{{status="completed"}} {count:.1f}'
        wait_until(lambda: line in self.metrics(), 60, f"{count} completed")

    def metrics(self) -> str:
        return self.get("/metrics")[1]

    def results(self) -> dict[str, Any]:
        """What the journal has on the claim, when no Pod has it."""
        volume = self.podman.run("volume", "inspect", f"{self.name}-journal", "--format", "{{.Mountpoint}}").stdout
        with open_journal(f"{volume.strip()}/quiesce.db", "read") as journal:
            outcomes = list(map(Outcome.from_record, journal.results(journal.get_run(self.name).id)))
        return {outcome.key: outcome.value for outcome in outcomes if outcome.ok}


@pytest.fixture
def scene(podman: Podman, tmp_path: Path) -> Iterator[Scene]:
    yield Scene(podman, tmp_path)
    podman.clean()


def timed_stop(pod: Pod, grace: int) -> tuple[int, float]:
    began = time.monotonic()
    code = pod.stop(grace)
    return code, time.monotonic() - began


# -- a stop ------------------------------------------------------------------------------------------------


def test_a_stop_in_mid_run_and_the_next_pod_goes_on(scene: Scene, saw: seen.Saw) -> None:
    with scene.play("nap", LONG) as pod:
        scene.wait_ready()
        scene.wait_completed(1)
        code, seconds = timed_stop(pod, 30)
        assert code == 143, pod.logs()
        message = scene.message.read_text()
        assert scene.probes() == [None] * 3
    assert seconds < 10
    assert scene.results() == {"1": 0}
    assert "1 completed, 4 left (received SIGTERM)" in message
    with scene.play("nap", LONG) as pod:
        scene.wait_ready()
        scene.wait_completed(1)
        assert pod.stop(30) == 143
    saw(
        "stop with a grace of 30 s in mid-run",
        f"exit code 143 after {seconds:.1f} s; the finished task is in the journal; termination message: "
        f"`{message.splitlines()[0].replace(scene.name, 'NAME')}`",
    )
    saw("the next Pod with the same claim", "goes on with what was left (`--or-resume`)")


def test_the_probes_before_during_and_after_a_stop(scene: Scene, saw: seen.Saw) -> None:
    with scene.play("stuck", SHORT, "--grace", "6", "--term-grace", "0.1") as pod:
        scene.wait_ready()
        wait_until(lambda: "stuck" in pod.logs(), what="the agent is stuck")
        liveness = scene.podman.run("healthcheck", "run", pod.container, check=False)
        assert liveness.returncode == 0, liveness
        os.kill(pod.pid, signal.SIGTERM)
        wait_until(lambda: scene.get("/readyz")[0] == 503, what="not ready any more")
        during = scene.probes()
        assert during == [200, 200, 503]
        assert 'quiesce_phase{phase="stopping"} 1.0' in scene.metrics()
        assert pod.wait() == 143
        assert scene.probes() == [None] * 3
    saw("probes `/startupz`, `/livez`, `/readyz` while it works", "200, 200, 200")
    saw("… while it stops (an agent is stuck)", "200, 200, 503, from the signal to the end")
    saw("… when it has ended", "no answer")


def test_a_stuck_agent_is_ended_by_the_ladder_within_the_grace(scene: Scene, saw: seen.Saw) -> None:
    with scene.play("stuck", SHORT, "--grace", "2", "--term-grace", "1") as pod:
        wait_until(lambda: "stuck" in pod.logs(), 60, "the agent is stuck")
        code, seconds = timed_stop(pod, 12)
        assert code == 143, pod.logs()
    assert 3 <= seconds < 8
    saw("stop with a stuck agent, `--grace 2 --term-grace 1`", f"exit code 143 after {seconds:.1f} s")


def test_a_grace_that_is_too_short_shrinks_the_ladder(scene: Scene, saw: seen.Saw) -> None:
    with scene.play("stuck", SHORT, "--host-grace", "5") as pod:
        wait_until(lambda: "stuck" in pod.logs(), 60, "the agent is stuck")
        code, seconds = timed_stop(pod, 5)
        assert code == 143, pod.logs()
    assert seconds < 6
    saw(
        "stop with a stuck agent, graces of 10 + 5 s, and a host that grants 5 s (`--host-grace 5`)",
        f"the ladder shrinks: exit code 143 after {seconds:.1f} s",
    )


def test_a_kill_loses_nothing_that_was_finished(scene: Scene, saw: seen.Saw) -> None:
    with scene.play("nap", LONG) as pod:
        scene.wait_completed(1)
        scene.podman.run("kill", "-s", "KILL", pod.container)
        assert pod.wait() == 137
    assert scene.results() == {"1": 0}
    with scene.play("nap", LONG) as pod:
        scene.wait_ready()
        scene.wait_completed(1)
    saw("SIGKILL of process 1", "exit code 137; the next Pod has the finished task and goes on")


def test_a_supervisor_that_stands_still_fails_its_liveness(scene: Scene, saw: seen.Saw) -> None:
    with scene.play("nap", LONG) as pod:
        scene.wait_ready()
        os.kill(pod.pid, signal.SIGSTOP)
        assert scene.podman.run("healthcheck", "run", pod.container, check=False).returncode == 1
        os.kill(pod.pid, signal.SIGCONT)
        assert scene.podman.run("healthcheck", "run", pod.container, check=False).returncode == 0
        assert pod.stop(30) == 143
    saw("SIGSTOP of process 1", "the liveness probe fails, and succeeds again after SIGCONT")


# -- how it ends -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agent", "words", "code", "why"),
    [
        ("nap", (), 0, "every task completed"),
        ("fail", (), 1, "a task failed"),
        ("no_such_agent", (), 2, "the agent does not exist"),
        ("stuck", ("--deadline", "1", "--grace", "0.2", "--term-grace", "0.2"), 75, "`--deadline` is over"),
    ],
)
def test_exit_codes(agent: str, words: Sequence[str], code: int, why: str, scene: Scene, saw: seen.Saw) -> None:
    with scene.play(agent, SHORT, *words) as pod:
        assert pod.wait() == code, pod.logs()
        message = scene.message.read_text()
    assert message.startswith(("quiesce: ", f"run {scene.name}: "))
    saw(why, f"exit code {code}, termination message `{message.splitlines()[0].replace(scene.name, 'NAME')}`")


def test_an_interrupt_from_inside_with_a_hostile_message(scene: Scene, saw: seen.Saw) -> None:
    """The termination message has its 4 KiB, no control characters, and still says how to go on."""
    with scene.play("nap", LONG) as pod:
        scene.wait_completed(1)
        words = ["quiesce", "interrupt", scene.name, "--journal", "/data/quiesce.db", "--message", HOSTILE]
        assert "asked process 1" in pod.execute(*words).stdout  # and may be gone with the container before it ends
        assert pod.wait() == 75, pod.logs()
        message = scene.message.read_bytes()
    assert len(message) <= 4096
    assert b"\x1b" not in message
    assert f"To resume: quiesce resume {scene.name}" in message.decode()
    saw(
        "`quiesce interrupt` in the container, with a message of 18 kB and an escape sequence",
        f"exit code 75, a termination message of {len(message)} bytes that shows the escape and how to go on",
    )


# -- what is in it -----------------------------------------------------------------------------------------


def test_it_is_nobody_and_can_write_only_where_it_should(scene: Scene, saw: seen.Saw) -> None:
    with scene.play("who", SHORT) as pod:
        assert pod.wait() == 0, pod.logs()
    (found,) = scene.results().values()
    assert (found["uid"], found["gid"]) == (65532, 65532)
    assert int(found["CapEff"], 16) == int(found["CapBnd"], 16) == 0
    assert found["NoNewPrivs"] == "1"
    assert {path for path in found if path.startswith("/") and found[path]} == {"/tmp", "/data"}
    saw(
        "who an agent is",
        f"user 65532, no capability, no new privileges, seccomp mode {found['Seccomp']}; "
        "only `/tmp` and `/data` can be written",
    )


def is_zombie(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.status() == psutil.STATUS_ZOMBIE
    return False


def is_tidy(pid: int) -> bool:
    """Whether a process has one child, the guardian, and no zombie below it."""
    first = psutil.Process(pid)
    return len(first.children()) == 1 and not any(map(is_zombie, first.children(recursive=True)))


def test_orphans_leave_no_zombies(scene: Scene, saw: seen.Saw) -> None:
    with scene.play("orphaning", LONG) as pod:
        scene.wait_completed(1)
        assert pod.execute("sh", "-c", "(sleep 0.1 &) ; (sleep 0.1 &)").returncode == 0
        wait_until(lambda: is_tidy(pod.pid), what="process 1 has waited for them")
        assert pod.stop(30) == 143, pod.logs()
        assert '"event": "executor.strays"' in pod.logs()
    saw("tasks that leave orphans and a daemon", "no zombie; the daemon is found and ended")
    saw("`exec` into the container leaves orphans", "process 1 waits for them")


def test_a_shell_in_front_keeps_the_signal_to_itself(scene: Scene, saw: seen.Saw) -> None:
    """For comparison: why the command has the exec form."""
    with scene.play("nap", LONG, shell=True) as pod:
        scene.wait_completed(1)
        code, seconds = timed_stop(pod, 3)
        assert code == 137
        assert "interrupt.requested" not in pod.logs()
        assert scene.message.read_text() == ""
    assert seconds >= 3
    saw(
        'for comparison: a shell as process 1 (`sh -c "quiesce run …; …"`), stop with a grace of 3 s',
        f"the signal never arrives: SIGKILL after {seconds:.1f} s, exit code 137, no message",
    )
