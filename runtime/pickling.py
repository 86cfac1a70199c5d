"""What is used of `multiprocess`, loaded without a trace on the disk.

dill asks for the temporary directory while it is imported, and tempfile tries that one out with a file. A process that
is killed just then, as those of a run may be at any time, would leave the file behind. So the answer is there already.
"""

from __future__ import annotations

import os
import tempfile

__all__ = ["Connection", "ForkingPickler"]

_before = tempfile.tempdir
tempfile.tempdir = _before or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - for the time of the import only
try:
    from multiprocess.connection import Connection
    from multiprocess.reduction import ForkingPickler
finally:
    tempfile.tempdir = _before
