"""joblib's calls in a journal: the same program, started again, has the results and makes the other calls."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.journal import open_journal
from runtime.errors import QuiesceError
from tests.support.cli import environment
from tests.support.wait import wait_until

PROGRAM = """
import pathlib, sys
import numpy as np
from joblib import Parallel, delayed, parallel_config
from quiesce.joblib import register
from tests.process.joblib_calls import count_call, wait_for
register()
here, length, jobs = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])

def work(number, array=None):
    if number >= 6:
        wait_for(here / "go on")
    return count_call(here / "calls", number, array)

if __name__ == "__main__":
    array = np.full(length, 0.5) if length else None
    with parallel_config(backend="quiesce", n_jobs=jobs, journal=here / "runs.db", key=KEY, grace=0.2, term_grace=1):
        results = Parallel()(delayed(work)(number, array) for number in range(10))
        print(results, Parallel()(delayed(work)(number) for number in (0, 0)))
"""


class _Program:
    """Start the program, and count its calls."""

    def __init__(self, folder: Path, text: str = PROGRAM, key: str = "'sums'") -> None:
        self.folder = folder
        (folder / "calls").mkdir()
        (folder / "program.py").write_text(text.replace("KEY", key))

    def start(self, length: int, jobs: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "program.py", str(self.folder), str(length), str(jobs)], cwd=self.folder,
            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def calls(self) -> list[int]:
        return sorted(int(path.name.partition("-")[0]) for path in (self.folder / "calls").iterdir())

    def stop_at_six(self, length: int, jobs: int, signum: int) -> None:
        program = self.start(length, jobs)
        wait_until(lambda: self._recorded() >= 6 or program.poll() is not None, 90)
        program.send_signal(signum)
        _, errors = program.communicate(timeout=60)
        assert program.returncode == -signum, errors
        assert self.calls() == list(range(6))

    def _recorded(self) -> int:
        if not (self.folder / "runs.db").exists():
            return 0
        try:
            with open_journal(self.folder / "runs.db", "read") as journal:
                return sum(1 for _ in journal.results(journal.get_run(None).id))
        except QuiesceError:  # it is being made
            return 0

    def finish(self, length: int, jobs: int) -> str:
        (self.folder / "go on").touch()
        out, errors = self.start(length, jobs).communicate(timeout=90)
        assert out, errors
        return out


@pytest.mark.parametrize(("length", "jobs", "signum"), [(0, 2, signal.SIGTERM), (300_000, 2, signal.SIGKILL)])
def test_a_program_that_was_stopped_makes_the_other_calls(tmp_path: Path, length: int, jobs: int, signum: int) -> None:
    """With a large array, too: the journal knows it by its content, and does not have it."""
    program = _Program(tmp_path)
    program.stop_at_six(length, jobs, signum)
    add = 0.5 if length else 0.0
    expected = f"{[number + add for number in range(10)]} [0.0, 0.0]\n"
    assert program.finish(length, jobs) == expected
    before = program.calls()
    assert before == [0, 0, *range(10)]  # the same call again is a call of its own
    assert program.finish(length, jobs) == expected
    assert program.calls() == before
    assert (tmp_path / "runs.db").stat().st_size < 1_000_000


def test_another_array_is_another_call_and_another_number_of_jobs_is_not(tmp_path: Path) -> None:
    program = _Program(tmp_path, PROGRAM.replace("range(10)", "range(4)").replace("(0, 0)", "()"))
    assert program.finish(300_000, 2) == "[0.5, 1.5, 2.5, 3.5] []\n"
    assert program.finish(300_000, 1) == "[0.5, 1.5, 2.5, 3.5] []\n"
    assert program.calls() == [0, 1, 2, 3]
    assert program.finish(300_001, 1) == "[0.5, 1.5, 2.5, 3.5] []\n"
    assert program.calls() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_key_function_names_the_calls(tmp_path: Path) -> None:
    program = _Program(
        tmp_path,
        PROGRAM.replace("range(10)", "range(4)").replace("(0, 0)", "()"),
        key="lambda number, array=None: f'number {number}'",
    )
    assert program.finish(0, 2) == "[0.0, 1.0, 2.0, 3.0] []\n"
    assert program.finish(0, 2) == "[0.0, 1.0, 2.0, 3.0] []\n"
    assert program.calls() == [0, 1, 2, 3]
    with open_journal(tmp_path / "runs.db", "read") as journal:
        keys = {outcome.key for outcome in journal.results(journal.get_run(None).id)}
    assert keys == {f"__main__.work: number {number}" for number in range(4)}
    (tmp_path / "go on").touch()
    _, errors = program.start(300_000, 2).communicate(timeout=90)
    assert "RunMismatchError" in errors  # the same names, with other arguments
    assert program.calls() == [0, 1, 2, 3]


SEARCH = """
import pathlib, sys
import numpy as np
from joblib import parallel_config
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import GridSearchCV
from quiesce.joblib import register
from tests.process.joblib_calls import count_call, wait_for
register()
here = pathlib.Path(sys.argv[1])

class Slow(ClassifierMixin, BaseEstimator):
    def __init__(self, depth=0):
        self.depth = depth

    def fit(self, X, y):
        if self.depth >= 3:
            wait_for(here / "go on")
        count_call(here / "calls", self.depth)
        self.classes_ = np.unique(y)
        self.share_ = y.mean() + self.depth / 100
        return self

    def score(self, X, y):
        return self.share_

if __name__ == "__main__":
    numbers = np.random.default_rng(1)
    X, y = numbers.normal(size=(2_000, 100)), numbers.integers(0, 2, 2_000)
    with parallel_config(backend="quiesce", n_jobs=2, journal=here / "runs.db", key="search", grace=0.2):
        search = GridSearchCV(Slow(), {"depth": [0, 1, 2, 3, 4, 5]}, cv=2, refit=False).fit(X, y)
    print(search.best_params_, len(search.cv_results_["mean_test_score"]))
"""


def test_a_grid_search_goes_on_where_sigterm_stopped_it(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    program = _Program(tmp_path, SEARCH)
    started = program.start(0, 2)
    wait_until(lambda: program._recorded() >= 6 or started.poll() is not None, 90)
    started.send_signal(signal.SIGTERM)
    _, errors = started.communicate(timeout=60)
    assert started.returncode == -signal.SIGTERM, errors
    assert program.calls() == [0, 0, 1, 1, 2, 2]
    assert program.finish(0, 2) == "{'depth': 5} 6\n"
    assert program.calls() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert os.stat(tmp_path / "runs.db").st_size < 1_000_000  # the data, 1.6 MB, is not in it
