"""How many examples hypothesis tries: all of them in CI, a tenth of them in the fast lane (tests/conftest.py).

Both try the same ones each time; the profile `explore` tries ten times as many new ones.
"""

from __future__ import annotations

from hypothesis import settings

FULL = 100
"""Examples of a property in the profile `ci`, unless its test says another number."""


def scaled(examples: int) -> int:
    """Return the number of examples for a property that has `examples` in the profile `ci`."""
    return max(1, examples * settings().max_examples // FULL)
