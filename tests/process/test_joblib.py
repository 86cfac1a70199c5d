"""joblib's public behaviour with backend="quiesce": what programs that use `Parallel` rely on."""

from __future__ import annotations

import gc
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import pytest
from joblib import Parallel, delayed, parallel_config

from orchestrator.joblib import register, shutdown
from orchestrator.joblib.backend import QuiesceBackend
from tests.process import joblib_calls as calls
from tests.support.cli import environment
from tests.support.wait import wait_until


@pytest.fixture(autouse=True)
def idle_executors_end() -> Iterator[None]:
    register()
    yield
    gc.collect()
    shutdown()


@pytest.fixture
def two() -> Iterator[None]:
    with parallel_config(backend="quiesce", n_jobs=2):
        yield


def test_results_come_in_order_whatever_a_batch_is(two: None) -> None:
    expected = [number**2 for number in range(30)]
    for options in ({}, {"batch_size": 7}, {"pre_dispatch": "all"}, {"pre_dispatch": 3}, {"pre_dispatch": "3*n_jobs"}):
        assert Parallel(**options)(delayed(calls.square)(number) for number in range(30)) == expected
    assert Parallel()(delayed(lambda x: x + len(expected))(x) for x in (1, 2)) == [31, 32]
    assert Parallel()(delayed(calls.square)(2, power=power) for power in (3, 4)) == [8, 16]
    assert Parallel()([]) == []


def test_tiny_calls_become_large_batches(two: None) -> None:
    parallel = Parallel()
    assert parallel(delayed(calls.square)(number) for number in range(3000)) == [number**2 for number in range(3000)]
    assert parallel.n_dispatched_batches < 1500


def test_executors_stay_for_the_next_call(two: None) -> None:
    calls_of_pid = [delayed(calls.pid_of)(number) for number in range(20)]
    with Parallel() as parallel:
        first = set(parallel(calls_of_pid)) | set(parallel(calls_of_pid))
        assert len(first) <= 2
        assert not set(Parallel()(calls_of_pid)) & first  # they are taken: others, for as long
        assert set(parallel(calls_of_pid)) <= first
    assert len(set(Parallel()(calls_of_pid)) | set(Parallel()(calls_of_pid))) <= 2


def test_two_generators_of_one_block_are_independent(two: None) -> None:
    first = Parallel(return_as="generator")(delayed(calls.square)(number) for number in range(50))
    second = Parallel(return_as="generator")(delayed(calls.square)(number) for number in range(50))
    assert [next(first), next(second)] == [0, 0]
    assert list(first) == list(second)


@pytest.mark.parametrize("way", ["generator", "generator_unordered"])
def test_generators_yield_while_others_run(two: None, tmp_path: Path, way: str) -> None:
    """The one that may come first does, and only then lets the other one go on."""
    goes_on = tmp_path / "on"
    first, second = (goes_on, None) if way == "generator_unordered" else (None, goes_on)
    values = Parallel(return_as=way)(delayed(calls.value_after)(path, path is None) for path in (first, second))
    assert next(values) is True
    goes_on.touch()
    assert list(values) == [False]


def test_a_generator_that_is_dropped_ends_its_calls(two: None, tmp_path: Path) -> None:
    started, ended = tmp_path / "started", tmp_path / "ended"
    inputs = [delayed(calls.value_after)(started, 1), delayed(calls.linger)(started, ended)]
    values = Parallel(return_as="generator", batch_size=1)(inputs)
    assert next(values) == 1
    with pytest.warns(UserWarning, match="still being processed by the workers have been cancelled"):
        values.close()
    assert ended.exists()


