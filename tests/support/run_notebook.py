"""Execute the cells of a notebook in a real kernel: `python -m tests.support.run_notebook FOLDER`.

In a process of its own, because the client leaves sockets and threads behind. `cells.json` in the folder is a list of
sources; `outputs.json` becomes the list of their outputs, and `updates.json` all texts that displays had, in order. At
a text that contains what `interrupt` in the folder holds, the kernel is interrupted once, as by the button.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

new_notebook: Any = nbformat.v4.new_notebook
new_code_cell: Any = nbformat.v4.new_code_cell


class RecordingClient(NotebookClient):
    """Keep what displays showed on the way."""

    def __init__(self, notebook: Any, interrupt_at: str | None, **options: Any) -> None:
        super().__init__(notebook, **options)
        self.shown: list[str] = []
        self.interrupt_at = interrupt_at

    def process_message(self, message: Any, cell: Any, index: int) -> Any:
        if message["msg_type"] in ("display_data", "update_display_data"):
            text = message["content"]["data"].get("text/plain", "")
            self.shown.append(text)
            if self.interrupt_at is not None and self.interrupt_at in text:
                self.interrupt_at = None
                kernel: Any = self.km
                os.kill(kernel.provisioner.pid, signal.SIGINT)
        return super().process_message(message, cell, index)


def main(folder: Path) -> None:
    cells = json.loads((folder / "cells.json").read_text())
    notebook = new_notebook(cells=[new_code_cell(source) for source in cells])
    wanted = folder / "interrupt"
    options = {"timeout": 120, "kernel_name": "python3", "allow_errors": True}
    client = RecordingClient(
        notebook, wanted.read_text() if wanted.exists() else None, resources={"metadata": {"path": folder}}, **options
    )
    client.execute()
    (folder / "outputs.json").write_text(json.dumps([cell.outputs for cell in notebook.cells]))
    (folder / "updates.json").write_text(json.dumps(client.shown))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
