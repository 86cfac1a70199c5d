"""What a script defines, in its executors: the same classes and functions, found by name as by the standard spawn."""

from __future__ import annotations

import subprocess
import sys
import zipapp
from pathlib import Path

import pytest

from tests.support.cli import environment

SCRIPT = '''
import contextvars, dataclasses, enum, functools, threading, typing
from orchestrator import Supervisor

T = typing.TypeVar("T")
P = typing.ParamSpec("P")
UserId = typing.NewType("UserId", int)
VARIABLE = contextvars.ContextVar("VARIABLE", default=3)
LOCAL = threading.local()
LOCK = threading.Lock()

class Meta(type):
    book = {}
    def __new__(cls, name, bases, namespace):
        made = super().__new__(cls, name, bases, namespace)
        cls.book[name] = made
        return made

class Noted(metaclass=Meta):
    pass

class Box(typing.Generic[T]):
    def __init__(self, item: T):
        self.item = item

@dataclasses.dataclass
class Order:
    number: int

class Colour(enum.Enum):
    RED = 1

@functools.singledispatch
def show(x):
    return "any"

@show.register
def _(x: int):
    return "int"

@functools.lru_cache
def cached(x):
    return x

class _Missing:
    def __reduce__(self):
        return "MISSING"

MISSING = _Missing()

def knows(x):
    """All that can be asked of an input."""
    if type(x) is not Box or not isinstance(x, Box) or type(x.item) is not Order or x.item != Order(1):
        return False
    match x.item:
        case Order(number=1):
            return Meta.book["Noted"] is Noted
    return False

def agent(x: Box[T], state) -> UserId:
    LOCAL.x = show(3)
    with LOCK:
        named = [Colour.RED, MISSING, T, P, UserId, cached, show, Order, agent]
        return [knows(x), VARIABLE.get(), LOCAL.x, x, Noted(), *named]

class Agent:
    def __call__(self, x, state):
        return knows(x)
    def method(self, x, state):
        return knows(x)

def saves(x, state):
    if state.snapshot is None:
        state.save_snapshot((Order(1), x))
        raise ValueError("once more")
    return knows(Box(state.snapshot[0])) and knows(state.snapshot[1]) and state.snapshot

class Step:
    async def work(self, x, state):
        return knows(x)

def make():
    class Inner:
        met = 0
        def __init__(self, item):
            super().__init__()
            self.item = item
        def value(self):
            return VARIABLE.get()
    def closure(x, state):
        with LOCK:
            Inner.met += 1
            return [type(x) is Inner, x.value(), Inner.met, Inner(Order(x.item.number)), closure.__name__]
    return Inner, closure

if __name__ == "__main__":
    box = Box(Order(1))
    with Supervisor(workers=1, retries=1) as supervisor:
        def run(agent, x):
            return supervisor.submit(agent, x).result()
        found = run(agent, box)
        assert found[:3] == [True, 3, "int"], found
        assert knows(found[3]) and type(found[4]) is Noted, found
        for one, other in zip(found[5:], [Colour.RED, MISSING, T, P, UserId, cached, show, Order, agent], strict=True):
            assert one is other, (one, other)
        assert run(Agent(), box) is run(Agent().method, box) is run(Step().work, box) is True
        assert run(functools.partial(lambda order, x, state: knows(Box(order)) and knows(x), Order(1)), box) is True
        saved = run(saves, box)
        assert knows(Box(saved[0])) and knows(saved[1]), saved
        Inner, closure = make()
        for count in (1, 2, 3):
            same, value, met, inner, name = run(closure, Inner(Order(1)))
            assert (same, value, met, type(inner), type(inner.item), name) == (True, 3, count, Inner, Order, "closure")
    print("all the same")
'''


def run(arguments: list[str], tmp_path: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        input=stdin, capture_output=True, text=True, timeout=50, cwd=tmp_path, env=environment(), check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "way", ["script.py", "no extension", "-m module", "-m package", "directory", "zipapp", "cProfile", "pdb"]
)
def test_its_classes_and_functions_are_the_same_in_agents(tmp_path: Path, way: str) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    for path in (tmp_path / "script.py", tmp_path / "script", package / "__main__.py", package / "module.py"):
        path.write_text(SCRIPT)
    zipapp.create_archive(package, tmp_path / "app.pyz")
    arguments = {
        "script.py": ["script.py"],
        "no extension": ["script"],
        "-m module": ["-m", "package.module"],
        "-m package": ["-m", "package"],
        "directory": ["package"],
        "zipapp": ["app.pyz"],
        "cProfile": ["-m", "cProfile", "-o", "out", "script.py"],
        "pdb": ["-m", "pdb", "-c", "continue", "script.py"],
    }
    if way == "cProfile" and sys.version_info < (3, 12):
        pytest.skip("before 3.12 a profiled script is not `__main__`, for pickle either")
    done = run(arguments[way], tmp_path, "quit\n")
    assert "all the same" in done.stdout, done.stderr
    assert not (tmp_path / "__pycache__").exists(), "an executor writes nothing beside a script"


