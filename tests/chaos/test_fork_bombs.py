"""Descendants that multiply, or come and go, more quickly than they can be looked at: none is left, within the time.

As a plain user without a cgroup of its own, so that nothing helps but signals; and as root.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.process.helpers import agent, jsonl
from tests.support import procs
from tests.support.chaos.places import as_plain_user, few_processes, without_cgroups
from tests.support.cli import QUIESCE, Running
from tests.support.eof import ExitDetector
from tests.support.sync import AnnouncementPipe
from tests.support.user_folder import user_folder

pytestmark = [
    pytest.mark.timeout(150),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a plain user"),
]

GRACE = TERM_GRACE = 0.3
BOUND = GRACE + TERM_GRACE + 2
"""Seconds that a stop takes at most (docs/stopping.md)."""

LIMIT = 60
"""Processes that the run may have.

With 200 that fork and exit without a pause, some kernels spend most of their time with the locks of shared mappings: a
SIGKILL then takes a minute, whatever sends it, and that is what a test would measure.
"""

SLACK = 17.0
"""Seconds for a machine whose processors others keep busy, beside the bomb: before, there was no end at all."""


@pytest.fixture
def user() -> int:
    """A user id of the test's own: RLIMIT_NPROC counts all processes of a user."""
    return 20_000 + os.getpid() % 10_000


class Attack:
    """A run as a plain user with one hostile agent."""

    def __init__(self, folder: Path, user: int, post: AnnouncementPipe, proof: ExitDetector) -> None:
        self.folder, self.user, self.post, self.proof = folder, user, post, proof
        for path in (post.path, proof.path, os.path.dirname(proof.path)):
            os.chown(path, user, user)

    def start(self, kind: str, sessions: str, wrapper: list[str]) -> Running:
        task = {"post": self.post.path, "proof": self.proof.path, "kind": kind, "sessions": sessions}
        source = jsonl(self.folder / "in.jsonl", [task])
        words = ["run", agent("bombs:detached"), "-i", str(source), "-w", "1", "-j", str(self.folder / "j.db")]
        graces = ["--grace", str(GRACE), "--term-grace", str(TERM_GRACE)]
        return Running([*wrapper, *QUIESCE, *words, *graces], timeout=80)


@pytest.fixture
def attack(user: int) -> Iterator[Attack]:
    with user_folder(user) as folder, AnnouncementPipe(folder / "post") as post, ExitDetector() as proof:
        try:
            yield Attack(folder, user, post, proof)
        finally:
            if proof.fd >= 0 or proof.holders():  # it has failed, and what is left must not take the machine with it
                proof.close_write_end()
                end_holders(proof.path)


def end_holders(path: str) -> None:
    """Stop its holders until there are no new ones, then kill them: a test must not leave a fork bomb."""
    seen: dict[int, psutil.Process] = {}
    while new := [each for each in procs.select(lambda pid: bool(procs.holds(pid, path))) if each.pid not in seen]:
        procs.signal_all(new, signal.SIGSTOP)
        seen.update((each.pid, each) for each in new)
    procs.signal_all(seen.values(), signal.SIGKILL)


def limited_user(user: int) -> list[str]:
    wrapper = as_plain_user(user)
    if not wrapper:
        pytest.skip("no plain user can run this interpreter here")
    return [*wrapper, "prlimit", f"--nproc={LIMIT}:{LIMIT}"]


def stop(attack: Attack, running: Running, number: signal.Signals) -> tuple[float, str]:
    """Signal the supervisor; how long it took until no process was left, and what it said."""
    try:
        attack.post.expect(1, 40)
    except AssertionError as error:
        raise AssertionError(f"it did not begin: {running}\n{running.tree()}") from error
    began = time.monotonic()
    running.send(number)
    attack.proof.wait(BOUND + SLACK)
    seconds = time.monotonic() - began
    print(f"no process left after {seconds:.2f} s")
    running.popen.wait(15)
    return seconds, running.wait().stderr


def check_record(said: str) -> None:
    line = next(line for line in said.splitlines() if "cleanup.verified" in line)
    found, ended = (int(re.search(rf"\b{name}=(-?\d+)", line)[1]) for name in ("found", "ended"))  # type: ignore[index]
    assert "remaining=[]" in line, line
    assert found == ended >= 0, line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
@pytest.mark.parametrize("sessions", ["one", "many"])
@pytest.mark.parametrize("kind", ["bomb", "chain", "slow chain"])
def test_as_a_plain_user_nothing_is_left(
    attack: Attack, user: int, kind: str, sessions: str, number: signal.Signals
) -> None:
    with attack.start(kind, sessions, limited_user(user)) as running:
        _, said = stop(attack, running, number)
    if number is signal.SIGTERM:
        check_record(said)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
@pytest.mark.parametrize("world", ["plain user", "root without a cgroup of its own"])
def test_below_a_limit_of_processes_nothing_is_left(
    attack: Attack, user: int, world: str, number: signal.Signals
) -> None:
    """A pids cgroup limits a whole container: the clean-up has no process to spare either."""
    wrapper = as_plain_user(user) if world == "plain user" else without_cgroups()
    if not wrapper:
        pytest.skip("there is no such world here")
    with few_processes(f"quiesce-test-{user}") as group:
        if group is None:
            pytest.skip("no pids cgroup here")
        (group / "pids.max").write_text(str(LIMIT))
        enter = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
        with attack.start("bomb", "one", [*enter, *wrapper]) as running:
            _, said = stop(attack, running, number)
    if number is signal.SIGTERM:
        check_record(said)
