"""Benchmarks beside peers: the same work, the same machine, the same run.

Every measurement happens in a fresh interpreter (`bench.child`), contenders take turns round by round, and
what is reported is the median of the rounds, as a ratio to the peer or floor that the budget names.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(__file__).resolve().parents[1]

# Programs in scripts/ run from a checkout and share the tests' helpers; neither is installed.
for folder in (ROOT, SCRIPTS):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
