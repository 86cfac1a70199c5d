"""The command line of the audit: `inputs` before a run, `report` after it; `demo` does both, and the run."""

from __future__ import annotations

import json
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from auditlib.report import show
from driver import Batch, end_as

AGENT = Path(__file__).parents[1] / "audit.py"
INSTALLED = [Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib"))]
SKIPPED = {"site-packages", "dist-packages", "__pycache__", "node_modules"}

Roots = Annotated[
    list[Path],
    typer.Argument(exists=True, file_okay=False, show_default="the standard library and what is installed beside it"),
]
Tests = Annotated[bool, typer.Option("--tests", help="rank test code, too")]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help="Audit Python source files.")


@app.command()
def inputs(roots: Roots = INSTALLED) -> None:
    """Print one task for each source file below some folders, as JSON Lines."""
    for task in tasks(roots):
        print(json.dumps(task))


@app.command()
def report(
    results: Annotated[typer.FileText, typer.Argument(help="the output of `quiesce results --json`")] = "-",  # type: ignore[assignment]
    tests: Tests = False,
) -> None:
    """Print the report of a run, or of as much of it as is finished."""
    try:
        show([json.loads(line) for line in results], console(), tests=tests)
    except (ValueError, KeyError, TypeError):
        raise typer.BadParameter(f"{results.name} is not the output of `quiesce results --json` of an audit") from None


@app.command()
def demo(
    roots: Roots = INSTALLED,
    folder: Annotated[Path, typer.Option(help="where the inputs and the journal are kept")] = Path("audit-demo"),
    workers: int = 2,
    tests: Tests = False,
) -> None:
    """Audit some folders, or continue an audit that was stopped; then print the report."""
    batch = Batch("audit", f"{AGENT}:audit", folder, ("--workers", str(workers)))
    code = batch.run(tasks(roots))
    if code in {0, 1}:  # finished; with 1 some tasks have failed, and the report names them
        show(batch.results(), console(), tests=tests)
    end_as(code)


def tasks(roots: list[Path]) -> Iterator[dict[str, str]]:
    """Yield a task for each source file. Its key is how it is imported; of two with one key, the first counts."""
    paths: dict[str, Path] = {}
    for root in map(Path.absolute, roots):
        top = next(folder for folder in (root, *root.parents) if not (folder / "__init__.py").exists())
        for path in sorted(root.rglob("*.py")):
            folders = path.relative_to(root).parts[:-1]
            if path.is_file() and not any(name in SKIPPED or name.startswith(".") for name in folders):
                paths.setdefault(path.relative_to(top).as_posix(), path)
    for key, path in paths.items():
        yield {"key": key, "path": str(path)}


def console() -> Console:
    """Return a console on standard output: as wide as the terminal, or 140 columns in a pipe."""
    terminal = Console(highlight=False)
    return terminal if terminal.is_terminal else Console(highlight=False, width=140)
