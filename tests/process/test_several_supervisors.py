"""Supervisors in one process: one in another, one beside another, one left in haste. Each in a program of its own."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from tests.support import procs
from tests.support.cli import Running, environment
from tests.support.wait import wait_until

PRELUDE = """
import asyncio, os, signal, sys, threading, time
from orchestrator import Supervisor
def nap(seconds, state):
    state.sleep(seconds)
    return seconds
def logged(into):
    return lambda name, severity, fields: into.append((name, dict(fields)))
"""


def program(text: str, *arguments: str) -> Running:
    return Running([sys.executable, "-c", PRELUDE + text, *arguments], env=environment())


def said(text: str, *arguments: str) -> list[str]:
    """What such a program prints."""
    with program(text, *arguments) as running:
        done = running.wait()
    assert done.returncode == 0, done
    return done.stdout.splitlines()


def test_two_runs_of_one_name_leave_each_other_alone() -> None:
    """They had one cgroup, and the first one's last look ended the second one's executors."""
    assert said("""
logs = []
def one(seconds, count):
    with Supervisor(workers=1, run_id="same", log=logged(logs)) as supervisor:
        return [outcome.value for outcome in supervisor.map(nap, [seconds] * count)]
short = threading.Thread(target=one, args=(0.1, 1))
with Supervisor(workers=1, run_id="same", log=logged(logs)) as supervisor:
    handle = supervisor.submit(nap, 1.5)
    short.start()
    short.join()
    print(handle.outcome().attempts)
print([fields["found"] for name, fields in logs if name == "cleanup.verified"])
print([name for name, _ in logs if name in ("guardian.lost", "task.crashed")])
""") == ["1", "[0, 0]", "[]"]


OVERLAP = """
before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), sys.getswitchinterval()
def held(path, state):
    open(f"{path}-began", "w").close()
    while not os.path.exists(f"{path}-ends"):
        state.sleep(0.02)
async def one(path):
    async with Supervisor(workers=1, grace=1, log=logged([])) as supervisor:
        async for outcome in supervisor.amap(held, [path]):
            print(outcome.status.value, flush=True)
async def start(path):
    task = asyncio.create_task(one(path))
    while not os.path.exists(f"{path}-began"):
        await asyncio.sleep(0.02)
    return task
async def main():
    paths = [os.path.join(sys.argv[1], name) for name in ("first", "second")]
    first, second = [await start(path) for path in paths]
    open(f"{paths[0]}-ends", "w").close()
    await first
    print("the first is over", flush=True)
    if sys.argv[2] == "to its end":
        open(f"{paths[1]}-ends", "w").close()
    await second
asyncio.run(main())
print((signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), sys.getswitchinterval()) == before)
"""


def test_two_that_overlap_give_back_what_the_first_one_found(tmp_path: Path) -> None:
    assert said(OVERLAP, str(tmp_path), "to its end") == ["completed", "the first is over", "completed", "True"]


def test_the_second_of_two_that_overlap_is_still_told_to_stop(tmp_path: Path) -> None:
    with program(OVERLAP, str(tmp_path), "until it is stopped") as running:
        running.expect("the first is over", stream="stdout")
        running.send(signal.SIGTERM)
        done = running.wait()
    assert done.returncode == -signal.SIGTERM, done
    assert "interrupted" in done.stdout


def test_one_signal_is_one_signal_for_both_of_two_that_are_nested() -> None:
    """The inner one raised it again at its end, and the outer one took that for impatience."""
    with program("""
logs = []
def slowly(task, state):
    try:
        state.sleep(60)
    finally:
        time.sleep(1.5)
def half(task, state):
    try:
        state.sleep(60)
    finally:
        time.sleep(0.8)
def over(*_):
    print([name for name, _ in logs if name == "interrupt.escalated"])
    print([fields["rung"] for name, fields in logs if name == "ladder.rung"], flush=True)
    os._exit(7)
