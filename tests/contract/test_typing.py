"""What a user writes against the package passes mypy --strict and pyright's basic mode, and mistakes do not.

Each mistake in typing_wrong.py and typing_library_wrong.py is excused by an ignore, and an ignore that excuses nothing
is an error in both.
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

HERE = Path(__file__).parent
SAMPLES = [HERE / "typing_sample.py", HERE / "typing_library.py", HERE / "typing_quiesce.py"]
WRONG = [HERE / "typing_wrong.py", HERE / "typing_library_wrong.py"]
ROOT = HERE.parents[1]


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
    done = check("mypy", "--strict", "--cache-dir", str(ROOT / ".mypy_cache"), *map(str, [*SAMPLES, *WRONG]))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 source files" in done.stdout


@pytest.mark.slow
def test_pyright_basic(tmp_path: Path) -> None:
    """The files are copied beside the configuration: what lies elsewhere it would leave out, and find no errors."""
    tool = next((name for name in ("pyright", "basedpyright") if importlib.util.find_spec(name)), None)
    if tool is None or check(tool, "--version").returncode != 0:  # it fetches its engine when it is first used
        pytest.skip("pyright is not installed, or cannot run here")
    for source in [*SAMPLES, *WRONG]:
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
    assert report["summary"]["filesAnalyzed"] == 5


def test_each_mistake_is_one_of_its_own() -> None:
    texts = [path.read_text(encoding="utf-8") for path in WRONG]
    assert [len(re.findall("# type: ignore\\[", text)) >= least for text, least in zip(texts, (15, 13), strict=True)]
