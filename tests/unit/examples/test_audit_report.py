"""The report of the audit: what all files together say."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from auditlib import graph, pipeline, report, summary
from auditlib.model import parse

BODY = """
def {name}(rows, limit):
    kept = []
    for row in rows:
        if row > limit:
            kept.append(row * 2 + limit)
        elif row == limit:
            kept.append(limit - row * 3)
        else:
            kept.extend([row, limit, row + 1])
    return sorted(kept), max(kept) + min(kept), sum(kept) // len(kept)
"""
FILES = {
    "alone.py": "import sys\nimport pack.one\nimport yaml\n" + BODY.format(name="f"),
    "pack/__init__.py": '"""A package."""\n',
    "pack/one.py": "from pack import two\n" + BODY.format(name="g"),
    "pack/two.py": "from . import one\ndef h(a=[]): pass\n",
    "tests/test_it.py": "def test(): assert (1, 'x')\n",
}


def rows() -> Iterator[dict[str, Any]]:
    for key, text in FILES.items():
        source = parse(key, text.encode(), frozenset({"alone", "pack"}))
        parts = {name: pipeline.run_stage(name, source, lambda: None) for name in pipeline.STAGES}
        yield {"key": key, "status": "completed", "value": pipeline.combine(source, parts), "error": None}
    yield {"key": "slow.py", "status": "failed", "value": None, "error": "timeout: 5 s"}


@pytest.fixture(scope="module")
def found() -> summary.Summary:
    return summary.summarise(rows())


def test_what_has_no_result_is_kept_apart(found: summary.Summary) -> None:
    """A task that failed is missing, with its error."""
    assert found.missing == {"slow.py": "failed: timeout: 5 s"}
    assert summary.totals(found)["files"] == len(FILES)


def test_tests_can_be_left_out(found: summary.Summary) -> None:
    """Test code is told by its folder or name."""
    assert set(FILES) - set(summary.without_tests(found).files) == {"tests/test_it.py"}
    assert summary.is_test("test_x.py")
    assert not summary.is_test("testing/x.py")


def test_import_graph(found: summary.Summary) -> None:
    """Hot spots, cycles, and what comes from elsewhere."""
    imports = summary.imports(found, 10)
    assert imports.cycles == [["pack.one", "pack.two"]]
    assert imports.third_party == [("yaml", 1)]
    assert imports.most_imported[0] == ("pack.one", 2, 2)


def test_same_functions_in_different_files(found: summary.Summary) -> None:
    """Equal shapes are found across files, whatever the function is called."""
    ((_, places),) = summary.duplicates(found, 10)
    assert places == ["alone.py:5 f", "pack/one.py:3 g"]


def test_findings_by_kind(found: summary.Summary) -> None:
    """Each kind has its count and an example with file and line."""
    kinds = {kind: (count, examples) for kind, count, examples in summary.by_kind(found, 2)}
    assert kinds["mutable-default"] == (1, ["pack/two.py:2 h has a default that its calls share"])


def test_report_reads_as_text(found: summary.Summary) -> None:
    """Every part is there, and nothing but text when it is not a terminal."""
    out = io.StringIO()
    report.show(found, Console(file=out, width=120), tests=True)
    text = out.getvalue()
    for heading in ("Audit", "Packages", "Most complex", "Import cycles", "Same functions", "Findings", "Not audited"):
        assert heading in text
    assert "\x1b" not in text


def test_an_empty_run_has_a_report() -> None:
    """Interrupted before anything was finished: a report all the same."""
    report.show(summary.summarise([]), Console(file=io.StringIO()), tests=False)


def test_cycles() -> None:
    """Components of more than one node, the largest first; edges to strangers are ignored."""
    edges = {"a": ["b"], "b": ["c", "x"], "c": ["a"], "d": ["d"], "e": ["f"], "f": ["e", "a"]}
    assert graph.cycles(edges) == [["a", "b", "c"], ["e", "f"]]


def test_a_long_chain_does_not_recurse() -> None:
    """The algorithm is iterative."""
    chain = {str(n): [str((n + 1) % 20_000)] for n in range(20_000)}
    assert len(graph.cycles(chain)[0]) == 20_000