signal.signal(signal.SIGTERM, over)
with Supervisor(workers=1, log=logged(logs)) as outer:
    outer.submit(slowly, 1)
    with Supervisor(workers=1, log=logged([])) as inner:
        handle = inner.submit(half, 1)
        while not any(e.tasks for e in inner.status.executors) or not any(e.tasks for e in outer.status.executors):
            time.sleep(0.01)
        print("ready", flush=True)
        handle.outcome()
""") as running:
        running.expect("ready", stream="stdout")
        running.send(signal.SIGTERM)
        done = running.wait()
    assert (done.returncode, done.stdout.splitlines()[1:]) == (7, ["[]", "['FLAG']"]), done


@pytest.mark.parametrize("how", ["cancelled", "Ctrl-C of the program's own"])
def test_a_block_that_is_broken_off_while_it_ends_is_stopped(how: str) -> None:
    """No thread would have waited for the run any longer, nor released what it had taken."""
    lines = said(
        """
logs = []
before = sys.getswitchinterval()
async def main():
    async with asyncio.timeout(None) as limit:
        async with Supervisor(workers=1, grace=1, log=logged(logs)) as supervisor:
            supervisor.submit(nap, 60)
            limit.reschedule(asyncio.get_running_loop().time() + 0.5)
def alone():
    with Supervisor(workers=1, grace=1, log=logged(logs), handle_signals=False) as supervisor:
        supervisor.submit(nap, 60)
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    asyncio.run(main()) if sys.argv[1] == "cancelled" else alone()
except (TimeoutError, KeyboardInterrupt) as error:
    print(type(error).__name__)
print([name for name, _ in logs if name in ("interrupt.requested", "cleanup.verified")])
print(sys.getswitchinterval() == before)
""",
        how,
    )
    kind = "TimeoutError" if how == "cancelled" else "KeyboardInterrupt"
    assert lines == [kind, "['interrupt.requested', 'cleanup.verified']", "True"]


def test_a_killed_supervisor_is_missed_although_what_it_forked_lives_on() -> None:
    """The fork has the supervisor's end of the guardian's socket, and that never ends."""
    with program(
        """
with Supervisor(workers=1, run_id=sys.argv[1], grace=0.5, term_grace=0.2, log=logged([])) as supervisor:
    supervisor.submit(nap, 60)
    while not any(executor.tasks for executor in supervisor.status.executors):
        time.sleep(0.01)
    if os.fork() == 0:
        print("forked", flush=True)
        time.sleep(60)
        os._exit(0)
    time.sleep(60)
""",
        f"forks-{time.monotonic_ns()}",
    ) as running:
        run_id = str(running.args[-1])
        running.expect("forked", stream="stdout")
        running.send(signal.SIGKILL)
        wait_until(lambda: procs.processes_of_run(run_id) == [], what="the executors are gone")
        fork = [each for each in running.tree() if each.pid != running.pid]
        assert fork, "the fork has died too: that shows nothing"


def test_a_block_whose_coroutine_nobody_runs_any_more_ends() -> None:
    """A loop that is gone cannot wait for anything: that was tried again for ever."""
    assert (
        said(
            """
logs = []
async def main():
    async with Supervisor(workers=1, grace=1, log=logged(logs)) as supervisor:
        supervisor.submit(nap, 60)
        loop.call_later(0.5, loop.stop)
        await asyncio.sleep(60)
loop = asyncio.new_event_loop()
coroutine = main()
task = loop.create_task(coroutine)
loop.run_forever()
asyncio.events._set_running_loop(None)
try:
    coroutine.close()
except (RuntimeError, GeneratorExit) as error:
    print(type(error).__name__)
print([name for name, _ in logs if name in ("interrupt.requested", "cleanup.verified")], flush=True)
os._exit(0)
"""
        )[-1]
        == "['interrupt.requested', 'cleanup.verified']"
    )
