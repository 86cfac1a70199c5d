"""The backend of joblib: `from quiesce.joblib import register`. It is `orchestrator.joblib`."""

from __future__ import annotations

from orchestrator.joblib import register, shutdown

__all__ = ["register", "shutdown"]
