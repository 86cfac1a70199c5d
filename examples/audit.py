"""Audit Python source files: an agent that computes, and how it is stopped.

    python examples/audit.py demo                     # everything below; after Ctrl-C, run it again: it continues

    python examples/audit.py inputs > files.jsonl     # the standard library, or: inputs DIRECTORY
    quiesce run examples/audit.py:audit --input files.jsonl --workers 2 --journal audit.db --run-id audit
    quiesce results audit --journal audit.db --json | python examples/audit.py report

The agent is the function `audit`. It shows the three duties of a synchronous agent: pass a checkpoint often, report
progress, and save a snapshot where starting again would cost much. What it looks for in a file is in auditlib/.
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import Any

from auditlib.source import Unreadable, parse
from auditlib.stages import STAGES
from runtime import ExecutionState, agent

LARGE = 50_000
"""Size in bytes from which the finished stages of a file are saved."""


@agent(name="audit")
def audit(task_input: dict[str, str], state: ExecutionState) -> dict[str, Any]:
    """Audit one file: `{"key": "json/decoder.py", "path": "/…/json/decoder.py"}`.

    The result depends on the file alone, not on the time, the machine, or how often the task was interrupted.
    """
    key, data = task_input["key"], Path(task_input["path"]).read_bytes()
    try:
        source = parse(key, data, checkpoint=state.raise_if_interrupted)
    except Unreadable as error:  # such as the standard library's tests of syntax errors: a result, not a failure
        return {"unreadable": str(error)}

    version = blake2b(data, digest_size=8).hexdigest()
    results = finished_stages(state.snapshot, version)
    for number, (name, stage) in enumerate(STAGES.items(), start=1):
        if name not in results:
            results[name] = stage(source, state.raise_if_interrupted)
            for finding in results[name]["findings"]:
                state.emit("finding", file=key, **finding)
            if len(data) >= LARGE:
                state.save_snapshot({"version": version, "results": results})
        state.progress(number, len(STAGES))
    return results


def finished_stages(snapshot: Any, version: str) -> dict[str, Any]:
    """Return the stages that an interrupted attempt finished, if it saw this version of the file."""
    return dict(snapshot["results"]) if snapshot and snapshot["version"] == version else {}


if __name__ == "__main__":
    from auditlib.commands import app  # only the command line needs it: executors import this file, too

    app()
