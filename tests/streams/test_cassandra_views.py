"""The read models on Cassandra."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from taskscheduler.api.settings import Cassandra
from tests.projections.answers import QueriesConformance
from tests.projections.conformance import ViewStoreConformance
from tests.streams.cassandra_kit import OpenedCassandra, settings

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def given(cassandra: str) -> Cassandra:
    return settings(cassandra)


@pytest.fixture
async def opened(given: Cassandra) -> AsyncIterator[OpenedCassandra]:
    store = await OpenedCassandra.open(given)
    await store.empty()
    yield store
    await store.session.close()


class TestCassandraViews(ViewStoreConformance):
    pass


class TestQueries(QueriesConformance):
    pass
