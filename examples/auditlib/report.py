"""Turn the results of all files into a report: coloured on a terminal, plain text in a pipe."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

STAGES = ("size", "imports", "mistakes")
ROWS = 10
Files = dict[str, dict[str, Any]]
"""The results of the files that could be parsed, by key."""


def show(rows: list[dict[str, Any]], console: Console, *, tests: bool) -> None:
    """Print the report of the rows of `quiesce results --json`. Test code is ranked only if `tests` is true."""
    files = {row["key"]: row["value"] for row in rows if row["status"] == "completed"}
    missing = {row["key"]: f"{row['status']}: {row['error']}" for row in rows if row["status"] != "completed"}
    missing |= {key: value["unreadable"] for key, value in files.items() if "unreadable" in value}
    parsed = {key: value for key, value in sorted(files.items()) if "unreadable" not in value}
    ranked = parsed if tests else {key: value for key, value in parsed.items() if not is_test(key)}
    show_totals(parsed, ranked, console)
    show_packages(ranked, console)
    show_functions(ranked, console)
    show_files(ranked, console)
    show_imports(ranked, console)
    show_findings(ranked, console)
    show_missing(missing, console)


def is_test(key: str) -> bool:
    """Whether a file is test code, judging by its path."""
    *folders, name = key.split("/")
    return not {"test", "tests", "idle_test"}.isdisjoint(folders) or name.startswith("test_")


def findings(value: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the findings of all stages for one file."""
    return [finding for stage in STAGES for finding in value[stage]["findings"]]


def total(files: Files, measure: str) -> int:
    """Add up one measure of size over files."""
    return sum(value["size"][measure] for value in files.values())


def table(title: str, *columns: str) -> Table:
    """Return a table without lines. A column whose name begins with `>` holds numbers."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for column in columns:
        number = column.startswith(">")
        made.add_column(column.lstrip(">"), justify="right" if number else "left", no_wrap=number, overflow="fold")
    return made


def show_totals(every: Files, ranked: Files, console: Console) -> None:
    """Print the sums, with and without test code."""
    rows = table("Audit", "", ">all", ">ranked below")
    rows.add_row("files", f"{len(every):,}", f"{len(ranked):,}")
    for measure, name in (("lines", "lines"), ("code", "lines of code"), ("functions", "functions")):
        rows.add_row(name, f"{total(every, measure):,}", f"{total(ranked, measure):,}")
    rows.add_row("findings", *(f"{sum(len(findings(value)) for value in part.values()):,}" for part in (every, ranked)))
    console.print(rows)


def show_packages(files: Files, console: Console) -> None:
    """Print size, complexity, docstrings and findings of the largest packages."""
    packages: defaultdict[str, Files] = defaultdict(dict)
    for key, value in files.items():
        packages[key.partition("/")[0] if "/" in key else "(single modules)"][key] = value
    rows = table("\nLargest packages", "package", ">files", ">code", ">paths a function", ">documented", ">findings")
    for name, part in sorted(packages.items(), key=lambda item: -total(item[1], "code"))[: 2 * ROWS]:
        documented = total(part, "documented") / total(part, "public")
        rows.add_row(
            name,
            f"{len(part):,}",
            f"{total(part, 'code'):,}",
            f"{total(part, 'paths') / max(total(part, 'functions'), 1):.1f}",
            Text(f"{documented:.0%}", style="red" if documented < 0.3 else "green" if documented > 0.7 else ""),
            f"{sum(len(findings(value)) for value in part.values()):,}",
        )
    console.print(rows)


def show_functions(files: Files, console: Console) -> None:
    """Print the functions that are hardest to follow."""
    worst = [(function, key) for key, value in files.items() for function in value["size"]["worst"]]
    rows = table("\nMost complex functions", ">paths", ">lines", "function", "place")
    for function, key in sorted(worst, key=lambda pair: -pair[0]["paths"])[:ROWS]:
        rows.add_row(str(function["paths"]), str(function["length"]), function["name"], f"{key}:{function['line']}")
    console.print(rows)


def show_files(files: Files, console: Console) -> None:
    """Print the files with the most findings."""
    rows = table("\nFiles with the most findings", ">findings", "file", "most of them")
    for key in sorted(files, key=lambda key: -len(findings(files[key])))[:ROWS]:
        kinds = Counter(finding["kind"] for finding in findings(files[key]))
        most = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(3))
        rows.add_row(str(kinds.total()), key, most)
    console.print(rows)


def show_imports(files: Files, console: Console) -> None:
    """Print the modules that most files import, and those that are not among the files or in the standard library."""
    counts = Counter(module for value in files.values() for module in value["imports"]["modules"])
    own = {key.partition("/")[0].removesuffix(".py") for key in files}
    foreign = [module for module in counts if module not in own | sys.stdlib_module_names]
    for title, modules in (("Most imported", list(counts)), ("Imported from elsewhere", foreign)):
        ordered = sorted(modules, key=lambda module: (-counts[module], module))[: 2 * ROWS]
        console.print(f"\n[bold]{title}[/]")
        console.print(Text(", ".join(f"{module} ({counts[module]})" for module in ordered) or "nothing"))


def show_findings(files: Files, console: Console) -> None:
    """Print each kind of finding, how often it occurs, and an example from each of three files."""
    kinds: defaultdict[str, list[str]] = defaultdict(list)
    for key, value in files.items():
        for finding in findings(value):
            kinds[finding["kind"]].append(f"{key}:{finding['line']} {finding['text']}")
    rows = table("\nFindings", ">number", "kind", "examples")
    for kind, places in sorted(kinds.items(), key=lambda item: -len(item[1])):
        rows.add_row(f"{len(places):,}", kind, Text("\n".join(places[:: len(places) // 3 + 1])))
    console.print(rows)


def show_missing(missing: dict[str, str], console: Console) -> None:
    """Print the files that were not audited, and why."""
    if missing:
        rows = table(f"\nNot audited: {len(missing):,} files", "file", "why")
        for key, reason in list(missing.items())[:ROWS]:
            rows.add_row(key, Text(reason))
        console.print(rows)
