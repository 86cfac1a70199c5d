"""CPython's own tests of process pools, run against SupervisedExecutor.

Debian has them in the package libpython3.11-testsuite, pyenv's later versions beside the standard library.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUITE = "test_concurrent_futures"
PARTS = 4
"""Processes that share the tests: most of these sleep."""

ON_DEMAND = "all processes start with the first call; the standard library's start one by one as calls need them"
DIFFERENCES = {
    "FailingInitializerMixin.test_initializer": "a multiprocessing.Queue in initargs: it travels to children "
    "of the very process only, and executors are the guardian's (a failing initializer: test_executor_ends.py)",
    "ProcessPoolShutdownTest.test_cancel_futures": "it wants some call to have begun the moment after it was "
    "submitted; here none has, so all of them are cancelled",
    "ProcessPoolShutdownTest.test_processes_terminate": ON_DEMAND,
    "ProcessPoolExecutorTest.test_idle_process_reuse_one": ON_DEMAND,
    "ProcessPoolExecutorTest.test_idle_process_reuse_multiple": ON_DEMAND,
}
"""Tests that may fail, and why that is meant."""


def find_suite() -> Path | None:
    """Return the file or folder of the suite of this interpreter's minor version."""
    spec = importlib.util.find_spec(f"test.{SUITE}")
    if spec is not None and spec.origin is not None:
        found = Path(spec.origin)
        return found.parent if found.name == "__init__.py" else found
    file = Path(f"/usr/lib/python{sys.version_info.major}.{sys.version_info.minor}/test/{SUITE}.py")
    return file if file.is_file() else None


def test_the_standard_librarys_own_tests_pass(tmp_path: Path) -> None:
    """All but those whose difference has a name."""
    suite = find_suite()
    if suite is None:
        pytest.skip(f"this CPython comes without its tests: no test.{SUITE} (Debian: libpython3.11-testsuite)")
    (tmp_path / suite.name).symlink_to(suite)
    states: dict[str, str] = {}
    code = "import sys; from tests.support.stdlib_pool_tests import main; main(sys.argv[1])"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, f"{part}/{PARTS}"],
            cwd=ROOT, env={**os.environ, "STDLIB_SUITE": str(tmp_path)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )
        for part in range(1, PARTS + 1)
    ]  # fmt: skip
    for process in running:
        out, err = process.communicate()
        assert process.returncode == 0, err
        states.update(json.loads(out))
    failed = {name: state for name, state in states.items() if state not in ("ok", "skipped")}
    assert not failed.keys() - DIFFERENCES.keys(), "\n".join(
        failed[name] for name in failed.keys() - DIFFERENCES.keys()
    )
    assert len([state for state in states.values() if state == "ok"]) >= 50
