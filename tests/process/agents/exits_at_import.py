"""Exits at import."""

import sys

sys.exit("bye")
