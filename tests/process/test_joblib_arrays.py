"""Large arrays of joblib's calls: not through the pipe, right whatever changes, and gone whatever dies."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from joblib import Parallel, delayed, parallel_config

from orchestrator.joblib import register, shutdown
from runtime.errors import UsageError
from runtime.ipc import shared_memory
from tests.process import joblib_calls as calls
from tests.support.cli import environment
from tests.support.wait import wait_until

LENGTH = 200_000  # floats: more than a megabyte


@pytest.fixture(autouse=True)
def idle_executors_end() -> Iterator[None]:
    register()
    yield
    gc.collect()
    shutdown()


@pytest.fixture
def segments(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of what the caller puts into shared memory."""
    made: list[int] = []
    fill = shared_memory.Segment.fill

    def count(self: Any, data: memoryview, *, is_final: bool) -> None:
        made.append(len(data))
        fill(self, data, is_final=is_final)

    monkeypatch.setattr(shared_memory.Segment, "fill", count)
    return made


def test_an_array_is_shared_once_for_all_calls(segments: list[int]) -> None:
    array = np.ones(LENGTH)
    with parallel_config(backend="quiesce", n_jobs=2), Parallel(batch_size=1) as parallel:
        seen = parallel(delayed(calls.describe_array)(array) for _ in range(10))
        assert seen == [("memmap", "r", False, float(LENGTH))] * 10
        assert parallel([delayed(calls.sum_deep)([{"deep": array}])]) == [LENGTH]
        assert segments == [array.nbytes]
        small = np.ones(10)
        assert parallel([delayed(calls.describe_array)(small)]) == [("ndarray", "", True, 10.0)]
        assert segments == [array.nbytes]


def test_an_array_that_changes_is_shared_anew(segments: list[int]) -> None:
    array = np.zeros(LENGTH)
    with Parallel(n_jobs=2, backend="quiesce") as parallel:
        for number in range(3):
            assert parallel([delayed(calls.describe_array)(array)])[0][-1] == LENGTH * number
            array += 1
    assert len(segments) == 3


@pytest.mark.parametrize(
    ("mode", "sums"), [("c", [2.0, 2.0, 2.0]), ("r+", [2.0, 3.0, 4.0]), ("w+", [2.0, 3.0, 4.0]), (None, [2.0] * 3)]
)
def test_modes(mode: str | None, sums: list[float], segments: list[int]) -> None:
    """`c` and None: each call has its own. `r+`: all write into one, as joblib's."""
    array = np.ones(LENGTH)
    with (
        parallel_config(backend="quiesce", n_jobs=2, mmap_mode=mode),
        Parallel(batch_size=1, pre_dispatch=1) as parallel,
    ):
        got = [parallel([delayed(calls.add_one)(array)])[0] / LENGTH for _ in sums]
    assert got == sums
    assert array[0] == 1.0
    assert len(segments) == (0 if mode is None else 1)


def test_a_mode_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match=r"mmap_mode = 'x': give one of r, r\+, w\+, c, or None"):
        Parallel(n_jobs=2, backend="quiesce", mmap_mode="x")(delayed(abs)(number) for number in range(2))


