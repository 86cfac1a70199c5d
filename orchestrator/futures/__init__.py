"""Run functions in supervised processes through the interface of `concurrent.futures`: SupervisedExecutor."""

from __future__ import annotations

from orchestrator.futures.call_future import CallCrashed as CallCrashed
from orchestrator.futures.call_future import CallFuture as CallFuture
from orchestrator.futures.executor import SupervisedExecutor as SupervisedExecutor

__all__ = ["CallCrashed", "CallFuture", "SupervisedExecutor"]
