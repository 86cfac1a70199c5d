"""The stages of the audit, each on a few lines of source."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from unittest.mock import Mock

import pytest

from auditlib import pipeline
from auditlib.model import Json, Source, Unreadable, module_name, parse


def read(text: str, key: str = "pkg/mod.py", own: frozenset[str] = frozenset()) -> Source:
    return parse(key, textwrap.dedent(text).encode(), own)


def look() -> None:
    """A checkpoint that nobody has raised the flag of."""


def found(stage: str, text: str, key: str = "pkg/mod.py") -> list[tuple[str, int]]:
    return sorted((one["kind"], one["line"]) for one in pipeline.run_stage(stage, read(text, key), look)["findings"])


def facts(stage: str, text: str, key: str = "pkg/mod.py") -> Json:
    return pipeline.run_stage(stage, read(text, key), look)


# -- reading ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [b"def f(:\n", b"x = 1\0\n", b"# -*- coding: nonsense -*-\n", b"x = '\xff'\n", b"print 'hello'\n", b"(" * 5000],
    ids=["syntax", "null byte", "unknown coding", "not utf-8", "python 2", "nested too deep"],
)
def test_unreadable(data: bytes) -> None:
    """What the interpreter cannot read gives Unreadable with a line, never anything else."""
    with pytest.raises(Unreadable) as caught:
        parse("mod.py", data)
    assert caught.value.line >= 1


def test_encodings_and_newlines() -> None:
    """A coding line, a byte order mark and foreign newlines are read as the interpreter reads them."""
    assert "é" in parse("mod.py", "# coding: latin-1\r\nx = 'é'\r\n".encode("latin-1")).text
    assert parse("mod.py", b"\xef\xbb\xbfx = 1\rdel x\r").tree.body[1].lineno == 2


@pytest.mark.parametrize(
    ("key", "name"), [("a.py", "a"), ("a/b.py", "a.b"), ("a/__init__.py", "a"), ("__init__.py", "__init__")]
)
def test_module_names(key: str, name: str) -> None:
    """A path is a dotted name; a package is its folder."""
    assert module_name(key) == name


def test_functions_have_dotted_names() -> None:
    """Methods are named by class, inner functions by the outer one."""
    source = read("class A:\n  def m(self):\n    def inner(): ...\ndef f(): ...\n")
    assert [(one.name, one.owner, one.nested) for one in source.functions] == [
        ("A.m", "A", False),
        ("A.m.inner", None, True),
        ("f", None, False),
    ]


def test_a_stage_that_recurses_too_deep_is_a_finding() -> None:
    """A RecursionError in one stage costs that stage only."""

    def fall(_source: Source, _look: object) -> Json:
        raise RecursionError

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(pipeline.STAGES, "text", fall)
        assert found("text", "x = 1\n") == [("too-deep", 1)]


# -- text ---------------------------------------------------------------------------------------------


def test_lines() -> None:
    """Code, documentation, comments and blank lines are told apart."""
    lines = facts("text", '"""Doc\nstring."""\n\n# why\nx = """a\nb"""  # also\n')["lines"]
    assert (lines["total"], lines["documentation"], lines["blank"], lines["comment"], lines["code"]) == (6, 2, 1, 1, 2)


def test_notes() -> None:
    """Notes count in comments, not in strings."""
    assert found("text", "x = 1  # TODO: better\ny = 'TODO: not this'\n") == [("note", 1)]


def test_invalid_escape() -> None:
    """An escape that will be an error one day is reported with its line."""
    assert found("text", "x = 1\ny = '\\d'\n") == [("invalid-escape", 2)]


def test_duplicated_block() -> None:
    """A block that occurs again is one finding, at the copy, however long it is."""
    block = "".join(f"total_{n} = compute(first_{n}, second_{n}, third_{n})\n" for n in range(20))
    assert found("text", block + "pause()\n" + block) == [("duplicated-block", 22)]


# -- shape --------------------------------------------------------------------------------------------


def test_complexity_and_nesting() -> None:
    """Every branch is a path; `elif` is not nested deeper; an inner function is not counted in."""
    worst = facts(
        "shape",
        """
        def f(a, b):
            if a and b:
                for x in a:
                    while x: pass
            elif b:
                return [y for y in b if y]
            def g():
                if a: pass
        """,
    )["functions"]["worst"]
    by_name = {one["name"]: one for one in worst}
    assert by_name["f"]["complexity"] == 8  # 1 + if, and, for, while, elif, comprehension with an if
    assert by_name["f"]["nesting"] == 3
    assert by_name["f.g"]["complexity"] == 2


def test_docstrings() -> None:
    """Public modules, classes, functions and methods are asked for docstrings; private ones are not."""
    text = '"""Doc."""\nclass A:\n  """Doc."""\n  def m(self): ...\n  def _p(self): ...\ndef f():\n  """Doc."""\n'
    assert facts("shape", text)["docstrings"] == {"wanted": 4, "documented": 3}


def test_too_much() -> None:
    """Long functions, many arguments and deep nesting are findings at the function."""
    deep = "".join("  " * n + "if a:\n" for n in range(1, 9)) + "  " * 9 + "pass\n"
    arguments = ", ".join("abcdefghijk")
    text = f"def f({arguments}):\n" + deep + "  x = 1\n" * 100
    assert found("shape", text) == [("deep-nesting", 1), ("long-function", 1), ("many-arguments", 1)]


# -- imports ------------------------------------------------------------------------------------------


def test_resolution() -> None:
    """Imports are absolute names with an origin and a time."""
    text = """
        import os.path, numpy
        from . import near
        from ..up import x
        import mine
        try:
            import maybe
        except ImportError:
            pass
        if TYPE_CHECKING:
            import typing
        def f():
            import late
    """
    source = read(text, "a/b/c.py", frozenset({"mine"}))
    rows = pipeline.run_stage("imports", source, look)["imports"]
    assert [(row["module"], row["origin"], row["when"]) for row in rows] == [
        ("os.path", "standard", "start"),
        ("numpy", "third party", "start"),
        ("a.b", "relative", "start"),
        ("a.up", "relative", "start"),
        ("mine", "own", "start"),
        ("maybe", "third party", "optional"),
        ("typing", "standard", "typing"),
        ("late", "third party", "late"),
    ]


def test_relative_import_above_the_top() -> None:
    """A relative import that leaves the top-level package cannot work."""
    assert ("bad-relative-import", 1) in found("imports", "from ... import x\nx\n", "a/b.py")


def test_unused_imports() -> None:
    """What nobody reads is unused, unless it is exported, conditional, or marked."""
    text = """
        import used, unused, kept as kept
        import marked  # noqa
        from m import exported, annotated, Inner
        try:
            import optional
        except ImportError: pass
        __all__ = ["exported"]
        def f(x: "annotated"): return used.x
        def g():
            import lonely
    """
    assert found("imports", text) == [("unused-import", 2), ("unused-import", 4), ("unused-import", 11)]
    assert found("imports", "import unused\n", "pkg/__init__.py") == []


def test_repeated_and_star_imports() -> None:
    """The same import twice in a scope, and stars."""
    assert found("imports", "import os\nimport os\nfrom m import *\nos\n") == [
        ("repeated-import", 2),
        ("star-import", 3),
    ]


# -- smells -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("mutable-default", "def f(a=[]): pass"),
        ("mutable-default", "def f(*, a=dict()): pass"),
        ("shadowed-builtin", "def f(list): pass"),
        ("shadowed-builtin", "id = 1"),
        ("none-comparison", "a == None"),
        ("bool-comparison", "a != True"),
        ("literal-identity", "a is 'x'"),
        ("self-comparison", "a == a"),
        ("duplicate-key", "{'a': 1, 'b': 2, 'a': 3}"),
        ("assert-tuple", "assert (a, 'message')"),
        ("raise-notimplemented", "raise NotImplemented('x')"),
        ("empty-fstring", "f'nothing'"),
        ("code-from-string", "eval('1')"),
        ("bare-except", "try: a\nexcept: b"),
        ("silent-except", "try: a\nexcept Exception: pass"),
        ("late-binding", "for x in a: b(lambda: x)"),
    ],
)
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_smell(kind: str, line: str) -> None:
    """Each smell is found."""
    assert [name for name, _ in found("smells", line + "\n")] == [kind]


@pytest.mark.parametrize(
    "line",
    [
        "def f(a=(), b=None, c=frozenset()): pass",
        "class A:\n  def list(self): pass",
        "a is None",
        "a is True",
        "{1: 'a', '1': 'b', True: 'c', **d, **d}",
        "raise NotImplementedError",
        "f'{x:>{y}}'",
        "try: a\nexcept:\n  b\n  raise",
        "try: a\nexcept ValueError: pass",
        "for x in a: b(lambda x=x: x)",
    ],
)
def test_no_smell(line: str) -> None:
    """What looks similar and is right is left alone."""
    assert found("smells", line + "\n") == []


def test_return_in_finally() -> None:
    """A return in finally swallows exceptions."""
    assert found("smells", "def f():\n  try: a()\n  finally:\n    return 1\n") == [("return-in-finally", 4)]


# -- calls --------------------------------------------------------------------------------------------


def test_recursion() -> None:
    """Functions that call themselves, and each other, through `self` too."""
    text = """
        def f(): f()
        class A:
            def a(self): self.b()
            def b(self): self.a()
    """
    result = facts("calls", text)
    assert result["calls"]["recursive"] == ["f"]
    assert [one["text"] for one in result["findings"]] == ["A.a <-> A.b"]


def test_unused_private() -> None:
    """A private function that its file never names."""
    assert found("calls", "def _used(): ...\ndef _idle(): ...\n_used()\n") == [("unused-private", 2)]


# -- clones -------------------------------------------------------------------------------------------

LONG = """
def {name}({a}, {b}):
    {c} = []
    for {d} in {a}:
        if {d} > {b}:
            {c}.append({d} * 2 + {b})
        elif {d} == {b}:
            {c}.append({b} - {d} * 3)
        else:
            {c}.extend([{d}, {b}, {d} + 1])
    while {b} > 10:
        {b} = {b} // 2 - len({c})
    return sorted({c}), {b}, max({c}) + min({c})
