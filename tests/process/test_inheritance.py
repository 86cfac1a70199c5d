"""An executor is a child of its interpreter: what a child of multiprocessing's spawn has from it, an agent has too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.process.helpers import look
from tests.support.cli import QUIESCE, Running, environment

PROBE = """
import builtins, io, locale, logging, multiprocessing, os, signal, sys, threading, warnings
import multiprocess
from multiprocessing import process, util


def probe(task_input=None, state=None):
    umask = os.umask(0)
    os.umask(umask)
    return {
        "flags": repr(sys.flags),
        "warnoptions": sys.warnoptions,
        "filters": [repr(each) for each in warnings.filters],
        "xoptions": sys._xoptions,
        "argv": sys.argv,
        "path": sys.path,
        "executable": sys.executable,
        "prefix": [sys.prefix, sys.exec_prefix],
        "dont_write_bytecode": sys.dont_write_bytecode,
        "pycache_prefix": sys.pycache_prefix,
        "int_max_str_digits": sys.get_int_max_str_digits(),
        "hash": hash("a text") if os.environ.get("PYTHONHASHSEED") == "42" else None,
        "encodings": [sys.getfilesystemencoding(), sys.getfilesystemencodeerrors(), locale.getpreferredencoding()],
        "python variables": {k: v for k, v in os.environ.items() if k.startswith(("PYTHON", "LC_", "LANG", "OWN_"))},
        "cwd": os.getcwd(),
        "umask": umask,
        "stdin": os.readlink("/proc/self/fd/0"),
        "recursion limit": sys.getrecursionlimit(),
        "main thread": threading.main_thread().name,
        "authkey": process.current_process().authkey.hex(),
        "is main": process.current_process().name == "MainProcess",
        "identity": process.current_process()._identity,
        "daemon": process.current_process().daemon,
        "pid": process.current_process().pid == os.getpid(),
        "parent": [process.parent_process().name, process.parent_process().pid, process.parent_process().is_alive()],
        "start method": multiprocessing.get_start_method(),
        "original directory": process.ORIGINAL_DIR,
        "children": [type(each).__name__ for each in multiprocessing.active_children()],
        "log level": util.get_logger().getEffectiveLevel(),
        "logs to stderr": util._log_to_stderr,
    }


def probe_fork(task_input=None, state=None):
    return multiprocess.process.parent_process().name, multiprocess.process.current_process().authkey.hex()
"""

PROGRAM = """
import json, multiprocessing, os, sys
import multiprocess
from orchestrator import Supervisor
import probe


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    {before}
    from concurrent.futures import ProcessPoolExecutor
    with ProcessPoolExecutor(1) as pool:
        theirs = pool.submit(probe.probe).result()
    with Supervisor(workers=1) as supervisor:
        ours = supervisor.submit(probe.probe, None).result()
        name, authkey = supervisor.submit(probe.probe_fork, None).result()
    assert name == multiprocess.current_process().name, name
    assert authkey == bytes(multiprocess.current_process().authkey).hex(), authkey
    print(json.dumps([theirs, ours]))
"""

WAYS: dict[str, tuple[list[str], dict[str, str], str]] = {
    "plain": ([], {}, "pass"),
    "optimised": (["-OO"], {}, "pass"),
    "isolated": (["-I"], {}, "pass"),
    "no environment": (["-E", "-s"], {"PYTHONHASHSEED": "1"}, "pass"),
    "safe path": (["-P"], {}, "pass"),
    "no bytecode": (["-B"], {}, "pass"),
    "quiet and strict": (["-q", "-b"], {}, "pass"),
    "dev": (["-X", "dev"], {}, "pass"),
    "utf8": (["-X", "utf8"], {}, "pass"),
    "tracemalloc": (["-X", "tracemalloc=3"], {}, "pass"),
    "warnings": (["-W", "ignore::UserWarning", "-W", "error::FutureWarning:some.module"], {}, "pass"),
    "variables": (
        [],
        {"PYTHONHASHSEED": "42", "PYTHONWARNINGS": "ignore::UserWarning", "PYTHONPATH": "/nowhere:/elsewhere"},
        "pass",
    ),
    "path": ([], {}, "sys.path.insert(0, '/a'); sys.path.append('/z'); sys.path.insert(1, ''); sys.path.append('/a')"),
    "arguments": ([], {}, "sys.argv[:] = ['other', '--option', 'value with blanks', '', '\\udcff', 'x' * 200_000]"),
    "names": ([], {}, "multiprocessing.current_process().name = 'Boss'"),
    "authkey": ([], {}, "multiprocessing.current_process().authkey = b'our own secret'"),
    "start method": ([], {}, "multiprocessing.set_start_method('forkserver', force=True)"),
    "logging": ([], {}, "multiprocessing.log_to_stderr(10)"),
    "changed variables": ([], {}, "os.environ['OWN_THING'] = 'set late'; os.umask(0o27)"),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_agent_sees_what_a_spawned_child_sees(tmp_path: Path, way: str) -> None:
    options, variables, before = WAYS[way]
    theirs, ours = run_program(tmp_path, options, variables, before)
    assert ours == theirs


def run_program(place: Path, options: list[str], variables: dict[str, str], before: str) -> list[dict[str, Any]]:
    (place / "probe.py").write_text(PROBE)
    early = (
        "import os, sys\nif __name__ == '__main__':\n    sys.path.insert(0, os.getcwd())\n"
        if {"-I", "-P"} & set(options)
        else ""
    )
    (place / "program.py").write_text(early + PROGRAM.replace("{before}", before))
    done = subprocess.run(
        [sys.executable, *options, "program.py", "--first", "second"],
        capture_output=True,
        text=True,
        timeout=110,
        cwd=place,
        env={**environment(), **variables},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: list[dict[str, Any]] = json.loads(done.stdout)
    return result


FACTS = """
import importlib, os, select


