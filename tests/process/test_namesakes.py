"""A project with a `runtime` or an `orchestrator` of its own: a file, a package, a folder without `__init__.py`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.helpers import jsonl, look
from tests.support.cli import Completed, environment, run_cli, start_cli

WORK = """
from NAME IMPORTED

def own(task_input, state):
    from NAME IMPORTED
    state.log
    state.raise_if_interrupted()
    state.save_snapshot({"at": 1})
    state.sleep(0)
    return [OWN, {1, 2}]  # a set: this one is pickled

async def own_async(task_input, state):
    await state.check_interrupt()
    async with state.parallel(max_workers=2) as group:
        group.add(part(), key="a")
        await group.gather()
    return [OWN, {1, 2}]

async def part():
    return 1

def beside(task_input, state):
    from runtime.errors import ExecutionInterrupted
    return [OWN, {1, 2}]
"""

IMPORTED = {"file": ("", "import OWN"), "package": ("", "import OWN"), "folder": (".own", "import OWN")}


def make_project(place: Path, name: str, layout: str) -> str:
    """Write a project with a module of this name, and an agent that uses it. Where the module is."""
    if layout == "file":
        (place / f"{name}.py").write_text("OWN = 'the project'\n")
    else:
        (place / name).mkdir()
        (place / name / "own.py").write_text("OWN = 'the project'\n")
    if layout == "package":
        (place / name / "__init__.py").write_text("from .model import OWN\n")
        (place / name / "model.py").write_text("OWN = 'the project'\n")  # quiesce has one, too
    submodule, imported = IMPORTED[layout]
    (place / "work.py").write_text(WORK.replace("NAME", f"{name}{submodule}").replace("IMPORTED", imported))
    where = {"file": f"{name}.py", "package": f"{name}/__init__.py", "folder": name}
    return str(place / where[layout])


def run(place: Path, agent: str, path: str = "") -> Completed:
    """`quiesce run AGENT` in the project, where quiesce is installed and nothing else leads to it."""
    inputs = jsonl(place / "in.jsonl", [1, 2])
    arguments = ("run", agent, "-i", inputs, "-w", "1", "-j", place / "j.db")
    return run_cli(*arguments, cwd=place, env=environment({"PYTHONPATH": path}))


def python(place: Path, *arguments: str, path: str = "") -> str:
    """Run Python in the project; the last line that it writes on standard error."""
    env = environment({"PYTHONPATH": path})
    command = [sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=place, env=env, timeout=90, check=False)
    assert done.returncode == 1, done
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", ["runtime", "orchestrator"])
@pytest.mark.parametrize("layout", ["file", "package", "folder"])
@pytest.mark.parametrize("agent", ["work.py:own", "work:own_async"])
def test_an_agents_own_module_wins(tmp_path: Path, agent: str, layout: str, name: str) -> None:
    make_project(tmp_path, name, layout)
    done = run(tmp_path, agent)
    assert done.returncode == 0, done
    assert list(look(tmp_path / "j.db").values.values()) == [["the project", {1, 2}]] * 2


@pytest.mark.parametrize("layout", ["file", "package", "folder"])
def test_a_module_on_pythonpath_wins_in_agents_and_does_not_disturb_the_command(tmp_path: Path, layout: str) -> None:
    make_project(tmp_path, "runtime", layout)
    (tmp_path / "agents").mkdir()
    os.rename(tmp_path / "work.py", tmp_path / "agents" / "work.py")
    done = run(tmp_path, "agents/work.py:own", path=str(tmp_path))
    assert done.returncode == 0, done
    assert list(look(tmp_path / "j.db").values.values()) == [["the project", {1, 2}]] * 2


@pytest.mark.parametrize("agent", ["{}.py:own", "{}:own"])
@pytest.mark.parametrize("name", ["runtime", "orchestrator", "quiesce"])
def test_an_agent_may_be_in_a_module_of_that_name_itself(tmp_path: Path, name: str, agent: str) -> None:
    (tmp_path / f"{name}.py").write_text("def own(task_input, state):\n    return __name__\n")
    done = run(tmp_path, agent.format(name))
    assert done.returncode == 0, done
    assert list(look(tmp_path / "j.db").values.values()) == [name] * 2


def test_an_agent_may_be_in_a_package_of_that_name(tmp_path: Path) -> None:
    make_project(tmp_path, "runtime", "package")
    (tmp_path / "runtime" / "agents.py").write_text(
        "from runtime.model import OWN\nfrom .own import OWN as SAME\n"
        "def own(task_input, state):\n    return [OWN, SAME]\n"
    )
    done = run(tmp_path, "runtime.agents:own")
    assert done.returncode == 0, done
    assert list(look(tmp_path / "j.db").values.values()) == [["the project"] * 2] * 2


def test_what_the_projects_module_does_not_have_is_still_quiesces(tmp_path: Path) -> None:
    """Names in pickles of our classes go on meaning them."""
    make_project(tmp_path, "runtime", "package")
    done = run(tmp_path, "work.py:beside")
    assert done.returncode == 0, done


def test_an_agent_beside_its_own_runtime_is_interrupted_and_goes_on(tmp_path: Path) -> None:
    """Signals, snapshots and their pickles are made of classes whose modules have other names' places."""
    make_project(tmp_path, "runtime", "package")
    (tmp_path / "slow.py").write_text(
        "from runtime.model import OWN\n"
        "def slow(task_input, state):\n"
        "    if state.snapshot is not None:\n        return [OWN, state.snapshot]\n"
        "    state.save_snapshot({1, 2})\n    print('ready', flush=True)\n    state.sleep(60)\n"
    )
    inputs = jsonl(tmp_path / "in.jsonl", [1])
    env = environment({"PYTHONPATH": ""})
    with start_cli(
        "run", "slow.py:slow", "-i", inputs, "-w", "1", "-j", "j.db", "--run-id", "r", cwd=tmp_path, env=env
    ) as running:
        running.expect("ready")
        running.send(signal.SIGINT)
        assert running.wait().signal == signal.SIGINT
    done = run_cli("resume", "r", "-j", "j.db", cwd=tmp_path, env=env)
    assert done.returncode == 0, done
    assert list(look(tmp_path / "j.db").values.values()) == [["the project", {1, 2}]]


