"""The store in memory."""

from __future__ import annotations

import pytest

from taskscheduler.projections.memory import MemoryViews
from taskscheduler.projections.tables import Key
from tests.projections.answers import QueriesConformance
from tests.projections.conformance import ViewStoreConformance, Way
from tests.projections.ledger_answers import LedgersConformance


class OpenedMemory:
    def __init__(self) -> None:
        self.views = MemoryViews()

    async def settle(self, way: Way) -> None:
        pass

    async def contents(self) -> list[tuple[str, Key, bytes]]:
        return self.views.contents()


@pytest.fixture
def opened() -> OpenedMemory:
    return OpenedMemory()


class TestMemoryViews(ViewStoreConformance):
    pass


class TestLedgers(LedgersConformance):
    pass


class TestQueries(QueriesConformance):
    pass
