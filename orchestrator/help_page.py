"""Make the page that `quiesce --help` shows from the text of the modules of `orchestrator/cli`, without loading them.

Loading them imports typer, rich and pydantic, which takes twenty times as long as printing the page. The convention
that makes this possible: `cli/command_line.py` has a line `module.register(app)` for each module, whose `register` has
a line `app.command(...)(function)` for each command, or `for command in (function, function):`. A contract test
compares the page with the commands that typer has.

Rejected: a page that is kept as a file (every new command made it wrong), and `ast` (it takes longer than the rest).
"""

from __future__ import annotations

import re

TYPE_CHECKING = False  # as in orchestrator/__init__.py
if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH = 80

OPTIONS = {
    "--version": "Show the version and exit.",
    "--install-completion": "Install completion for the current shell.",
    "--show-completion": "Show completion for the current shell, to copy it or customize the installation.",
    "--color": "Colours: on a terminal unless NO_COLOR is set, always, or never. (default: auto)",
    "-q, --quiet": "Only warnings and errors on standard error.",
    "-v, --verbose": "More on standard error: log lines of level debug, and the traceback of an error.",
    "-h, --help": "Show this message and exit.",
}

_PURPOSE = re.compile(r'^    help="(.*)",$', re.MULTILINE)
_MODULE = re.compile(r"^(\w+)\.register\(app\)$", re.MULTILINE)
_REGISTER = re.compile(r"^def register\(.*?(?=^\S|\Z)", re.MULTILINE | re.DOTALL)
_COMMANDS = re.compile(r"app\.command\(.*\)\((\w+)\)$|for command in \(([^)]*)\):", re.MULTILINE)


def render() -> str | None:
    """Return the page, in ASCII of 80 columns for every terminal; None if the modules do not keep the convention."""
    commands: dict[str, str] = {}
    package = _read("cli/command_line.py")
    for module in _MODULE.findall(package):
        text = _read(f"cli/{module}.py")
        for function in _find_functions(text):
            summary = _find_summary(text, function)
            if summary is None:
                return None
            commands[function.replace("_", "-").strip("-")] = summary
    purpose = _PURPOSE.search(package)
    if purpose is None or not commands:
        return None
    parts = [
        f"Usage: quiesce [OPTIONS] COMMAND [ARGS]...\n\n{purpose[1]}",
        "\n".join(["Options:", *_table(OPTIONS)]),
        "\n".join(["Commands:", *_table(commands)]),
        "`quiesce COMMAND --help` shows the options of a command.\n",
    ]
    return "\n\n".join(parts)


def _read(name: str) -> str:
    """Return the text of a file of this package, also out of an archive."""
    folder = __file__.rpartition("help_page")[0]
    data: bytes = __spec__.loader.get_data(f"{folder}{name}")  # type: ignore[union-attr]
    return data.decode()


def _find_functions(text: str) -> Iterator[str]:
    """Return the names of the functions that a module registers as commands."""
    for one, many in _COMMANDS.findall("".join(_REGISTER.findall(text))):
        if one != "command":
            yield from [one] if one else many.replace(",", " ").split()


def _find_summary(text: str, function: str) -> str | None:
    """Return the first sentence of a function's docstring."""
    found = re.search(rf'^def {function}\(.*?^    """(.*?)("""|\n\n)', text, re.MULTILINE | re.DOTALL)
    if found is None:
        return None
    words = " ".join(found[1].split())
    return words.partition(". ")[0].removesuffix(".").replace("…", "...") + "."


def _table(rows: dict[str, str]) -> Iterator[str]:
    """Return lines of two columns, the second one wrapped."""
    indent = max(map(len, rows)) + 4
    for name, text in rows.items():
        line = f"  {name}".ljust(indent - 1)
        for word in text.split():
            if len(line) + 1 + len(word) > WIDTH:
                yield line
                line = " " * (indent - 1)
            line += f" {word}"
        yield line
