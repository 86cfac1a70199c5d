"""The examples of docs/from-asyncio.md are programs that print what the page says, with warnings as errors."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "from-asyncio.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```\n\n```output\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


DRIVER = """
import contextlib, io, json, logging, sys
# A busy machine makes any callback slow, and asyncio's debug mode says so.
logging.getLogger("asyncio").addFilter(lambda record: " took " not in record.getMessage())
outputs = []
for program in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(compile(program, "docs/from-asyncio.md", "exec"), {"__name__": "__main__"})
    outputs.append(output.getvalue())
json.dump(outputs, sys.stdout)
"""


def timeless(text: str) -> str:
    """What a clock has put into an output is replaced by what the page shows."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "2026-01-01 12:00:00", text)
    text = re.sub(r"^\d\d:\d\d:\d\d\.\d{3}", "12:00:00.000", text, flags=re.MULTILINE)
    return re.sub(r"after \d+\.\d{3} s", "after 0.000 s", text)


def test_every_example_says_what_it_prints() -> None:
    assert len(EXAMPLES) == PAGE.count("```python") >= 6


def test_examples() -> None:
    """One after the other in one process, so that what one leaves behind trips the next."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", DRIVER],
        input=json.dumps([program for program, _ in EXAMPLES]),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [timeless(output) for output in json.loads(done.stdout)] == [output for _, output in EXAMPLES]
