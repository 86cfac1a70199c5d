"""The version of quiesce. The packages are built with it (`[tool.hatch.version]` in pyproject.toml)."""

VERSION = "0.1.0"
