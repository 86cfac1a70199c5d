"""The report: what a person wants to read after an audit. Coloured on a terminal, plain text in a pipe."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from auditlib import summary as summing
from auditlib.summary import Summary

ROWS = 10


def show(summary: Summary, console: Console, *, tests: bool) -> None:
    """Print everything. `tests` also ranks test code, which otherwise is only counted."""
    ranked = summary if tests else summing.without_tests(summary)
    show_totals(summary, ranked, console)
    show_packages(ranked, console)
    show_functions(ranked, console)
    show_files(ranked, console)
    show_imports(ranked, console)
    show_duplicates(ranked, console)
    show_findings(ranked, console)
    show_missing(summary, console)


def heading(console: Console, title: str, note: str = "") -> None:
    """A line between two parts."""
    console.print()
    console.print(Text.assemble((title, "bold"), (f"  {note}" if note else "", "dim")))


def table(*columns: str) -> Table:
    """A table without lines. A column that begins with `>` holds numbers."""
    made = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        number = column.startswith(">")
        made.add_column(column.lstrip(">"), justify="right" if number else "left", no_wrap=number, overflow="fold")
    return made


def show_totals(summary: Summary, ranked: Summary, console: Console) -> None:
    """The big numbers, with and without tests."""
    every, rest = summing.totals(summary), summing.totals(ranked)
    heading(console, "Audit", f"{every['files']:,} files")
    made = table("", ">all", *([">without tests"] if rest != every else []))
    for name, count in every.items():
        made.add_row(name, f"{count:,}", *([f"{rest.get(name, 0):,}"] if rest != every else []))
    console.print(made)
    if rest != every:
        console.print(Text("What follows leaves tests out (--tests takes them in).", style="dim"))


def show_packages(summary: Summary, console: Console) -> None:
    """Size, complexity and docstrings by package."""
    heading(console, "Packages", "the largest; complexity is the mean of its functions")
    made = table("package", ">files", ">lines of code", ">functions", ">complexity", ">documented", ">findings")
    for row in summing.packages(summary)[: 2 * ROWS]:
        share = Text(
            f"{row.documented:.0%}", style="red" if row.documented < 0.3 else "green" if row.documented > 0.7 else ""
        )
        numbers = (f"{row.files:,}", f"{row.code:,}", f"{row.functions:,}", f"{row.complexity:.1f}")
        made.add_row(row.name, *numbers, share, f"{row.findings:,}")
    console.print(made)


def show_functions(summary: Summary, console: Console) -> None:
    """The functions that are hardest to follow."""
    heading(console, "Most complex functions")
    made = table(">paths", ">lines", ">nesting", "function", "where")
    for key, one in summing.worst_functions(summary, ROWS):
        made.add_row(
            str(one["complexity"]), str(one["length"]), str(one["nesting"]), one["name"], f"{key}:{one['line']}"
        )
    console.print(made)


def show_files(summary: Summary, console: Console) -> None:
    """The files with the most findings for their size."""
    heading(console, "Files with the most findings", "per 1,000 lines of code")
    made = table(">density", ">findings", "file", "mostly")
    for key, density, count, frequent in summing.worst_files(summary, ROWS):
        made.add_row(f"{density:.0f}", str(count), key, frequent)
    console.print(made)


def show_imports(summary: Summary, console: Console) -> None:
    """Hot spots and cycles of the import graph."""
    graph = summing.imports(summary, ROWS)
    heading(console, "Most imported modules")
    made = table(">as a file starts", ">anywhere", "module")
    for name, start, ever in graph.most_imported:
        made.add_row(f"{start:,}", f"{ever:,}", name)
    console.print(made)
    heading(console, "Import cycles", f"{len(graph.cycles)} groups of modules that need each other to start")
    for cycle in graph.cycles[:ROWS]:
        shown = ", ".join(cycle[:8]) + (f" and {len(cycle) - 8} more" if len(cycle) > 8 else "")
        console.print(Text(f"  {len(cycle):>3}  {shown}"))
    if graph.third_party:
        names = ", ".join(f"{name} ({count})" for name, count in graph.third_party[: 2 * ROWS])
        heading(console, "Imports from elsewhere")
        console.print(Text(f"  {names}"))


def show_duplicates(summary: Summary, console: Console) -> None:
    """The same function in several files."""
    heading(console, "Same functions in different files", "whatever their variables are called")
    for size, places in summing.duplicates(summary, ROWS):
        more = f"  and {len(places) - 3} more" if len(places) > 3 else ""
        console.print(Text(f"  {size:>5} nodes  {places[0]}"))
        for place in places[1:3]:
            console.print(Text(f"               {place}"))
        if more:
            console.print(Text(f"             {more}", style="dim"))


def show_findings(summary: Summary, console: Console) -> None:
    """Every kind of finding with examples."""
    heading(console, "Findings by kind")
    for kind, count, examples in summing.by_kind(summary, 3):
        console.print(Text.assemble((f"{count:>7,}  ", ""), (kind, "bold")))
        for example in examples:
            console.print(Text(f"           {example}"), no_wrap=True, overflow="ellipsis")


def show_missing(summary: Summary, console: Console) -> None:
    """What has no result, so that nobody takes a part for the whole."""
    if not summary.missing:
        return
    heading(console, "Not audited", f"{len(summary.missing):,} files")
    for key, why in list(summary.missing.items())[:ROWS]:
        console.print(Text(f"  {key}  {why}"))