def look(package, state=None):
    whole = importlib.import_module(package)
    process, util = importlib.import_module(f"{package}.process"), importlib.import_module(f"{package}.util")
    current, parent = whole.current_process(), whole.parent_process()
    return {
        "type": f"{type(current).__module__}.{type(current).__qualname__}",
        "pid and ident": [current.pid == os.getpid(), current.ident == os.getpid()],
        "daemon": current.daemon,
        "exitcode": current.exitcode,
        "identity": list(current._identity),
        "configuration": {name: repr(value) for name, value in current._config.items()},
        "authkey": [type(current.authkey).__name__, bytes(current.authkey).hex()],
        "parent of": [current._parent_pid, current._parent_name],
        "parent": [type(parent).__name__, parent.name, parent.pid, parent.ident, parent.is_alive(), parent.daemon],
        "parent's exit": [parent.exitcode, parent.join(0), select.select([parent.sentinel], [], [], 0)[0]],
        "children": [whole.active_children(), len(process._children), len(process._dangling)],
        "next child": [whole.Process().name, process.ORIGINAL_DIR],
        "start method": whole.get_start_method(),
        "logging": [util.get_logger().getEffectiveLevel(), util._log_to_stderr, len(util.get_logger().handlers)],
    }


def send(connection, package):
    connection.send(look(package))
"""

CHILDREN = """
import importlib, json
import facts
from orchestrator import Supervisor

if __name__ == "__main__":
    package = "{package}"
    whole = importlib.import_module(package)
    whole.set_start_method("spawn")
    whole.current_process().name = "Boss"
    whole.log_to_stderr(30)
    receiver, sender = whole.Pipe(duplex=False)
    child = whole.Process(target=facts.send, args=(sender, package))
    child.start()
    sender.close()
    theirs = receiver.recv()
    child.join()
    with Supervisor(workers=1) as supervisor:
        print(json.dumps([theirs, supervisor.submit(facts.look, package).result()]))
