"""Compare runs of commands with GNU parallel and xargs: what is left after a stop, and what a command costs.

    scripts/compare_commands [--commands N] [--rounds R] [--only stops|cost] [--markdown]

Stops: two commands of a kind run, then the tool's main process gets TERM or KILL. Two seconds after its end the
processes that are left are counted, and killed. quiesce gets a grace of one second for each rung, GNU parallel a second
TERM.

Cost: N times `true`, two at once, by each tool in turn; the median of R rounds. quiesce has its journal on, and its
start is part of its time. Memory is the peak of the supervisor and of the executor in the first and in the last
quarter of the run.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support import procs  # noqa: E402
from tests.support.dispositions import reset_ignored_signals  # noqa: E402

QUIESCE = str(Path(sys.executable).with_name("quiesce"))
KINDS = {
    "plain": ("exec sleep 600", 1),
    "child": ("sleep 600 & sleep 600; wait", 2),
    "detached grandchild": ("setsid sleep 600 </dev/null >/dev/null 2>&1 & sleep 600", 2),
    "ignores TERM": ("trap '' TERM; sleep 600; sleep 600", 1),
}
"""What a command does, and how many processes called sleep it then has."""

SECOND_TERM = 0.5
"""Seconds until GNU parallel is sent a second SIGTERM, which it needs to stop what runs."""

SETTLE = 2.0
"""Seconds between the end of a tool and the count of what is left."""


def tools(script: str, folder: str, inputs: Sequence[str]) -> dict[str, list[str]]:
    """Return the command lines that run a script for each input, two at once."""
    graces = ["--grace", "1", "--term-grace", "1", "--journal", f"{folder}/journal.db"]
    return {
        "quiesce": [QUIESCE, "run", "-q", "-j2", *graces, "--", "sh", "-c", script, "sh", "{}", ":::", *inputs],
        "parallel": ["parallel", "-j2", "sh", "-c", shlex.quote(script), "sh", "{}", ":::", *inputs],
        "xargs": ["xargs", "-a", f"{folder}/inputs", "-P2", "-n1", "sh", "-c", script, "sh"],
    }


def left_after(tool: str, kind: str, number: signal.Signals) -> int:
    """Return how many processes of two commands are left two seconds after their tool was ended by a signal."""
    script, sleepers = KINDS[kind]
    mark = f"COMPARE_{uuid.uuid4().hex}"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "inputs").write_text("a\nb\n")
        command = tools(script, folder, ["a", "b"])[tool]
        environment = {**os.environ, mark: "1"}
        running = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            until = time.monotonic() + 60
            while sum(_name(one) == "sleep" for one in procs.processes_with(mark)) < 2 * sleepers:
                if time.monotonic() > until:
                    raise SystemExit(f"{tool} did not start its commands")
                time.sleep(0.05)
            running.send_signal(number)
            if tool == "parallel" and number == signal.SIGTERM:  # the first one only stops it from beginning more
                time.sleep(SECOND_TERM)
                running.send_signal(number)
            running.wait(60)
            time.sleep(SETTLE)
            left = procs.processes_with(mark)
            return len(left)
        finally:
            procs.kill_all(procs.processes_with(mark))


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return ""


def show_stops(names: Sequence[str], *, markdown: bool) -> bool:
    """Print the table of stops. Return whether nothing was left by quiesce."""
    bar = "|" if markdown else ""
    print(f"{bar} {'':22} {bar} " + f" {bar} ".join(f"{kind:>19}" for kind in KINDS) + f" {bar}")
    if markdown:
        print("|" + "---|" * (len(KINDS) + 1))
    is_clean = True
    for tool in names:
        for number in (signal.SIGTERM, signal.SIGKILL):
            counts = [left_after(tool, kind, number) for kind in KINDS]
            is_clean &= tool != "quiesce" or not any(counts)
            label = f"{tool}, {number.name[3:]}"
            cells = f" {bar} ".join(f"{f'{count} left':>19}" for count in counts)
            print(f"{bar} {label:22} {bar} {cells} {bar}", flush=True)
    return is_clean


# -- cost ------------------------------------------------------------------------------------------------


def costs(folder: str, count: int) -> dict[str, list[str]]:
    """Return the command lines that run `true` for each line of a file, two at once."""
    source = f"{folder}/inputs"
    return {
        "xargs": ["xargs", "-a", source, "-P2", "-n1", "true"],
        "parallel": ["parallel", "-j2", "true", "::::", source],
        "parallel --joblog": ["parallel", "-j2", "--joblog", f"{folder}/log", "true", "::::", source],
        "quiesce": [
            QUIESCE, "run", "-q", "-j2", "--journal", f"{folder}/journal.db", "--lines", "--input", source,
            "--", "true",
        ],
    }  # fmt: skip


def measure(command: Sequence[str], samples: list[tuple[int, int]] | None = None) -> float:
    """Return the seconds that a command takes. `samples`: memory of the supervisor and of the executor, over time."""
    began = time.perf_counter()
    running = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    while samples is not None and running.poll() is None:
        time.sleep(0.2)
        samples.append(_memory(running.pid))
    if running.wait():
        raise SystemExit(f"{command[0]} ended with {running.returncode}")
    return time.perf_counter() - began


def _memory(pid: int) -> tuple[int, int]:
    """Return the RSS of the supervisor, and that of the largest process below its guardian."""
    try:
        process = psutil.Process(pid)
        below = [child.memory_info().rss for guardian in process.children() for child in guardian.children()]
        return process.memory_info().rss, max(below, default=0)
    except psutil.Error:
        return 0, 0


def show_costs(count: int, rounds: int) -> None:
    """Print the cost of a command by each tool, and the memory of quiesce."""
    seconds: dict[str, list[float]] = {}
    samples: list[tuple[int, int]] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "inputs").write_text("".join(f"{number}\n" for number in range(count)))
            for name, command in costs(folder, count).items():
                seen = samples if name == "quiesce" else None
                seconds.setdefault(name, []).append(measure(command, seen))
    base = statistics.median(seconds["xargs"])
    print(f"{count} x true, two at once, median of {rounds}:")
    for name, taken in seconds.items():
        median = statistics.median(taken)
        print(f"  {name:18} {median:7.2f} s  {1000 * median / count:6.3f} ms each  {median / base:5.2f} x xargs")
    quarter = max(1, len(samples) // 4)
    for place, name in enumerate(("supervisor", "executor")):
        first, last = (max(sample[place] for sample in part) for part in (samples[:quarter], samples[-quarter:]))
        print(f"  {name} of quiesce: {first >> 20} MiB at most in the first quarter, {last >> 20} MiB in the last")


def main() -> int:
    """Compare what the options select; the exit code is 1 if quiesce left a process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", type=int, default=10_000, help="commands of the cost [default: 10000]")
    parser.add_argument("--rounds", type=int, default=1, help="rounds of the cost [default: 1]")
    parser.add_argument("--only", choices=("stops", "cost"), help="one of the two")
    parser.add_argument("--markdown", action="store_true", help="a table for a document")
    options = parser.parse_args()
    reset_ignored_signals()
    names = [name for name in ("quiesce", "parallel", "xargs") if name == "quiesce" or shutil.which(name)]
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "will-cite").touch()
        os.environ["PARALLEL_HOME"] = home
        is_clean = options.only == "cost" or show_stops(names, markdown=options.markdown)
        if options.only != "stops":
            show_costs(options.commands, options.rounds)
    return 0 if is_clean else 1


if __name__ == "__main__":
    raise SystemExit(main())
