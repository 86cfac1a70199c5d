"""What an import costs, and what it must not load: each looked at in a fresh interpreter."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support.cli import ROOT

MODULES = [path for package in ("runtime", "orchestrator", "quiesce") for path in (ROOT / package).rglob("*.py")]


def test_importing_the_state_loads_nothing_heavy() -> None:
    """Start-up is budgeted: no rich, structlog, psutil, redis, urllib."""
    code = "import runtime.execution.state, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded.isdisjoint({"rich", "structlog", "psutil", "redis", "multiprocess", "dill", "orchestrator"})
    assert "urllib.request" not in done.stdout.split()


@pytest.mark.parametrize(
    "module", ["runtime.guardian.main", "orchestrator.supervisor", "orchestrator.cli", "orchestrator.run_reader"]
)
def test_a_process_starts_without_pydantic(module: str) -> None:
    """Importing it takes as long as the rest of a start; see runtime/plain_signal.py."""
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded.isdisjoint({"pydantic", "pydantic_core", "annotated_types"})


PURE = """
import importlib, pkgutil, sys
import msgspec
before = set(sys.modules)
import orchestrator.core
for module in pkgutil.iter_modules(orchestrator.core.__path__):
    importlib.import_module(f"orchestrator.core.{module.name}")
print(*(set(sys.modules) - before))
"""


def test_the_core_loads_neither_processes_nor_threads_nor_decoders() -> None:
    """Beyond what msgspec loads: the decisions need no more, and can be tested and replayed anywhere."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", PURE], env=environ, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "orchestrator.core.machine" in loaded
    forbidden = {"asyncio", "cloudpickle", "ctypes", "dill", "mmap", "multiprocess", "multiprocessing", "pickle"}
    forbidden |= {"psutil", "socket", "sqlite3", "subprocess", "threading", "runtime.ipc.codec", "runtime.ipc.flag"}
    assert loaded.isdisjoint(forbidden), loaded & forbidden


def test_loading_the_picklers_leaves_the_disk_alone(tmp_path: Path) -> None:
    """A process that is killed while it imports them leaves no file behind, because none was made."""
    program = """
import sys, tempfile
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
import runtime.ipc.codec
assert "cloudpickle" in sys.modules and tempfile.tempdir is None
assert not [name for name in opened if name.startswith(sys.argv[1])], opened
"""
    environ = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], env=environ, check=True)


NUMPY = """
import json, sys
from runtime.ipc import projection
assert "numpy" not in sys.modules
try:
    import numpy
except ImportError:
    sys.exit(77)
def shown(value):
    return json.loads(projection.project(value))["value"]
assert shown(numpy.float32(1.5)) == 1.5
assert shown(numpy.float64("nan")) == "NaN"
assert shown(numpy.int64(3)) == 3
assert shown(numpy.bool_(True)) is True
assert shown(numpy.longdouble(1.5)) == "1.5"
assert shown(numpy.array([[1, 2], [3, 4]])) == [[1, 2], [3, 4]]
assert shown(numpy.array(5)) == 5
assert shown(numpy.array([1.0, float("nan")])) == [1.0, "NaN"]
assert shown(numpy.array(["2026-01-02"], dtype="datetime64[D]")) == ["2026-01-02"]
assert shown(numpy.datetime64("2026-01-02")) == "2026-01-02"
assert shown(numpy.datetime64("2026-01-02", "ns")).startswith("2026-01-02")
assert shown(numpy.array([{1, 2}, None], dtype=object)) == [[1, 2], None]
assert shown(numpy.zeros((1000, 1000)))["shape"] == [1000, 1000]
"""


def test_numpy_is_shown_as_numbers_and_never_imported() -> None:
    done = subprocess.run([sys.executable, "-c", NUMPY], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    if done.returncode == 77:
        pytest.skip("numpy is not installed")
    assert done.returncode == 0


def imports_of(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_bytes())))
    modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return {*modules, *(node.module or "" for node in nodes if isinstance(node, ast.ImportFrom))}


def test_scripts_import_tests_and_never_the_other_way() -> None:
    scripts = {
        "scripts",
        *(path.stem for path in (ROOT / "scripts").iterdir() if path.suffix == ".py" or path.is_dir()),
    }
    tests = (ROOT / "tests").rglob("*.py")
    assert [path for path in tests if {name.partition(".")[0] for name in imports_of(path)} & scripts] == []


def test_no_modules_import_each_other_not_even_for_typing() -> None:
    grimp = pytest.importorskip("grimp", reason="comes with import-linter")
    graph = grimp.build_graph("orchestrator", "quiesce", "runtime", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    TopologicalSorter(imports).prepare()


def test_unit_tests_lie_in_the_folder_of_what_they_test() -> None:
    """So they are found from the code, and move with it. At the top are those of several packages."""
    unit = ROOT / "tests" / "unit"
    for path in unit.rglob("test_*.py"):
        folder = path.parent.relative_to(unit)
        assert (ROOT / folder / "__init__.py").exists() or folder == Path(), path
        module = path.stem.removeprefix("test_")
        elsewhere = [found for found in MODULES if found.stem == module and found.parent != ROOT / folder]
        here = (ROOT / folder / f"{module}.py").exists() or (ROOT / folder / module).is_dir()
        assert here or not elsewhere, f"{path.relative_to(ROOT)} is a test of {elsewhere[0].relative_to(ROOT)}"
