"""Complete run ids, keys of tasks and agents for the shell (`quiesce --install-completion`).

A key press must neither wait nor fail: what cannot be read at once completes to nothing. No agent is imported.

bash splits words at `:`, so that `agents.py:wo` reaches us as three words, and only what follows the colon is
replaced. `join_words` undoes the first, and `_complete` obeys the second.
"""

from __future__ import annotations

import ast
import os
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from orchestrator.config_file import choose_journal
from orchestrator.journal import Journal, open_journal, wait_at_most

SECONDS: Final = 0.5
"""Seconds that a completion waits for a journal, and after which it reads no further page of keys."""

MOST: Final = 200
"""Words that are offered at most."""

SHELL_VARIABLE: Final = "_QUIESCE_COMPLETE"

_LARGEST_FILE: Final = 1 << 20
_FILES: Final = 100
_PAGE: Final = 1000
_REJOINED: Final = [False]


def add(group: Any) -> None:
    """Let parameters of all commands be completed, by their names."""
    donors = {parameter.name: parameter for parameter in typer.main.get_command(_donor_app()).params}
    sources = {"run": "run", "run_id": "run", "key": "key", "task": "key", "agent": "agent"}
    for command in group.commands.values():
        for parameter in command.params:
            if parameter.name in sources:
                parameter.shell_complete = partial(_complete, donors[sources[parameter.name]])


def _complete(donor: Any, context: Any, incomplete: str) -> list[Any]:
    """Complete as a parameter of the donor does, without what bash keeps of the word."""
    items: list[Any] = donor.shell_complete(context, incomplete)
    for item in items if _REJOINED[0] else ():
        item.value = item.value.removeprefix(f"{incomplete.rpartition(':')[0]}:")
    return items


def join_words(environment: MutableMapping[str, str]) -> None:
    """Join the words of a command line that bash has split at colons."""
    if environment.get(SHELL_VARIABLE) != "complete_bash" or "COMP_WORDS" not in environment:
        return
    with suppress(ValueError):
        text, current = environment["COMP_WORDS"], int(environment.get("COMP_CWORD", ""))
        words = text.split("\n" if "\n" in text else " ")
        words += [""] * (current + 1 - len(words))
        joined: list[str] = []
        for number, word in enumerate(words[: current + 1]):
            if number > 1 and joined and (word.startswith(":") or joined[-1].endswith(":")):
                joined[-1] += word
            else:
                joined.append(word)
        environment["COMP_WORDS"], environment["COMP_CWORD"] = "\n".join(joined), str(len(joined) - 1)
        _REJOINED[0] = True


def complete_runs(context: typer.Context, incomplete: str) -> list[str]:
    """Return the ids of runs that begin so, the latest first."""
    return _offer(context, incomplete, lambda journal: [run.run_id for run in reversed(journal.runs())])


def complete_keys(context: typer.Context, incomplete: str) -> list[str]:
    """Return the keys that begin so, of the run that was given, or of the latest."""
    return _offer(context, incomplete, lambda journal: _keys(journal, context.params.get("run")))


def complete_agents(incomplete: str) -> list[str]:
    """Return the agents that begin so: functions of Python files that take an input."""
    try:
        return _choose(_agents(incomplete), incomplete)
    except Exception:  # noqa: BLE001 - a key press shows no error
        return []


def _donor_app() -> typer.Typer:
    """Return an app whose parameters complete as typer has it, for those of the commands."""
    app = typer.Typer(add_completion=False)

    @app.command()
    def donor(
        run: Annotated[str, typer.Argument(autocompletion=complete_runs)],
        key: Annotated[str, typer.Argument(autocompletion=complete_keys)],
        agent: Annotated[str, typer.Argument(autocompletion=complete_agents)],
    ) -> None:
        pass

    return app


def _offer(context: typer.Context, incomplete: str, read: Callable[[Journal], Iterable[str]]) -> list[str]:
    """Return the words that `read` finds in the journal of a command, and that begin so."""
    words = _words()
    option = next((word for word in words[:-1] if word in ("-j", "--journal")), None)
    given = context.params.get("journal") if option is None else words[words.index(option) + 1]
    try:
        where, _ = choose_journal(given, os.environ)
        with open_journal(where, "read", wait_at_most(SECONDS)) as journal:
            return _choose(read(journal), incomplete)
    except Exception:  # noqa: BLE001 - a key press shows no error
        return []


def _choose(words: Iterable[str], incomplete: str) -> list[str]:
    """Return the words that begin so and need no quotes."""
    fitting = (word for word in words if word.startswith(incomplete) and shlex.quote(word) == word)
    return list(islice(fitting, MOST))


def _words() -> list[str]:
    """Return the words of the command line. Typer parses none of it behind an option whose value is completed."""
    return (os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS") or "").split()


def _keys(journal: Journal, run_id: str | None) -> Iterator[str]:
    known = {run.run_id for run in journal.runs()}
    run_id = run_id or next((word for word in _words() if word in known), None)
    run, end = journal.get_run(run_id).id, time.monotonic() + SECONDS
    for first in range(1, journal.last_seq(run) + 1, _PAGE):
        keys = journal.keys(run, range(first, first + _PAGE))
        yield from (keys[seq] for seq in sorted(keys))
        if time.monotonic() > end:
            return


def _agents(incomplete: str) -> Iterator[str]:
    """Yield `path/to/file.py:name`, or `package.module:name` for a module below the working directory."""
    source, colon, _ = incomplete.partition(":")
    if not colon:
        folder = os.path.dirname(source)
        for file in sorted(Path(folder or ".").glob("*.py"))[:_FILES]:
            path = os.path.join(folder, file.name)
            yield from (f"{path}:{name}" for name in _functions(file))
        return
    file = Path(source if source.endswith(".py") else f"{source.replace('.', '/')}.py")
    yield from (f"{source}:{name}" for name in _functions(file))


def _functions(file: Path) -> Iterator[str]:
    """Yield the public functions of a file that take an input."""
    with suppress(OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        if file.stat().st_size > _LARGEST_FILE:
            return
        for node in ast.parse(file.read_bytes()).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _takes_input(node):
                yield node.name


def _takes_input(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    arguments = node.args
    return not node.name.startswith("_") and bool(arguments.posonlyargs or arguments.args or arguments.vararg)
