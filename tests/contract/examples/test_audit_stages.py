"""The stages of the audit example: from source text to facts and findings."""

from __future__ import annotations

from typing import Any

import pytest

from auditlib.source import Unreadable, parse
from auditlib.stages import STAGES


def run(stage: str, text: str, key: str = "mod.py") -> dict[str, Any]:
    return STAGES[stage](parse(key, text.encode(), lambda: None), lambda: None)


def kinds(stage: str, text: str, key: str = "mod.py") -> list[tuple[str, int]]:
    return [(finding["kind"], finding["line"]) for finding in run(stage, text, key)["findings"]]


def test_size() -> None:
    """Lines, functions with their dotted names and paths, docstrings of what is public."""
    text = '''"""Doc."""
# a comment

class A:
    def method(self, x):
        """Doc."""
        if x and x > 1 or x < 0:
            return [y for y in x]
        def _inner():
            for z in x:
                pass

def _private(): return 1 if a else 2
'''
    facts = run("size", text)
    assert (facts["lines"], facts["code"]) == (13, 10)
    assert {function["name"]: function["paths"] for function in facts["worst"]} == {
        "A.method": 5,
        "A.method._inner": 2,
        "_private": 2,
    }
    assert (facts["functions"], facts["paths"]) == (3, 9)
    assert (facts["public"], facts["documented"]) == (3, 2)


def test_functions_of_one_name_are_measured_apart() -> None:
    """A property and its setter are two functions."""
    worst = run("size", "class A:\n def x(self): return 1\n def x(self, to):\n  if to: pass\n")["worst"]
    assert [(function["line"], function["paths"]) for function in worst] == [(3, 2), (2, 1)]


def test_too_long_and_too_complex() -> None:
    """Limits on lines and on paths."""
    assert kinds("size", "def f():\n" + " x\n" * 100) == [("long-function", 1)]
    assert kinds("size", "def f(x):\n" + " if x: pass\n" * 20) == [("complex-function", 1)]


@pytest.mark.parametrize(
    ("text", "unused"),
    [
        ("import os\n", [1]),
        ("import os.path\nos.getcwd()\n", []),
        ("from a import b as c\nb\n", [1]),
        ("from a import b as b\n", []),
        ("from a import *\n", []),
        ("from __future__ import annotations\n", []),
        ("import os  # noqa\n", []),
        ("try:\n    import os\nexcept ImportError: pass\n", []),
        ("import os\ndef f(x: 'os.PathLike'): pass\n", []),
        ("from a import b\n__all__ = ['b']\n", []),
    ],
)
def test_unused_imports(text: str, unused: list[int]) -> None:
    """A name that is bound and read nowhere, re-exports and tests of what is installed left out."""
    assert kinds("imports", text) == [("unused-import", line) for line in unused]
    assert kinds("imports", text, "package/__init__.py") == []


def test_imported_modules() -> None:
    """Top-level modules, once each, wherever the statement stands; relative imports are left out."""
    text = "import b.c, a\nfrom b import d\nfrom . import e\nfrom .f import g\ndef late(): from h.i import j\n"
    assert run("imports", text)["modules"] == ["a", "b", "h"]


@pytest.mark.parametrize(
    ("kind", "bad", "good"),
    [
        ("mutable-default", "def f(a=[]): pass", "def f(a=()): pass"),
        ("mutable-default", "async def f(*, a=dict()): pass", "async def f(*, a=1): pass"),
        ("bare-except", "try: f()\nexcept: pass", "try: f()\nexcept:\n    raise"),
        ("silent-except", "try: f()\nexcept Exception: pass", "try: f()\nexcept ValueError: pass"),
        ("singleton-comparison", "x == None", "x is None"),
        ("singleton-comparison", "x != True", "x == 1"),
        ("literal-identity", "x is 'a'", "x is True"),
        ("self-comparison", "x == x", "x == y"),
        ("duplicate-key", "{'a': 1, 'a': 2}", "{1: 1, '1': 2}"),
        ("assert-tuple", "assert (x, 'text')", "assert ()"),
        ("return-in-finally", "def f():\n try: pass\n finally: return", "def f():\n try: return\n finally: pass"),
        ("code-from-string", "eval('1')", "x.eval('1')"),
    ],
)
def test_mistakes(kind: str, bad: str, good: str) -> None:
    """Each kind of mistake is found, and its harmless neighbour is not."""
    assert [found for found, _ in kinds("mistakes", bad)] == [kind]
    assert kinds("mistakes", good) == []


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"def f(:\n", "line 1"), (b"# coding: nothing\n", "nothing"), (b"x\0", "null bytes"), (b"x = '\xff'", "line 1")],
)
def test_unreadable_files(data: bytes, message: str) -> None:
    """What the interpreter cannot parse is one error, with the place and the reason."""
    with pytest.raises(Unreadable, match=message):
        parse("mod.py", data, lambda: None)


def test_other_encodings_and_doubtful_escapes_are_readable() -> None:
    """A file is read as the interpreter would read it, without its warnings."""
    source = parse("mod.py", b"# coding: latin-1\nx = '\xff\\d'\n", lambda: None)
    assert len(source.lines) == 2


def test_no_stage_recurses() -> None:
    """A file nested as deep as the parser allows is audited like any other."""
    text = "x = " + "-" * 90 + "1\n" + "if a: pass\n" + "elif b: pass\n" * 900
    for stage in STAGES:
        run(stage, text)
