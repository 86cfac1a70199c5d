"""Many rounds of faults, and how other pools stop beside ours. What a round is made of is in tests/support/chaos.

- table: many rounds as a table (scripts/soak)
- peers, stops, matrix: how other pools stop, beside ours (scripts/compare_stop)
"""

from __future__ import annotations

import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[1]
ROOT = SCRIPTS.parent

if str(ROOT) not in sys.path:  # scripts use the tests' own helpers; tests import no scripts
    sys.path.insert(0, str(ROOT))
