"""docs/notebooks.md, executed cell by cell in a real kernel; and a cell that is interrupted, and run again."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.process.helpers import look
from tests.support.cli import Running
from tests.support.document_session import read_blocks

PAGE = (Path(__file__).parents[2] / "docs" / "notebooks.md").read_text(encoding="utf-8")

SLOW = """
from pathlib import Path

def work(number, state):
    while number > 1 and not Path("gate").exists():
        state.sleep(0.01)
    return number
"""
RUN = """
from quiesce import Supervisor
with Supervisor(workers=2, journal="j.db", run_id="r", progress=True, grace=60) as supervisor:
    values = [outcome.value for outcome in supervisor.map(work, range(6))]
values
"""


def execute(folder: Path, cells: list[str], *, interrupt_at: str | None = None) -> tuple[list[Any], list[str]]:
    """Return the outputs of each cell, and all texts that displays had. Skips where there is no kernel."""
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    (folder / "cells.json").write_text(json.dumps(cells))
    if interrupt_at is not None:
        (folder / "interrupt").write_text(interrupt_at)
    own = {"IPYTHONDIR": str(folder / "ipython"), "JUPYTER_PLATFORM_DIRS": "1"}
    own |= {name: str(folder) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR")}
    command = [sys.executable, "-W", "ignore", "-m", "tests.support.run_notebook", str(folder)]
    with Running(command, cwd=Path(__file__).parents[2], env=own) as running:
        done = running.wait()
    assert done.returncode == 0, done
    return json.loads((folder / "outputs.json").read_text()), json.loads((folder / "updates.json").read_text())


def text_of(outputs: list[Any]) -> str:
    """What a cell shows as text, errors too."""
    parts = [output.get("text") or output.get("ename") or output["data"]["text/plain"] for output in outputs]
    return "\n".join("".join(part) for part in parts)


def test_the_page_runs_in_a_kernel(tmp_path: Path) -> None:
    cells = [body for _, language, body in read_blocks(PAGE) if language == "python"]
    outputs, shown = execute(tmp_path, cells)
    assert not [output for cell in outputs for output in cell if output["output_type"] == "error"], outputs
    bar, values = outputs[1]
    assert 'progress max="8" value="8"' in "".join(bar["data"]["text/html"])
    assert "8/8" in "".join(bar["data"]["text/plain"])
    assert "'Hello, Perth'" in values["data"]["text/plain"]
    assert len({text for text in shown if text.startswith("cities")}) > 2, "it is updated"
    assert "2 Hello, Oslo" in text_of(outputs[2])
    assert "completed 8 of 8" in text_of(outputs[3])
    assert "Hello, Lima" in text_of(outputs[3])


def test_a_cell_that_is_interrupted_goes_on_when_it_is_run_again(tmp_path: Path) -> None:
    cells = [SLOW, RUN, "Path('gate').touch()", RUN]
    outputs, _ = execute(tmp_path, cells, interrupt_at="2/6")
    assert "KeyboardInterrupt" in text_of(outputs[1]), outputs
    assert "[0, 1, 2, 3, 4, 5]" in text_of(outputs[3]), outputs
    assert look(tmp_path / "j.db", "r").values == {str(number + 1): number for number in range(6)}


def test_what_agents_print_is_shown_when_logging_shows_it(tmp_path: Path) -> None:
    define = "import logging; logging.basicConfig(level=logging.INFO)\ndef work(number):\n    print('printed', number)"
    use = (
        "from quiesce import Supervisor\nwith Supervisor(workers=1) as supervisor:\n    list(supervisor.map(work, [7]))"
    )
    outputs, _ = execute(tmp_path, [define, use])
    assert "printed 7" in text_of(outputs[1]), outputs