"""


def test_clones() -> None:
    """Two functions that differ in names only have one shape; so they do in two files."""
    first = LONG.format(name="first", a="items", b="limit", c="out", d="item")
    second = LONG.format(name="second", a="rows", b="top", c="kept", d="row")
    result = facts("clones", first + second)
    assert [(one["kind"], one["line"]) for one in result["findings"]] == [("clone", 15)]
    assert result["prints"][0][2:] == result["prints"][1][2:]


def test_near_clones() -> None:
    """A function with another last line is nearly the same."""
    names = {"a": "items", "b": "limit", "c": "out", "d": "item"}
    other = LONG.format(name="other", **names).replace("limit, max", "max")
    assert found("clones", LONG.format(name="one", **names) + other) == [("near-clone", 15)]


# -- flow ---------------------------------------------------------------------------------------------


def flow(body: str) -> list[tuple[str, int]]:
    return found("flow", "def f(a, b):\n" + textwrap.indent(textwrap.dedent(body), "  "))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return a\nb()\n", [("unreachable", 3)]),
        ("while True:\n  a()\nb()\n", [("unreachable", 4)]),
        ("try:\n  return a\nexcept E:\n  raise\nb()\n", [("unreachable", 6)]),
        ("if a:\n  return 1\nelse:\n  raise b\nb()\n", [("unreachable", 6)]),
        ("x()\nx = a\nreturn x\n", [("unbound-local", 2)]),
        ("if a:\n  x = b()\nreturn x\n", [("maybe-unbound", 4)]),
        ("try:\n  x = a()\nexcept E:\n  pass\nreturn x\n", [("maybe-unbound", 6)]),
        ("try:\n  a()\nexcept E as e:\n  pass\nprint(e)\n", [("unbound-local", 6)]),
        ("x = a()\ndel x\nreturn x\n", [("unbound-local", 4)]),
        ("x = a()\n", [("unused-local", 2)]),
        ("x = a()\nx = b()\nreturn x\n", [("dead-store", 2)]),
        ("for i in a:\n  x = i + 1\n  x = b(i)\n  print(x)\n", [("dead-store", 3)]),
        ("match a:\n  case [x]: pass\nreturn x\n", [("maybe-unbound", 4)]),
    ],
)
def test_flow(body: str, expected: list[tuple[str, int]]) -> None:
    """What is wrong on some path is found at its line."""
    assert flow(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        "while True:\n  if a: break\nb()\n",
        "return a\nyield\n",
        "with suppress(E):\n  raise E\nb()\n",
        "with self.assertRaises(E):\n  raise E\nb()\n",
        "try:\n  x = a()\nexcept E:\n  x = None\nreturn x\n",
        "try:\n  x = a()\nexcept E:\n  return\nreturn x\n",
        "try:\n  x = a()\nfinally:\n  b()\nreturn x\n",
        "for i in a:\n  try:\n    x = b()\n  except E:\n    continue\n  print(x)\n",
        "x = a()\ntry:\n  x = b(x)\nexcept E:\n  print(x)\n",
        "if a:\n  x = 1\nelse:\n  sys.exit()\nreturn x\n",
        "x = None\nwhile b:\n  print(x)\n  x = b()\n",
        "x = a()\ndef g(): return x\nreturn g\n",
        "x: int\ndef g():\n  nonlocal x\n  x = 1\ng()\nreturn x\n",
        "x = [y for y in a if y]\nreturn x\n",
        "if (x := a()):\n  return x\n",
        "x = a()\nreturn locals()\n",
        "match a:\n  case [x]: pass\n  case _: x = 1\nreturn x\n",
        "global g\ng = a()\n",
        "x = a()\nx += 1\nreturn x\n",
    ],
)
def test_flow_is_quiet(body: str) -> None:
    """What is right on every path is left alone."""
    assert flow(body) == []


# -- together -----------------------------------------------------------------------------------------


def test_result_survives_json() -> None:
    """A result is the same after a journey as JSON, which is what a snapshot makes."""
    source = read(LONG.format(name="f", a="a", b="b", c="c", d="d") + "import os\n")
    parts = {name: pipeline.run_stage(name, source, look) for name in pipeline.STAGES}
    result = pipeline.combine(source, parts)
    assert json.loads(json.dumps(result)) == result
    assert pipeline.combine(source, json.loads(json.dumps(parts))) == result


def test_every_stage_looks_at_its_checkpoint() -> None:
    """No stage runs through a file without looking."""
    source = read("import os\ndef f(): return os\nx = 1\n")
    for name in pipeline.STAGES:
        look = Mock()
        pipeline.run_stage(name, source, look)
        assert look.called, name


def test_the_audit_can_read_itself() -> None:
    """All of the syntax that the example uses, in one go."""
    source = parse("this.py", Path(__file__).read_bytes())
    assert pipeline.combine(source, {n: pipeline.run_stage(n, source, look) for n in pipeline.STAGES})["readable"]
