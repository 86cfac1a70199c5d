"""The examples of docs/from-process-pools.md are programs that print what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.test_stdlib_pool_tests import DIFFERENCES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "from-process-pools.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```\n\n```output\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_every_example_says_what_it_prints() -> None:
    assert len(EXAMPLES) == PAGE.count("```python") >= 4


@pytest.mark.parametrize(("program", "output"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example(program: str, output: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "-W", "error", "program.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, output), done.stderr


def test_the_page_counts_the_differences_from_the_standard_library() -> None:
    numbers = {"four": 4, "five": 5, "six": 6}
    found = re.search(r"all pass but the (\w+) that", " ".join(PAGE.split()))
    assert found is not None
    assert numbers[found[1]] == len(DIFFERENCES)
