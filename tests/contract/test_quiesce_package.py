"""`import quiesce`: every public name of both packages, loaded on first use, and the command."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

import orchestrator
import quiesce
import runtime
from tests.support.cli import ROOT


def python(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a fresh interpreter in a folder, with the checkout on its path."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=90, check=False)


def test_it_has_the_public_names_of_both_packages() -> None:
    assert quiesce.__all__ == sorted({*orchestrator.__all__, *runtime.__all__})
    for package in (orchestrator, runtime):
        for name in package.__all__:
            assert getattr(quiesce, name) is getattr(package, name)


def test_dir_shows_the_public_names_and_no_others() -> None:
    assert [name for name in dir(quiesce) if not name.startswith("__")] == quiesce.__all__
    assert {"__version__", "__all__", "__doc__"} <= set(dir(quiesce))


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'quiesce' has no attribute 'Nothing'"):
        _ = quiesce.Nothing


def test_its_version_is_that_of_the_built_package() -> None:
    assert quiesce.__version__ == importlib.metadata.version("quiesce")


def test_an_agent_s_import_loads_nothing_of_the_supervisor(tmp_path: Path) -> None:
    done = python("-c", "from quiesce import agent, ExecutionState; import sys; print(*sys.modules)", folder=tmp_path)
    loaded = done.stdout.split()
    assert "runtime.execution.state" in loaded
    assert [name for name in loaded if name.partition(".")[0] in {"orchestrator", "rich", "typer", "structlog"}] == []


@pytest.mark.parametrize("package", ["quiesce", "orchestrator"])
def test_the_command_is_also_a_module(tmp_path: Path, package: str) -> None:
    done = python("-m", package, "--version", folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"quiesce {quiesce.__version__}\n", "")


def test_a_program_beside_its_own_runtime_is_told_what_collides(tmp_path: Path) -> None:
    (tmp_path / "runtime.py").touch()
    done = python("-c", "from quiesce import agent", folder=tmp_path)
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: {tmp_path / 'runtime.py'} hides quiesce's package `runtime`: rename it, or put it into a package"
    )
