"""The log in memory is a log, at the door and with readers that judge."""

from __future__ import annotations

import pytest

from tests.streams.conformance.log import LogConformance
from tests.support.memory_log import MemoryLog


class Opened:
    """Closing changes nothing about what is in memory."""

    def __init__(self, refuses: bool) -> None:
        self.log = MemoryLog(refuses=refuses)

    async def reopen(self) -> None:
        pass


class TestJudgedByReaders(LogConformance):
    @pytest.fixture
    async def opened(self) -> Opened:
        return Opened(refuses=False)


class TestJudgedAtTheDoor(LogConformance):
    @pytest.fixture
    async def opened(self) -> Opened:
        return Opened(refuses=True)
