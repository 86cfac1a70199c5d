"""The names of how a value is encoded. A leaf: who only names them loads no pickler."""

from __future__ import annotations

from typing import Final

JSON: Final = "json"
BLOB: Final = "pickle"