"""


@pytest.mark.parametrize("package", ["multiprocessing", "multiprocess"])
def test_an_executor_is_what_a_child_of_the_package_is(tmp_path: Path, package: str) -> None:
    """But for its name: the child's is Process-1-, the executor's Executor-1-."""
    (tmp_path / "facts.py").write_text(FACTS)
    (tmp_path / "program.py").write_text(CHILDREN.replace("{package}", package))
    done = subprocess.run(
        [sys.executable, "program.py"], capture_output=True, text=True, timeout=110, cwd=tmp_path, env=environment(),
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    theirs, ours = json.loads(done.stdout)
    assert ours == theirs


def test_a_package_that_only_a_task_imports_knows_its_place(tmp_path: Path) -> None:
    """The command imports neither package; and all executors have one authkey."""
    (tmp_path / "agent.py").write_text(
        "def look(package, state):\n"
        "    import importlib, sys\n"
        "    was_there = package in sys.modules\n"
        "    whole = importlib.import_module(package)\n"
        "    current, parent = whole.current_process(), whole.parent_process()\n"
        "    authkey = bytes(current.authkey).hex()\n"
        "    return [was_there, current.name, parent.name, parent.pid, parent.is_alive(), authkey]\n"
    )
    packages = ["multiprocessing", "multiprocess"]
    (tmp_path / "in.jsonl").write_text("".join(f'"{package}"\n' for package in packages for _ in range(2)))
    words = ["run", "agent.py:look", "-i", "in.jsonl", "-w", "2", "-j", "j.db", "--max-tasks-per-executor", "1"]
    with Running([*QUIESCE, *words], cwd=tmp_path) as command:
        assert command.wait().returncode == 0
        pid = command.popen.pid
    values = [outcome.value for outcome in look(tmp_path / "j.db").outcomes.values()]
    assert len(values) == 4
    assert {value[1] for value in values} <= {"Executor-1", "Executor-2"}
    assert [[*value[:1], *value[2:5]] for value in values] == [[False, "MainProcess", pid, True]] * 4
    assert len({value[5] for value in values}) == 2  # one for each package


@pytest.mark.parametrize(
    ("options", "statement", "value"),
    [
        (["-X", "int_max_str_digits=700"], "sys.get_int_max_str_digits()", 700),
        (["-X", "warn_default_encoding"], "sys.flags.warn_default_encoding", 1),
        (["-X", "no_debug_ranges"], "sys._xoptions", {"no_debug_ranges": True}),
    ],
)
def test_options_that_spawn_forgets_are_passed_on(
    tmp_path: Path, options: list[str], statement: str, value: object
) -> None:
    (tmp_path / "asked.py").write_text(f"import sys\ndef look(task_input, state):\n    return {statement}\n")
    (tmp_path / "program.py").write_text(
        "import json, asked\nfrom orchestrator import Supervisor\n"
        "with Supervisor(workers=1) as supervisor:\n"
        "    print(json.dumps(supervisor.submit(asked.look, None).result()))\n"
    )
    command = [sys.executable, *options, "program.py"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=110, cwd=tmp_path, env=environment(), check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == value


def test_the_authkey_is_in_no_command_line_and_no_environment(tmp_path: Path) -> None:
    """Other users can read the one, and every program that an agent starts the other."""
    (tmp_path / "asked.py").write_text(
        "import os\n"
        "def look(task_input, state):\n"
        "    read = lambda pid, name: open(f'/proc/{pid}/{name}', 'rb').read().hex()\n"
        "    return [read(pid, name) for pid in ('self', os.getppid()) for name in ('cmdline', 'environ')]\n"
    )
    (tmp_path / "program.py").write_text(
        "import json, asked, multiprocessing\nfrom orchestrator import Supervisor\n"
        "multiprocessing.current_process().authkey = b'very secret'\n"
        "with Supervisor(workers=1) as supervisor:\n"
        "    print(json.dumps(supervisor.submit(asked.look, None).result()))\n"
    )
    done = subprocess.run(
        [sys.executable, "program.py"],
        capture_output=True,
        text=True,
        timeout=110,
        cwd=tmp_path,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = [bytes.fromhex(text) for text in json.loads(done.stdout)]
    assert len(seen) == 4
    assert all(seen)
    assert not any(b"very secret" in text or b"very secret".hex().encode() in text for text in seen)


def test_a_manager_of_the_program_can_be_used_in_agents(tmp_path: Path) -> None:
    (tmp_path / "asked.py").write_text(
        "def put(proxy, state):\n    proxy['from'] = 'the agent'\n    return len(proxy)\n"
    )
    (tmp_path / "program.py").write_text(
        "import asked, multiprocessing\nfrom orchestrator import Supervisor\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.Manager() as manager, Supervisor(workers=1) as supervisor:\n"
        "        shared = manager.dict()\n"
        "        print(supervisor.submit(asked.put, shared).result(), dict(shared))\n"
    )
    done = subprocess.run(
        [sys.executable, "program.py"],
        capture_output=True,
        text=True,
        timeout=110,
        cwd=tmp_path,
        env=environment(),
        check=False,
    )
    assert done.stdout.split(maxsplit=1) == ["1", "{'from': 'the agent'}\n"], done.stderr


def test_warnings_that_are_errors_concern_the_agents_and_not_our_own_code(tmp_path: Path) -> None:
    """`-X warn_default_encoding` (PEP 597) and `-W error` reach the guardian and the executors, too."""
    (tmp_path / "program.py").write_text(
        "from orchestrator import Supervisor\n"
        "def f(x, state): return x\n"
        "if __name__ == '__main__':\n"
        "    with Supervisor(workers=1, journal='j.db', memory_limit=2**30) as supervisor:\n"
        "        print([outcome.value for outcome in supervisor.map(f, [1, (2,)])])\n"
    )
    options = ["-W", "error", "-X", "warn_default_encoding", "-X", "dev", "-bb"]
    done = subprocess.run(
        [sys.executable, *options, "program.py"],
        capture_output=True, text=True, cwd=tmp_path, env=environment(), timeout=110, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "[1, (2,)]\n"), done.stderr
    assert "Warning" not in done.stderr
    (tmp_path / "agent.py").write_text("def f(x, state): return x\n")
    (tmp_path / "in.jsonl").write_text("1\n2\n")
    strict = {"PYTHONWARNINGS": "error", "PYTHONWARNDEFAULTENCODING": "1"}
    for command in (["run", "agent.py:f", "--input", "in.jsonl", "--journal", "k.db"], ["doctor"]):
        told = subprocess.run(
            [*QUIESCE, *command], capture_output=True, text=True, cwd=tmp_path, env=environment(strict), timeout=110,
            check=False,
        )  # fmt: skip
        assert "Warning" not in told.stderr, told.stderr
        assert told.returncode == 0 or command == ["doctor"], told.stderr