def test_a_folder_of_other_things_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "runtime").mkdir()
    (tmp_path / "runtime" / "yesterday.log").write_text("")
    (tmp_path / "work.py").write_text(
        "from runtime import ExecutionState\ndef own(task_input, state: ExecutionState):\n    return 1\n"
    )
    done = run(tmp_path, "work.py:own", path=str(tmp_path))
    assert done.returncode == 0, done


@pytest.mark.parametrize("layout", ["file", "package", "folder"])
@pytest.mark.parametrize(
    "line",
    ["from runtime import ExecutionState", "import runtime; runtime.ExecutionState", "import orchestrator.engine.hub"],
)
def test_an_agent_that_wants_both_is_told_what_collides(tmp_path: Path, line: str, layout: str) -> None:
    where = make_project(tmp_path, "runtime", layout)
    (tmp_path / "both.py").write_text(f"{line}\ndef work(task_input, state):\n    return 1\n")
    done = run(tmp_path, "both.py:work")
    assert done.returncode == 2, done
    (said,) = [each for each in done.stderr.splitlines() if each.startswith("quiesce: ")]
    assert where in said, done
    assert "hides quiesce's package" in said
    assert "rename it" in said


def test_quiesce_has_the_names_for_an_agent_beside_its_own_runtime(tmp_path: Path) -> None:
    """An executor has loaded them under the names of their modules."""
    make_project(tmp_path, "runtime", "file")
    (tmp_path / "both.py").write_text(
        "import runtime\nfrom quiesce import ExecutionState, agent\n"
        "@agent\ndef work(task_input, state: ExecutionState):\n    return [runtime.__file__, "
        "type(state) is ExecutionState]\n"
    )
    done = run(tmp_path, "both.py:work")
    assert done.returncode == 0, done
    assert list(look(tmp_path / "j.db").values.values()) == [[str(tmp_path / "runtime.py"), True]] * 2


def test_an_agents_own_mistake_is_not_called_a_collision(tmp_path: Path) -> None:
    make_project(tmp_path, "runtime", "file")
    (tmp_path / "wrong.py").write_text("from runtime import MISSING\ndef work(task_input, state):\n    return 1\n")
    done = run(tmp_path, "wrong.py:work")
    assert done.returncode == 2, done
    assert "hides" not in done.stderr


@pytest.mark.parametrize("layout", ["file", "package"])
@pytest.mark.parametrize(
    "line", ["from orchestrator import Supervisor", "from orchestrator.journal import open_journal",
             "import runtime; from orchestrator import Supervisor"],
)  # fmt: skip
def test_a_program_beside_its_own_runtime_is_told_so_in_one_line(tmp_path: Path, line: str, layout: str) -> None:
    where = make_project(tmp_path, "runtime", layout)
    said = f"ImportError: {where} hides quiesce's package `runtime`: rename it, or put it into a package"
    (tmp_path / "program.py").write_text(f"{line}\n")
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "program.py").write_text(f"{line}\n")
    assert python(tmp_path, "program.py") == said
    assert python(tmp_path, "-m", "programs.program") == said
    assert python(tmp_path, "programs/program.py", path=str(tmp_path)) == said


def test_the_command_as_a_module_is_told_so_as_well(tmp_path: Path) -> None:
    where = make_project(tmp_path, "runtime", "file")
    assert f"{where} hides quiesce's package `runtime`" in python(tmp_path, "-m", "orchestrator", "runs")