def test_one_job_is_this_process_and_minus_one_is_all(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = QuiesceBackend(nesting_level=0)
    assert backend.effective_n_jobs(-1) == joblib.cpu_count()
    assert backend.effective_n_jobs(-1000) == 1
    assert backend.effective_n_jobs(5) == 5
    with pytest.raises(ValueError, match="n_jobs == 0 in Parallel has no meaning"):
        Parallel(n_jobs=0, backend="quiesce")(delayed(calls.square)(1) for _ in range(2))
    here = Parallel(n_jobs=1, backend="quiesce")(delayed(threading.get_ident)() for _ in range(2))
    assert here == [threading.get_ident()] * 2
    assert (backend.supports_retrieve_callback, backend.supports_return_generator, backend.supports_timeout) == (
        True, True, True,
    )  # fmt: skip


def test_an_error_ends_the_other_calls_and_the_context_goes_on(two: None, tmp_path: Path) -> None:
    started, ended = tmp_path / "started", tmp_path / "ended"
    with Parallel(batch_size=1) as parallel:
        with pytest.raises(LookupError, match="not there") as caught:
            parallel([delayed(calls.linger)(started, ended), delayed(calls.fail_after)(started, "not there")])
        assert "in fail" in str(caught.value.__cause__)
        assert ended.exists()  # before the error is raised: nothing runs any more
        assert parallel(delayed(calls.square)(number) for number in range(3)) == [0, 1, 4]


@pytest.mark.parametrize("way", ["list", "generator", "generator_unordered"])
def test_a_timeout_ends_the_call(two: None, tmp_path: Path, way: str) -> None:
    started, ended = tmp_path / "started", tmp_path / "ended"
    with pytest.raises(multiprocessing.TimeoutError):
        list(Parallel(timeout=1, return_as=way)([delayed(calls.linger)(started, ended)]))
    assert ended.exists() or not started.exists()
    assert Parallel()(delayed(calls.square)(number) for number in range(3)) == [0, 1, 4]


def test_what_cannot_be_handed_in_is_an_error_of_the_call(two: None) -> None:
    """In whichever thread it is found: the callback's for all but the first."""

    def inputs() -> Iterator[Any]:
        for number in range(20):
            if number == 15:
                raise ArithmeticError("no more input")
            yield delayed(calls.square)(number)

    with pytest.raises(TypeError, match="cannot pickle"):
        Parallel()(delayed(calls.square)(threading.Lock()) for _ in range(2))
    lock = [*range(15), threading.Lock()]
    with pytest.raises(TypeError, match="cannot pickle"):
        Parallel(batch_size=1, pre_dispatch=2)(delayed(calls.square)(number) for number in lock)
    with pytest.raises(ArithmeticError, match="no more input"):
        Parallel(batch_size=1, pre_dispatch=2)(inputs())


def test_callbacks_hand_in_what_is_read_later(two: None) -> None:
    """The program's own generator runs where user code may: not in a thread that the supervisor needs."""
    threads = set()

    def inputs() -> Iterator[Any]:
        for number in range(40):
            threads.add(threading.current_thread().name)
            yield delayed(calls.square)(number)
            joblib.hash(number)

    assert Parallel(batch_size=1)(inputs()) == [number**2 for number in range(40)]
    assert threads - {"MainThread"}
    assert all("callbacks" in name for name in threads - {"MainThread"})


def test_a_process_that_dies_is_an_error_and_not_a_hang(two: None) -> None:
    with Parallel(batch_size=1) as parallel:
        with pytest.raises(Exception, match="SIGKILL"):
            parallel(delayed(calls.die)() for _ in range(2))
        assert parallel(delayed(calls.square)(number) for number in range(3)) == [0, 1, 4]


def test_verbose_says_how_far_it_is(two: None, capsys: pytest.CaptureFixture[str]) -> None:
    Parallel(verbose=11, batch_size=1)([delayed(calls.square)(number) for number in range(4)])
    said = capsys.readouterr().err
    assert "Using backend QuiesceBackend with 2 concurrent workers." in said
    assert re.search(r"Done +4 out of +4 \| elapsed: .* finished", said)


def test_nested_calls_use_threads_then_none(two: None) -> None:
    levels = Parallel()(delayed(calls.nested)(2) for _ in range(1))[0]
    (outer, pid, is_main), inner = levels[0], levels[1]
    assert (outer, is_main) == ("ThreadingBackend", True)
    assert pid != os.getpid()
    assert inner[0][0] == "SequentialBackend"
    assert inner[0][1] == pid
    assert inner[1][0][0] == "SequentialBackend"


def test_the_backend_inside_of_itself(two: None) -> None:
    ((_, values),) = Parallel()(delayed(calls.nested_by_name)(number) for number in range(1))
    assert values == [0, 1, 4, 9]


def test_numerical_libraries_have_their_share_of_threads() -> None:
    with parallel_config(backend="quiesce", n_jobs=2):
        each = max(joblib.cpu_count() // 2, 1)
        assert Parallel()(delayed(calls.threads_allowed)(number) for number in range(1)) == [(str(each),) * 3]
    with parallel_config(backend="quiesce", n_jobs=2, inner_max_num_threads=3):
        assert Parallel()(delayed(calls.threads_allowed)(number) for number in range(1)) == [("3",) * 3]


LIMITS_AT_IMPORT = """
import os, sys
at_import = os.environ.get("OMP_NUM_THREADS")  # what a library sees that is imported here
from joblib import Parallel, delayed, parallel_config
from quiesce.joblib import register
register()

def seen(_):
    return at_import

if __name__ == "__main__":
    with parallel_config(backend="quiesce", n_jobs=2, inner_max_num_threads=5):
        print(Parallel()(delayed(seen)(number) for number in range(2)))
"""


def test_the_share_is_known_before_any_import(tmp_path: Path) -> None:
    done = _program(tmp_path, LIMITS_AT_IMPORT)
    assert done.stdout == "['5', '5']\n", done.stderr


INTERRUPTED = """
import sys, pathlib
from joblib import Parallel, delayed
from quiesce.joblib import register
from tests.process.joblib_calls import linger
register()
here = pathlib.Path(sys.argv[1])

if __name__ == "__main__":
    try:
        places = [(here / f"started{n}", here / f"ended{n}") for n in range(2)]
        Parallel(n_jobs=2, backend="quiesce")(delayed(linger)(*place) for place in places)
    except KeyboardInterrupt:
        print("ended", sorted(path.name for path in here.glob("ended*")))
"""


def test_ctrl_c_ends_the_calls_and_is_raised(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(INTERRUPTED)
    program = subprocess.Popen(
        [sys.executable, "program.py", str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment(),
    )  # fmt: skip
    wait_until(lambda: len(list(tmp_path.glob("started*"))) == 2)
    program.send_signal(signal.SIGINT)
    out, errors = program.communicate(timeout=60)
    assert out == "ended ['ended0', 'ended1']\n", errors
    assert program.returncode == 0


def test_other_scripts_of_a_program_need_no_guard(tmp_path: Path) -> None:
    """A program that ends with executors idle ends them, and says nothing."""
    program = "from quiesce.joblib import register\nimport joblib\nregister(make_default=True)\n"
    program += (
        "if __name__ == '__main__':\n    print(joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(-n) for n in range(3)))\n"
    )
    done = _program(tmp_path, program)
    assert (done.stdout, done.stderr, done.returncode) == ("[0, 1, 2]\n", "", 0)


def _program(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "program.py").write_text(text)
    return subprocess.run(
        [sys.executable, "program.py"], capture_output=True, text=True, timeout=60, cwd=folder, env=environment(),
        check=False,
    )  # fmt: skip


def test_the_examples_of_the_guide(tmp_path: Path) -> None:
    """docs/from-joblib.md. The second one is started twice."""
    pytest.importorskip("sklearn")
    page = (Path(__file__).parents[2] / "docs" / "from-joblib.md").read_text(encoding="utf-8")
    first, search = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for program, said in ((first, "[0, 1, 4, 9, 16]"), (search, "4 candidates"), (search, "4 candidates")):
        done = _program(tmp_path, program)
        assert (done.stdout, done.stderr) == (f"{said}\n", "")
