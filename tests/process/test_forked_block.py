"""A child that is forked inside the block of a Supervisor leaves it, and the run is its parent's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli import environment

PROGRAM = """
import os, signal, sys, warnings
from orchestrator.supervisor import Supervisor
from runtime.errors import QuiesceError

warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12 on: this process has threads


def double(x, state):
    return 2 * x


def main():
    with Supervisor(workers=1, log=lambda *_: None) as supervisor:
        assert supervisor.submit(double, 1).result() == 2
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                supervisor.submit(double, 2)
            except QuiesceError as error:
                assert str(os.getppid()) in str(error), error
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
            if sys.argv[1] == "killed":
                os.write(write, b"!")
                signal.pause()
            if sys.argv[1] == "error":
                raise KeyError("child")
        elif sys.argv[1] == "killed":
            os.read(read, 1)
            os.kill(child, signal.SIGTERM)
        if child:
            _, status = os.waitpid(child, 0)
            print(os.waitstatus_to_exitcode(status), supervisor.submit(double, 3).result(), flush=True)


if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize(("how", "code"), [("leaves", 0), ("error", 1), ("killed", -15)])
def test_a_child_leaves_the_block_and_the_run_goes_on(tmp_path: Path, how: str, code: int) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, str(program), how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(code), "6"]
