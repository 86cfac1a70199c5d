"""The settings that users give: those of the run, with the defaults that depend on the host."""

from __future__ import annotations

from pydantic import Field

from orchestrator.core.settings import RunSettings
from orchestrator.cpus import usable_cpus
from runtime.limits import MAX_SLOTS


class Settings(RunSettings):
    """Hold the settings of one run. Where `workers` is not given, it is the number of processors that we may use."""

    workers: int = Field(default_factory=lambda: min(usable_cpus(), MAX_SLOTS), ge=1, le=MAX_SLOTS)
