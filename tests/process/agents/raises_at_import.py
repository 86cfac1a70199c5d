"""Raises at import."""

raise RuntimeError("import went wrong")
