"""The read models on RocksDB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from taskscheduler.streams.rocksdb.buffer import Buffer
from taskscheduler.streams.rocksdb.database import Database
from taskscheduler.streams.rocksdb.views import VIEW_FAMILIES, RocksViews
from tests.projections.conformance import ViewStoreConformance


class OpenedRocks:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.open()

    def open(self) -> None:
        self.database = Database(self.path, VIEW_FAMILIES)
        self.buffer = Buffer(self.database)
        self.views = RocksViews(self.buffer, self.database.format.log_id)

    def flush(self) -> None:
        self.buffer.flush()

    def reopen(self) -> None:
        self.flush()
        self.database.close()
        self.open()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[OpenedRocks]:
    rocks = OpenedRocks(tmp_path / "data")
    yield rocks
    rocks.database.close()


class TestRocksViews(ViewStoreConformance):
    pass
