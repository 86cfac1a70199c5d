"""Refuse the words that plain English here does without: `python scripts/check_prose.py [FILE ...]`.

Looks at docstrings, comments and messages of the Python files under version control, and at the Markdown pages. A
pronoun in place of a component ("whoever reads it") makes the reader guess; CONTRIBUTING.md says what to write instead.
Text in backticks is code, and is not looked at. Prints FILE:LINE and the word for each; exits with 1 when there is one.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

REFUSED = (
    "whoever", "whomever", "whosoever", "somebody", "nobody", "everybody", "anybody", "told", "doomed", "condemned",
    "hired", "manieth", "betimes", "aloud", "lest",
)  # fmt: skip
"""Words in place of a component's name or of the field's verb; lower case."""

_WORD = re.compile(rf"\b({'|'.join(REFUSED)})\b", re.IGNORECASE)
_CODE = re.compile(r"```.*?```|``.*?``|`[^`]*`", re.DOTALL)

Text = tuple[int, str]
"""A line number (from 1) and a piece of prose that begins there."""


def find_refused(texts: Iterator[Text]) -> Iterator[tuple[int, str]]:
    """Yield the line number and the word of every refused word in `texts`."""
    for line, text in texts:
        prose = _CODE.sub(lambda code: re.sub(r"[^\n]", " ", code.group()), text)
        for match in _WORD.finditer(prose):
            yield line + prose.count("\n", 0, match.start()), match.group()


def python_texts(source: str) -> Iterator[Text]:
    """Yield the comments of a Python source, and its strings of more than one word (docstrings and messages)."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
            yield node.lineno, node.value


def texts_of(path: Path) -> Iterator[Text]:
    """Yield the prose of a Python file or of a Markdown page."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield 1, source
    else:
        yield from python_texts(source)


def tracked_files() -> list[Path]:
    """Return the Python files and Markdown pages under version control, and new ones that are not ignored."""
    command = ("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "*.py", "*.md")
    names = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode()
    return [path for name in names.split("\0") if name and (path := Path(name)).exists()]


def main(arguments: list[str]) -> int:
    """Check the files that are named, or all; return the exit status."""
    this_file = Path(__file__).resolve()
    count = 0
    for path in [Path(name) for name in arguments] or tracked_files():
        if path.resolve() == this_file:
            continue
        for line, word in find_refused(texts_of(path)):
            print(
                f"{path}:{line}: {word!r}: name the component (supervisor, executor, caller, ...) or use the usual verb"
            )
            count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
