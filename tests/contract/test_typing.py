"""What a user writes against the package passes mypy --strict and pyright's basic mode, and mistakes do not.

Each mistake in typing_wrong.py is excused by an ignore, and an ignore that excuses nothing is an error in both.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLE = Path(__file__).with_name("typing_sample.py")
NAMES = Path(__file__).with_name("typing_quiesce.py")
WRONG = Path(__file__).with_name("typing_wrong.py")
ROOT = SAMPLE.parents[2]


def check(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=cwd,
        env={**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_mypy_strict() -> None:
    pytest.importorskip("mypy")
    done = check("mypy", "--strict", "--cache-dir", str(ROOT / ".mypy_cache"), str(SAMPLE), str(NAMES), str(WRONG))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 source files" in done.stdout


@pytest.mark.slow
def test_pyright_basic(tmp_path: Path) -> None:
    """The files are copied beside the configuration: what lies elsewhere it would leave out, and find no errors."""
    tool = next((name for name in ("pyright", "basedpyright") if importlib.util.find_spec(name)), None)
    if tool is None or check(tool, "--version").returncode != 0:  # it fetches its engine when it is first used
        pytest.skip("pyright is not installed, or cannot run here")
    for source in (SAMPLE, NAMES, WRONG):
        shutil.copy(source, tmp_path)
    config = {
        "typeCheckingMode": "basic",
        "include": ["."],
        "extraPaths": [str(ROOT)],
        "reportUnnecessaryTypeIgnoreComment": "error",
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config))
    done = check(tool, "--project", ".", "--pythonpath", sys.executable, "--outputjson", cwd=tmp_path)
    report = json.loads(done.stdout[done.stdout.index("{") :])
    assert report["generalDiagnostics"] == []
    assert report["summary"]["filesAnalyzed"] == 3


def test_each_mistake_is_one_of_its_own() -> None:
    assert len(re.findall("# type: ignore\\[", WRONG.read_text(encoding="utf-8"))) >= 15
