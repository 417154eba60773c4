"""The store in memory."""

from __future__ import annotations

import pytest

from taskscheduler.projections.memory import MemoryViews
from tests.projections.answers import QueriesConformance
from tests.projections.conformance import ViewStoreConformance


class OpenedMemory:
    def __init__(self) -> None:
        self.views = MemoryViews()

    def flush(self) -> None:
        pass

    def reopen(self) -> None:
        pass


@pytest.fixture
def opened() -> OpenedMemory:
    return OpenedMemory()


class TestMemoryViews(ViewStoreConformance):
    pass


class TestQueries(QueriesConformance):
    pass