def test_without_a_file_one_class_stays_one_class(tmp_path: Path) -> None:
    program = """
import enum
from orchestrator import Supervisor
class Base: ...
class Order(Base):
    met = 0
    def __init__(self, colour): self.colour = colour
class Colour(enum.Enum):
    RED = 1
def agent(x, state):
    Order.met += 1
    return [type(x) is Order, isinstance(x, Base), x.colour is Colour.RED, Order.met, Order(Colour.RED)]
with Supervisor(workers=1) as supervisor:
    for count in (1, 2, 3):
        *same, met, order = supervisor.submit(agent, Order(Colour.RED)).result()
        assert all(same) and met == count and type(order) is Order and order.colour is Colour.RED, (same, met, order)
        assert supervisor.submit(lambda x, state: isinstance(x, Order), Order(Colour.RED)).result()
print("all the same")
"""
    done = run(["-c", program], tmp_path)
    assert done.stdout == "all the same\n", done.stderr


UNGUARDED = """
from orchestrator import Supervisor
def agent(x, state):
    return x
print("imported", flush=True)
with Supervisor(workers=2) as supervisor:
    print(supervisor.submit(agent, 1).result())
"""


def test_a_script_that_starts_its_work_when_imported_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(UNGUARDED)
    done = run(["script.py"], tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(
        f"UsageError: {tmp_path / 'script.py'} starts a Supervisor when it is imported, and executors import it too:"
        ' put what starts the work under `if __name__ == "__main__":`'
    )


def test_so_is_one_that_is_named_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(UNGUARDED)
    (tmp_path / "in.jsonl").write_text("1\n")
    done = run(["-m", "orchestrator", "run", "script.py:agent", "-i", "in.jsonl", "-w", "1"], tmp_path)
    assert done.returncode == 2
    assert "script.py starts a Supervisor when it is imported" in done.stderr.splitlines()[-1], done.stderr


def test_what_is_defined_under_the_guard_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "from orchestrator import Supervisor\n"
        'if __name__ == "__main__":\n'
        "    def agent(x, state): return x\n"
        "    with Supervisor(workers=1) as supervisor:\n"
        "        supervisor.submit(agent, 1)\n"
    )
    done = run(["script.py"], tmp_path)
    assert done.returncode == 1
    assert "script.py has no 'agent' when it is imported: define it outside of" in done.stderr.splitlines()[-1]


def test_an_agent_of_a_module_does_not_need_its_script(tmp_path: Path) -> None:
    (tmp_path / "agents.py").write_text("def echo(x, state): return x\n")
    (tmp_path / "script.py").write_text(
        "from orchestrator import Supervisor\nfrom agents import echo\n"
        "with Supervisor(workers=1) as supervisor:\n    print(supervisor.submit(echo, (1, 2)).result())\n"
    )
    done = run(["script.py"], tmp_path)
    assert done.stdout == "(1, 2)\n", done.stderr


def test_another_script_reads_what_a_script_wrote_and_hands_it_on(tmp_path: Path) -> None:
    """The journal outlives the program; its classes are looked up in the file that defined them."""
    common = """
import sys
from orchestrator import Supervisor
class Order:
    def __init__(self, number): self.number = number
def double(order, state):
    return Order(order.number * 2)
"""
    (tmp_path / "writer.py").write_text(
        common + 'if __name__ == "__main__":\n'
        '    with Supervisor(workers=1, journal="j.db", run_id="r") as supervisor:\n'
        "        print([one.value.number for one in supervisor.map(double, [Order(2)])])\n"
    )
    (tmp_path / "reader.py").write_text(
        "from orchestrator import Outcome, Supervisor\n"
        "from orchestrator.journal import open_journal\n"
        "def read(order, state): return [order.number, type(order).__qualname__, order]\n"
        'if __name__ == "__main__":\n'
        '    with open_journal("j.db", "read") as journal:\n'
        "        (outcome,) = journal.results(journal.runs()[0].id)\n"
        "    order = Outcome.from_record(outcome).value\n"
        "    with Supervisor(workers=1) as supervisor:\n"
        "        number, name, again = supervisor.submit(read, order).result()\n"
        "    print(number, name, type(again) is type(order))\n"
    )
    assert run(["writer.py"], tmp_path).stdout == "[4]\n"
    done = run(["reader.py"], tmp_path)
    assert done.stdout == "4 Order True\n", done.stderr


def test_agents_see_their_script_as_main(tmp_path: Path) -> None:
    """As under spawn: `__main__` is the script, its name is `__mp_main__`, and a process that it spawns finds it."""
    (tmp_path / "script.py").write_text(
        "import multiprocessing, sys\n"
        "from orchestrator import Supervisor\n"
        "TABLE = {'a': 1}\n"
        "def square(x): return x * x\n"
        "def agent(x, state):\n"
        "    import __main__\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        squares = pool.map(square, [x])\n"
        "    return [__name__, __main__.TABLE is TABLE, sys.modules['__mp_main__'] is __main__, squares]\n"
        'if __name__ == "__main__":\n'
        "    with Supervisor(workers=1) as supervisor:\n"
        "        print(supervisor.submit(agent, 3).result())\n"
    )
    done = run(["script.py"], tmp_path)
    assert done.stdout == "['__mp_main__', True, True, [9]]\n", done.stderr
