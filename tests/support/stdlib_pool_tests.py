"""Run CPython's own tests of process pools against SupervisedExecutor: import this and call `main`.

The variable STDLIB_SUITE names a folder that has the suite, `test_concurrent_futures`, as a module or package.

What the tests look at inside of ProcessPoolExecutor is rebuilt here (`_processes` and the like), so that they can be
run at all. `on_crash="pool"` is what the standard library does.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing
import os
import re
import signal
import sys
import time
import traceback
import unittest
from concurrent import futures
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from orchestrator.core.status import StatusView
from orchestrator.futures import SupervisedExecutor

SUITE = "test_concurrent_futures"
TESTS = ("InitializerMixin", "FailingInitializerMixin", "ProcessPoolShutdownTest", "WaitTests", "AsCompletedTests",
         "ProcessPoolExecutorTest", "ExecutorDeadlockTest")  # fmt: skip


class Process:
    """What the tests do with a process of the pool."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGKILL)  # SIGTERM from elsewhere ends no call: it is made again

    def is_alive(self) -> bool:
        return Path(f"/proc/{self.pid}").exists()

    def join(self) -> None:
        while self.is_alive():
            time.sleep(0.01)


class Manager:
    """What the tests do with the thread that manages the pool."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def join(self) -> None:
        self._pool._over.wait()


class Queue:
    def join_thread(self) -> None:
        pass


class SupervisedPool(SupervisedExecutor):
    """The executor, with the private attributes of ProcessPoolExecutor that the tests use."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"on_crash": "pool", **kwargs})
        self._mp_context = kwargs.get("mp_context") or multiprocessing.get_context("spawn")
        self._call_queue = Queue()
        self._executor_manager_thread = Manager(self._pool)

    @property
    def _broken(self) -> str | None:
        return self._pool._broken

    @property
    def _processes(self) -> dict[int, Process]:
        session = self._pool.session
        if session is None:
            return {}
        end = time.monotonic() + 30
        while len(found := _pids(session.status)) < self._max_workers and time.monotonic() < end:
            time.sleep(0.01)
        return {pid: Process(pid) for pid in found}


def _pids(status: StatusView) -> list[int]:
    return [executor.pid for executor in status.executors if executor.pid is not None]


class Mixin:
    """Stands where the suite has one mixin for each way to start processes."""

    worker_count = 5
    executor_kwargs: ClassVar[dict[str, Any]] = {}
    executor_type = SupervisedPool
    ctx = "spawn"

    def setUp(self) -> None:
        super().setUp()  # type: ignore[misc]
        self.executor: Any = self.executor_type(
            max_workers=self.worker_count, mp_context=self.get_context(), **self.executor_kwargs
        )

    def tearDown(self) -> None:
        self.executor.shutdown(wait=True)
        self.executor = None
        super().tearDown()  # type: ignore[misc]

    def get_context(self) -> Any:
        return multiprocessing.get_context(self.ctx)


def load_suite(folder: str) -> dict[str, Any]:
    """Return what the suite's modules define, by name."""
    sys.path.insert(0, folder)
    names = [SUITE]
    if (Path(folder) / SUITE).is_dir():
        parts = ("init", "shutdown", "wait", "as_completed", "process_pool", "deadlock")
        names = [f"{SUITE}.test_{part}" for part in parts]
    found: dict[str, Any] = {}
    for name in names:
        module = importlib.import_module(name)
        adapt(module, folder)
        found.update(vars(module))
    return found


def adapt(module: ModuleType, folder: str) -> None:
    """Have a module of the suite make our executor where it makes the standard library's, in subprocesses, too."""
    original = getattr(module, "assert_python_ok", None)
    if original is None or hasattr(original, "is_ours"):
        return

    def assert_python_ok(*args: str, **env: str) -> Any:
        code = [
            re.sub(
                r"from concurrent\.futures import (SupervisedPool|ProcessPoolExecutor)",
                r"from tests.support.stdlib_pool_tests import SupervisedPool as \1",
                arg,
            )
            for arg in args
        ]
        code = [arg.replace(f"from test.{SUITE}", f"from {SUITE}") for arg in code]
        return original(*code, PYTHONPATH=os.pathsep.join([folder, str(Path(__file__).parents[2])]), **env)

    assert_python_ok.is_ours = True  # type: ignore[attr-defined]
    module.assert_python_ok = assert_python_ok  # type: ignore[attr-defined]


def make_cases(suite: dict[str, Any]) -> dict[str, type[unittest.TestCase]]:
    """Return the test cases of process pools, made with our mixin."""
    base = suite["BaseTestCase"]
    futures.ProcessPoolExecutor = SupervisedPool  # type: ignore[assignment,misc]
    cases: dict[str, type[unittest.TestCase]] = {}
    for name in TESTS:
        body = suite[name]
        bases: list[type] = [body, Mixin, base]
        if issubclass(body, suite["ExecutorMixin"]):  # it has a set-up of its own, below which ours comes
            bases = [_above(body, suite["ExecutorMixin"]), base]
        if name == "ProcessPoolShutdownTest" and "ExecutorShutdownTest" not in [c.__name__ for c in body.__mro__]:
            bases.insert(1, suite["ExecutorShutdownTest"])
        cases[name] = type(name, tuple(bases), {"__module__": __name__})
    return cases


def _above(body: type, mixin: type) -> type:
    """Return a class like `body` with our mixin instead of the suite's."""
    namespace = {key: value for key, value in vars(body).items() if key not in ("__dict__", "__weakref__")}
    made = type(body.__name__, (Mixin,), namespace)
    for value in namespace.values():  # the `super()` of its methods
        code: Any = getattr(value, "__code__", None)
        for name, cell in zip(
            () if code is None else code.co_freevars, getattr(value, "__closure__", None) or (), strict=False
        ):
            if name == "__class__":
                cell.cell_contents = made
    return made


class Result(unittest.TestResult):
    def __init__(self) -> None:
        super().__init__()
        self.states: dict[str, str] = {}

    def _note(self, test: Any, state: str) -> None:
        self.states.setdefault(f"{type(test).__name__}.{test._testMethodName}", state)

    def addSuccess(self, test: Any) -> None:  # noqa: N802 - unittest's
        self._note(test, "ok")

    def addSkip(self, test: Any, reason: str) -> None:  # noqa: N802
        self._note(test, "skipped")

    def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        self._note(test, "".join(traceback.format_exception(*err)))

    addError = addFailure  # noqa: N815


if FOLDER := os.environ.get("STDLIB_SUITE"):  # in executors, too: they find the tests' functions by name
    CASES = make_cases(load_suite(FOLDER))
    globals().update(CASES)


def main(part: str = "1/1") -> None:
    number, parts = map(int, part.split("/"))
    tests = [
        case(name) for case in CASES.values() for name in sorted(set(unittest.defaultTestLoader.getTestCaseNames(case)))
    ]
    result = Result()
    for test in tests[number - 1 :: parts]:
        began = time.monotonic()
        with contextlib.suppress(KeyboardInterrupt):
            test.run(result)
        print(f"{time.monotonic() - began:6.2f} {test}", file=sys.stderr, flush=True)
    print(json.dumps(result.states))
