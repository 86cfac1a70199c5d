"""What a user writes against the package passes mypy --strict and pyright's basic mode."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLE = Path(__file__).with_name("typing_sample.py")
ROOT = SAMPLE.parents[3]


def test_mypy_strict(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(ROOT / ".mypy_cache"), str(SAMPLE)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_pyright_basic(tmp_path: Path) -> None:
    if importlib.util.find_spec("basedpyright") is None and importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright is not installed")
    tool = "basedpyright" if importlib.util.find_spec("basedpyright") else "pyright"
    config = tmp_path / "pyrightconfig.json"
    config.write_text(json.dumps({"typeCheckingMode": "basic", "include": [str(SAMPLE)], "extraPaths": [str(ROOT)]}))
    done = subprocess.run(
        [sys.executable, "-m", tool, "--project", str(config), "--pythonpath", sys.executable],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
