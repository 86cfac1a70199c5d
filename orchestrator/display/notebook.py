"""Show a run in a notebook: one output that is updated, with a bar where HTML is shown and as text elsewhere."""

from __future__ import annotations

import html
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Self

from orchestrator.core.progress import Progress
from orchestrator.core.status import StatusView
from orchestrator.display import text
from orchestrator.logging.sinks import Sink, standard_error

_MOST_EXECUTORS: Final = 8


def is_notebook() -> bool:
    """Return whether this program runs in a Jupyter kernel. Imports nothing."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


class NotebookDisplay:
    """Display in the output of the cell that enters it."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._handle: Any = None

    @property
    def sink(self) -> Sink:
        """Standard error, which the notebook shows below."""
        return standard_error()

    def __enter__(self) -> Self:
        show = sys.modules["IPython"].display.display
        self._handle = show(_Shown(f"{self._title}: starting", ""), display_id=True)
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, status: StatusView, progress: Progress, now: float) -> None:
        """Replace what is shown."""
        lines = [text.line(self._title, progress)]
        if status.signal is not None:
            lines.append(text.stopping(status, now))
        lines += [text.executor(executor) for executor in progress.executors[:_MOST_EXECUTORS]]
        if len(progress.executors) > _MOST_EXECUTORS:
            lines.append(f"  +{len(progress.executors) - _MOST_EXECUTORS} more")
        bar = f'<progress max="{max(1, progress.total)}" value="{progress.done}" style="width: 100%"></progress>'
        self._handle.update(_Shown("\n".join(lines), bar))

    def cleared(self) -> AbstractContextManager[None]:
        """Clear nothing: a cell is no terminal."""
        return nullcontext()

    def show_loading(self, agent: str, seconds: float | None) -> None:
        """Show for how long it has been loading."""
        if seconds is not None:
            self._handle.update(_Shown(f"{self._title}: {text.loading(agent, seconds)}", ""))


class _Shown:
    """What a notebook shows, in both forms."""

    def __init__(self, plain: str, bar: str) -> None:
        self._plain = plain
        self._bar = bar

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": self._plain, "text/html": f"{self._bar}<pre>{html.escape(self._plain)}</pre>"}

    def __repr__(self) -> str:
        return self._plain
