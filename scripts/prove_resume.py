"""Prove that nothing is lost: run the audit to its end, then again with interruptions, and compare.

    scripts/prove_resume [--interrupts 20] [--signal TERM|INT|HUP|KILL] [--victim supervisor|executor|guardian]
                         [--files N] [--seed S]

Each interruption comes at a random moment (the seed is printed), and is followed by `quiesce resume`. Prints, for each,
the time between the signal and the last process gone; at the end, whether the results are those of an uninterrupted
run, and each key recorded once. Ends with 1 if they are not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
QUIESCE = [sys.executable, "-m", "orchestrator.cli"]
AGENT = f"{ROOT / 'examples' / 'audit.py'}:audit"
LIMIT = 60.0  # seconds that anything may take to be gone


def main() -> int:
    """Run, interrupt, compare."""
    arguments = parse()
    seed = arguments.seed if arguments.seed is not None else random.randrange(1 << 32)
    chance = random.Random(seed)
    print(f"seed {seed}")
    with tempfile.TemporaryDirectory(prefix="quiesce-proof-") as folder:
        os.environ["QUIESCE_JOURNAL"] = str(Path(folder) / "runs.db")
        inputs = list_inputs(Path(folder), arguments.files)
        began = time.monotonic()
        if subprocess.run([*QUIESCE, *start("whole", inputs)], check=False).returncode != 0:
            return 1
        whole = time.monotonic() - began
        print(f"uninterrupted: {whole:.1f} s")
        gone = interrupted(inputs, whole, arguments, chance)
        return verdict(results("whole"), results("cut"), gone)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interrupts", type=int, default=20)
    parser.add_argument("--signal", default="TERM", choices=["TERM", "INT", "HUP", "KILL"])
    parser.add_argument("--victim", default="supervisor", choices=["supervisor", "executor", "guardian"])
    parser.add_argument("--files", type=int, default=0, help="only so many files (default: all)")
    parser.add_argument("--seed", type=int)
    return parser.parse_args()


def list_inputs(folder: Path, limit: int) -> Path:
    """Write the inputs of the audit to a file, at most `limit` of them (0: all)."""
    listed = subprocess.run(
        [sys.executable, ROOT / "examples" / "audit.py", "inputs"], stdout=subprocess.PIPE, check=True
    ).stdout.splitlines(keepends=True)
    chosen = listed[:: max(1, len(listed) // limit)][:limit] if limit else listed
    path = folder / "inputs.jsonl"
    path.write_bytes(b"".join(chosen))
    print(f"{len(chosen)} files")
    return path


def start(run_id: str, inputs: Path) -> list[str]:
    """Return the arguments that start a run."""
    return ["run", AGENT, "--input", str(inputs), "--run-id", run_id, "--workers", "2", "--log-level", "error"]


def interrupted(inputs: Path, whole: float, arguments: argparse.Namespace, chance: random.Random) -> list[float]:
    """Run and interrupt again and again to the end; return how long each took until no process was left."""
    gone: list[float] = []
    command = start("cut", inputs)
    while True:
        supervisor = subprocess.Popen([*QUIESCE, *command], stderr=subprocess.DEVNULL, process_group=0)
        last = len(gone) >= arguments.interrupts
        delay = None if last else 0.5 + chance.uniform(0.1, 1.9) * whole / arguments.interrupts
        try:
            code = supervisor.wait(delay)
        except subprocess.TimeoutExpired:
            family = psutil.Process(supervisor.pid).children(recursive=True)
            began = time.monotonic()
            strike(supervisor.pid, arguments, chance)
            if arguments.victim == "supervisor":
                code = supervisor.wait(LIMIT)
                alive = [process for process in family if not is_gone(process, began + LIMIT)]
                gone.append(time.monotonic() - began)
                print(f"  SIG{arguments.signal} after {delay:.2f} s: all gone in {gone[-1]:.3f} s, ended with {code}")
                if alive:
                    raise SystemExit(f"still there: {alive}") from None
            else:
                gone.append(0.0)
                print(f"  SIG{arguments.signal} to the {arguments.victim} after {delay:.2f} s")
                code = supervisor.wait()
        if code == 0:
            return gone
        if code == 2:
            raise SystemExit(f"quiesce refused: {' '.join(command)}")
        command = ["resume", "cut", "--log-level", "error"] if is_recorded("cut") else start("cut", inputs)


def is_recorded(run_id: str) -> bool:
    """Whether the journal has the run: an early interruption may have come before."""
    return subprocess.run([*QUIESCE, "status", run_id], capture_output=True, check=False).returncode == 0


def is_gone(process: psutil.Process, until: float) -> bool:
    """Wait until a process ends. A zombie that a slow init has not reaped yet has ended, too."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        return not process.is_running() or bool(select.select([fd], [], [], max(0.0, until - time.monotonic()))[0])
    finally:
        os.close(fd)


def strike(supervisor: int, arguments: argparse.Namespace, chance: random.Random) -> None:
    """Send the signal to the supervisor, the guardian, or an executor by chance."""
    number = signal.Signals[f"SIG{arguments.signal}"]
    target = psutil.Process(supervisor)
    if arguments.victim != "supervisor":
        guardian = target.children()[0]
        executors = guardian.children()
        target = guardian if arguments.victim == "guardian" or not executors else chance.choice(executors)
    target.send_signal(number)


def results(run_id: str) -> list[tuple[str, str, object]]:
    """Return key, status and value of each recorded outcome."""
    printed = subprocess.run([*QUIESCE, "results", run_id, "--json"], stdout=subprocess.PIPE, check=True).stdout
    rows = [json.loads(line) for line in printed.splitlines()]
    return [(row["key"], row["status"], row["value"]) for row in rows]


def verdict(whole: list[tuple[str, str, object]], cut: list[tuple[str, str, object]], gone: list[float]) -> int:
    """Compare the results of both runs, and print what differs. Returns the exit code."""
    keys = [key for key, _, _ in cut]
    lost = {key for key, _, _ in whole} - set(keys)
    twice = len(keys) - len(set(keys))
    values = {key: (status, value) for key, status, value in whole}
    different = sum(values.get(key) != (status, value) for key, status, value in cut)
    print(f"interruptions {len(gone)}, results {len(cut)}, lost {len(lost)}, twice {twice}, different {different}")
    if any(gone):
        print(f"signal to last process gone: median {sorted(gone)[len(gone) // 2]:.3f} s, maximum {max(gone):.3f} s")
    return 1 if lost or twice or different else 0


if __name__ == "__main__":
    sys.exit(main())
