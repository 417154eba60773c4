"""The store in memory."""

from __future__ import annotations

import pytest

from taskscheduler.projections.memory import MemoryViews
from tests.projections.conformance import ViewStoreConformance


class OpenedMemory:
    def __init__(self) -> None:
        self.views = MemoryViews()

    def flush(self) -> None:
        pass

    def reopen(self) -> None:
        pass


class TestMemoryViews(ViewStoreConformance):
    @pytest.fixture
    def opened(self) -> OpenedMemory:
        return OpenedMemory()
