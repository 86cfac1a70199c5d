"""A run in a notebook, with an IPython that only keeps what it is to show."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.core.progress import ExecutorProgress, Progress, TaskProgress
from orchestrator.display.notebook import NotebookDisplay, is_notebook
from tests.unit.orchestrator.integrations.views import STOP, view


class FakeIPython:
    """The module IPython in a kernel; `shown` is what the output of the cell has been."""

    def __init__(self, *, in_kernel: bool = True) -> None:
        self.shown: list[dict[str, str]] = []
        self.display = SimpleNamespace(display=self._display)
        self._shell = SimpleNamespace(kernel=object()) if in_kernel else SimpleNamespace()

    def get_ipython(self) -> Any:
        return self._shell

    def _display(self, value: Any, *, display_id: bool) -> Any:
        assert display_id
        self.update(value)
        return self

    def update(self, value: Any) -> None:
        self.shown.append(value._repr_mimebundle_())


def progress(*executors: ExecutorProgress) -> Progress:
    return Progress(
        done=3, total=9, is_total_known=True, failed=0, retried=0, interrupted=0, in_flight=2, executors=executors
    )


def test_a_notebook_is_known_without_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not is_notebook()
    monkeypatch.setitem(sys.modules, "IPython", FakeIPython(in_kernel=False))
    assert not is_notebook()
    monkeypatch.setitem(sys.modules, "IPython", FakeIPython())
    assert is_notebook()


def test_one_output_is_updated(monkeypatch: pytest.MonkeyPatch) -> None:
    ipython = FakeIPython()
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    busy = ExecutorProgress(0, 11, (TaskProgress("<page>", 5.0, 1, 2),), 1)
    with NotebookDisplay("night") as display:
        display.show_loading("work", 3.2)
        display.update(view(), progress(busy), 0.0)
        display.update(view(signal=STOP), progress(*[busy] * 20), 0.0)
    starting, loading, running, stopping = ipython.shown
    assert starting["text/plain"] == "night: starting"
    assert loading["text/plain"] == "night: loading work, 3 s"
    assert running["text/plain"] == "night: 3/9 · 2 in flight\n  executor 0 (11): <page>  1/2  5.0 s"
    assert '<progress max="9" value="3"' in running["text/html"]
    assert "&lt;page&gt;" in running["text/html"]
    assert stopping["text/plain"].splitlines()[1].startswith("stopping: received SIGTERM")
    assert stopping["text/plain"].splitlines()[-1] == "  +12 more"
