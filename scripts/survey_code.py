"""Measure how the code reads, at one or more revisions: `python scripts/survey_code.py [REVISION ...]`.

Prints one table with a column a revision (without arguments: the work tree): lines by folder, length of functions
without their docstrings, docstrings, words that scripts/check_prose.py refuses, and class names that exist twice.
"""

from __future__ import annotations

import ast
import io
import json
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from pathlib import Path

from check_prose import find_refused, python_texts

FOLDERS = ("orchestrator", "quiesce", "runtime", "tests", "scripts", "examples")
PRODUCT = ("orchestrator", "quiesce", "runtime")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def main(revisions: list[str]) -> None:
    """Print the table."""
    columns: dict[str, dict[str, str]] = {}
    for revision in revisions or ["work tree"]:
        with tempfile.TemporaryDirectory() as folder:
            root = Path.cwd() if revision == "work tree" else _extract(revision, Path(folder))
            columns[revision] = survey(root)
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    print("| | " + " | ".join(columns) + " |")
    print("|---|" + "--:|" * len(columns))
    for name in names:
        print(f"| {name} | " + " | ".join(column.get(name, "-") for column in columns.values()) + " |")


def survey(root: Path) -> dict[str, str]:
    """Return what was measured below `root`, by the name of the row."""
    rows = {f"lines of {folder}": str(sum(_lines(path) for path in _sources(root, folder))) for folder in FOLDERS}
    files = [path for folder in PRODUCT for path in _sources(root, folder)]
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in files}
    nodes = [node for tree in trees.values() for node in ast.walk(tree)]
    lengths = [_length(node) for node in nodes if isinstance(node, Function)]
    rows["files of the product"] = str(len(files))
    rows["most files in one folder"] = str(max(Counter(path.parent for path in files).values()))
    rows["longest file, lines"] = str(max(_lines(path) for path in files))
    rows["function length, median"] = str(int(statistics.median(lengths)))
    rows["function length, 90th percentile"] = str(int(statistics.quantiles(lengths, n=10)[-1]))
    rows |= _docstrings(root, nodes)
    rows |= _dialect(files)
    classes = Counter(node.name for node in nodes if isinstance(node, ast.ClassDef) and not node.name.startswith("_"))
    twice = sorted(name for name, count in classes.items() if count > 1)
    rows["class names that exist twice"] = f"{len(twice)}" + (f" ({', '.join(twice)})" if twice else "")
    return rows


def _docstrings(root: Path, nodes: list[ast.AST]) -> dict[str, str]:
    """Return the share of functions' docstrings whose first line is an imperative sentence, by ruff's D400 and D401."""
    documented = [node for node in nodes if isinstance(node, Function) and ast.get_docstring(node)]
    command = [
        "ruff",
        "check",
        "--isolated",
        "--select",
        "D400,D401",
        "--config",
        "lint.pydocstyle.convention='pep257'",
    ]
    command += ["--output-format", "json", "--no-cache", "--ignore-noqa", *PRODUCT]
    found = json.loads(subprocess.run(command, cwd=root, stdout=subprocess.PIPE, check=False).stdout)
    bad = {(each["filename"], each["location"]["row"]) for each in found if each["code"] == "D401"}
    return {
        "docstrings of functions": str(len(documented)),
        "of them with an imperative first line": f"{1 - len(bad) / len(documented):.1%}",
        "first lines without a full stop": str(sum(each["code"] == "D400" for each in found)),
    }


def _dialect(files: list[Path]) -> dict[str, str]:
    """Return how many refused words there are, and how many for 10,000 words of docstrings, comments and messages."""
    refused = words = explaining = lines = 0
    for path in files:
        source = path.read_text(encoding="utf-8")
        texts = list(python_texts(source))
        refused += sum(1 for _ in find_refused(iter(texts)))
        words += sum(len(text.split()) for _, text in texts)
        explaining += _explaining(source)
        lines += sum(1 for line in source.splitlines() if line.strip())
    return {
        "refused words": str(refused),
        "refused words, per 10,000": f"{10_000 * refused / words:.1f}",
        "lines that explain": f"{explaining / lines:.0%}",
    }


def _explaining(source: str) -> int:
    """Return how many lines are comments or belong to docstrings."""
    count = sum(1 for line in source.splitlines() if line.lstrip().startswith("#"))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            count += sum(1 for line in node.value.value.strip().splitlines() if line.strip())
    return count


def _length(function: Function) -> int:
    """Return how many lines a function has, without decorators and docstring."""
    first = function.body[0]
    is_documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    length = (function.end_lineno or function.lineno) - function.lineno + 1
    return length - ((first.end_lineno or first.lineno) - first.lineno + 1) * (is_documented and len(function.body) > 1)


def _sources(root: Path, folder: str) -> list[Path]:
    return [path for path in sorted((root / folder).rglob("*.py")) if "__pycache__" not in path.parts]


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def _extract(revision: str, folder: Path) -> Path:
    """Write the tree of a revision below `folder`."""
    archive = subprocess.run(("git", "archive", revision), check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return folder


if __name__ == "__main__":
    if {"-h", "--help"} & {*sys.argv}:
        print(__doc__)
        raise SystemExit
    main(sys.argv[1:])
