"""The LocalBackend keeps the promises of a Backend, with real processes."""

from __future__ import annotations

import pytest

from orchestrator.backends.local import LocalBackend
from orchestrator.config import Settings
from tests.support.backend_conformance import BackendConformance


class TestLocalBackend(BackendConformance):
    @pytest.fixture
    def backend(self) -> LocalBackend:
        return LocalBackend("conformance", Settings(workers=2))