def test_arrays_of_files_are_mapped_by_each_call(tmp_path: Path, segments: list[int]) -> None:
    ours = np.memmap(tmp_path / "array", "f8", "w+", shape=(LENGTH,))
    Parallel(n_jobs=2, backend="quiesce")(
        delayed(calls.add_one)(part) for part in (ours[: LENGTH // 2], ours[LENGTH // 2 :])
    )
    assert ours.sum() == LENGTH
    assert segments == []


def test_large_results_are_the_callers_own(segments: list[int]) -> None:
    """Also those that are larger than what one value on the pipe may be, and those that come with an argument."""
    with parallel_config(backend="quiesce", n_jobs=2):
        results = Parallel()(delayed(calls.filled)(LENGTH, value) for value in range(6))
        assert [result.sum() / LENGTH for result in results] == [0, 1, 2, 3, 4, 5]
        assert all(result.flags.writeable and type(result) is np.ndarray for result in results)
        array = np.ones(LENGTH)
        (same,) = Parallel()([delayed(calls.value_after)(None, array)])
        assert (type(same), same.flags.writeable, same.sum()) == (np.ndarray, True, LENGTH)


def test_without_memory_arrays_go_through_the_pipe(monkeypatch: pytest.MonkeyPatch, segments: list[int]) -> None:
    monkeypatch.setattr(shared_memory, "MOST_SEGMENTS", 0)
    array = np.ones(LENGTH)
    with parallel_config(backend="quiesce", n_jobs=2):
        assert Parallel()([delayed(calls.describe_array)(array)]) == [("ndarray", "", True, float(LENGTH))]
        assert Parallel()([delayed(calls.filled)(LENGTH, 2)])[0].sum() == 2 * LENGTH
    assert segments == []


def test_executors_that_may_open_no_memory_get_arrays_by_the_pipe() -> None:
    """The program is not dumpable, /proc is hidden: found out by the first call, which is handed in again."""
    array = np.ones(LENGTH)
    with parallel_config(backend="quiesce", n_jobs=2, initializer=calls.refuse_memory), Parallel() as parallel:
        for _ in range(2):
            seen = parallel(delayed(calls.describe_array)(array) for _ in range(3))
            assert seen == [("ndarray", "", True, float(LENGTH))] * 3
        assert parallel([delayed(calls.filled)(LENGTH, 2)])[0].sum() == 2 * LENGTH


def test_an_attempt_after_a_crash_has_the_arrays_again(tmp_path: Path) -> None:
    array = np.ones(LENGTH)
    with parallel_config(backend="quiesce", n_jobs=2, retries=1):
        assert Parallel()([delayed(calls.die_once)(tmp_path / "died", array)]) == [LENGTH]


def test_memory_is_released_with_the_call() -> None:
    array = np.ones(LENGTH)
    before = set(shared_memory._live)
    with parallel_config(backend="quiesce", n_jobs=2):
        Parallel()(delayed(calls.describe_array)(array) for _ in range(3))
        with pytest.raises(LookupError):
            Parallel()([delayed(calls.describe_array)(array), delayed(calls.fail)("no")])
        with pytest.raises(Exception, match="SIGKILL"):
            Parallel()([delayed(calls.describe_array)(array), delayed(calls.die)()])
        gc.collect()
        assert set(shared_memory._live) == before


KILLED = """
import pathlib, sys
import numpy as np
from joblib import Parallel, delayed
from quiesce.joblib import register
from tests.process.joblib_calls import linger_with
register()
here = pathlib.Path(sys.argv[1])

if __name__ == "__main__":
    array = np.ones(300_000)
    Parallel(n_jobs=2, backend="quiesce", grace=0.1, term_grace=0.1)(
        delayed(linger_with)(here / f"started{n}", array) for n in range(2)
    )
"""


def test_nothing_is_left_when_the_program_is_killed(tmp_path: Path) -> None:
    """No file anywhere: the memory has no name. And no process that holds it (the fixture of all tests looks)."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    (tmp_path / "program.py").write_text(KILLED)
    before = set(os.listdir("/dev/shm"))
    program = subprocess.Popen(
        [sys.executable, "program.py", str(tmp_path)], cwd=tmp_path,
        env=environment() | {"TMPDIR": str(folder), "JOBLIB_TEMP_FOLDER": str(folder)},
    )  # fmt: skip
    wait_until(lambda: len(list(tmp_path.glob("started*"))) == 2)
    executors = [int(path.read_text()) for path in tmp_path.glob("started*")]
    assert set(os.listdir("/dev/shm")) == before
    program.send_signal(signal.SIGKILL)
    program.wait()
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in executors))
    assert set(os.listdir("/dev/shm")) == before
    assert os.listdir(folder) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a /dev/shm of its own")
def test_a_full_dev_shm_is_no_limit(tmp_path: Path) -> None:
    """A container has 64 MiB by default, and joblib's own backends fail or fall back there."""
    program = (
        "import numpy as np\nfrom joblib import Parallel, delayed\nfrom quiesce.joblib import register\n"
        "from tests.process.joblib_calls import filled, describe_array\nregister()\n"
        "if __name__ == '__main__':\n"
        "    run = Parallel(n_jobs=2, backend='quiesce')\n"
        "    print(run([delayed(describe_array)(np.ones(10**6))])[0], run([delayed(filled)(10**6, 1.0)])[0].sum())\n"
    )
    (tmp_path / "program.py").write_text(program)
    mounted = 'mount -t tmpfs -o size=64k none /dev/shm && exec "$@"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mounted, "sh", sys.executable, "program.py"],
        capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment(), check=False,
    )  # fmt: skip
    if "unshare failed" in done.stderr or "mount:" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.stdout == "('memmap', 'r', False, 1000000.0) 1000000.0\n", done.stderr
