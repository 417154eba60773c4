"""The read models on Cassandra."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskscheduler.api.settings import Cassandra
from taskscheduler.domain import messages as msg
from taskscheduler.domain.values import DAY, MINUTE
from taskscheduler.projections.changes import Put
from taskscheduler.projections.events import EVENTS
from taskscheduler.projections.filters import TaskFilter
from taskscheduler.projections.memory import MemoryViews
from taskscheduler.projections.ports import ViewsUnavailable
from taskscheduler.projections.projector import Projector
from taskscheduler.projections.queries import Queries
from taskscheduler.projections.runs import RUNS
from taskscheduler.projections.task_list import BY_CREATED, BY_NAME, BY_NEXT_FIRE, ByCreated
from taskscheduler.streams.cassandra.grams import grams
from taskscheduler.streams.cassandra.session import Bound, Session
from taskscheduler.streams.cassandra.views import CassandraViews
from tests.projections.answers import QueriesConformance
from tests.projections.commands import Step, steps
from tests.projections.conformance import ViewStoreConformance, run
from tests.projections.history import EVERY_MINUTE, NOW, START, History
from tests.projections.ledger_answers import LedgersConformance
from tests.streams.cassandra_kit import PARTITIONS, OpenedCassandra
from tests.streams.cassandra_kit import settings as cassandra_settings

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def keyspace(cassandra: str) -> Cassandra:
    return cassandra_settings(cassandra)


@pytest.fixture
async def opened(keyspace: Cassandra) -> AsyncIterator[OpenedCassandra]:
    store = await OpenedCassandra.open(keyspace)
    await store.empty()
    yield store
    await store.session.close()


class TestCassandraViews(ViewStoreConformance):
    pass


class TestLedgers(LedgersConformance):
    pass


class TestQueries(QueriesConformance):
    pass


@given(moves=steps, seed=st.integers(0, 2**32))
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
async def test_what_comes_again_late_or_in_any_order_changes_nothing(
    opened: OpenedCassandra, moves: list[Step], seed: int
) -> None:
    dice = random.Random(seed)
    await opened.empty()
    history, memory = History(), MemoryViews()
    for move in moves:
        move(history)
        fresh = history.new()
        Projector(opened.views).apply(fresh)
        Projector(memory).apply(fresh)
        if dice.random() < 0.3:
            await opened.settle(dice.choice(["flushed", "reopened"]))
    expected = memory.contents()
    assert await opened.contents() == expected

    accepted = history.accepted
    again = [dice.choice(accepted) for _ in range(len(accepted))] if accepted else []
    Projector(opened.views).apply(again)
    assert await opened.contents() == expected

    for start in {0, dice.randrange(len(accepted) + 1)}:
        await opened.settle("reopened")
        for record in accepted[start:]:
            Projector(opened.views).apply([record])
            if dice.random() < 0.2:
                await opened.views.flush()
        assert await opened.contents() == expected


class Breaking(Session):
    """A session of which so many requests write something, and then none."""

    left = 0

    async def write(self, statements: list[Bound], routing_key: bytes) -> None:  # type: ignore[override]
        if self.left <= 0:
            raise ViewsUnavailable("gone")
        self.left -= 1
        await super().write(statements, routing_key)


def eventful() -> History:
    """Dead letters that expire, a task that is renamed, and one that is purged and made again."""
    history = History()
    for task_id in ("a", "b"):
        history.create(task_id, name=f"first {task_id}", schedule=EVERY_MINUTE, tags={"team": "ops"})
        history.advance(MINUTE)
        history.fail(task_id)
    history.do("b", msg.Delete())
    history.do("a", msg.Pause())
    for _ in range(2):
        history.sleep_until_due("a")
    history.advance(31 * DAY)
    history.create("b", name="second b", schedule=EVERY_MINUTE)
    history.do("a", msg.Resume())
    return history


async def test_a_flush_that_breaks_off_anywhere_is_made_good_by_the_next(opened: OpenedCassandra) -> None:
    history = eventful()
    memory = MemoryViews()
    Projector(memory).apply(history.accepted)
    half = len(history.accepted) // 2
    # Each row in a request of its own, so that any may be the last.
    breaking = Breaking(msgspec.structs.replace(opened.session.settings, batch_bytes=1))

    async def broken_off(after: int) -> int:
        """How many requests the second half took, of `after` at most."""
        views = CassandraViews(breaking, opened.generation)
        breaking.left = 1_000
        Projector(views).apply(history.accepted[:half])
        await views.flush()
        Projector(views).apply(history.accepted[half:])
        breaking.left = after
        with contextlib.suppress(ViewsUnavailable):
            await views.flush()
        return after - breaking.left

    try:
        whole = await broken_off(1_000)
        assert whole > 50
        assert await opened.contents() == memory.contents()
        for writes in range(0, whole, whole // 15):
            await opened.empty()
            await broken_off(writes)
            assert await opened.views.positions.read() == {0: half}
            Projector(opened.views).apply(history.accepted[half:])
            assert await opened.contents() == memory.contents(), f"broken off after {writes} writes"
    finally:
        await breaking.close()


async def test_a_flush_that_failed_is_made_good_by_the_same_views(opened: OpenedCassandra) -> None:
    history, memory = eventful(), MemoryViews()
    Projector(memory).apply(history.accepted)
    breaking = Breaking(opened.session.settings)
    views = CassandraViews(breaking, opened.generation)
    third = len(history.accepted) // 3
    for at in range(0, len(history.accepted), third):
        Projector(views).apply(history.accepted[at : at + third])
        for writes in (0, 2):
            breaking.left = writes
            with pytest.raises(ViewsUnavailable):
                await views.flush()
    assert views.pending == len(history.accepted)
    breaking.left = 1_000
    assert await views.flush() == {0: len(history.accepted)}
    await breaking.close()
    assert await opened.contents() == memory.contents()


async def test_long_histories_lie_in_pieces_of_bounded_size(opened: OpenedCassandra) -> None:
    decisions = [
        EVENTS.row("a", version, 1, "ada", b"[]")  # type: ignore[arg-type]
        for version in range(1, 3_001)
    ]
    ids = [f"{START + minute * MINUTE:012x}-000{minute:08x}" for minute in range(0, 9 * 24 * 60, 7)]
    opened.views.apply([Put(EVENTS, row) for row in decisions], 0, 1)
    opened.views.apply([Put(RUNS, run("a", run_id)) for run_id in ids], 0, 2)
    await opened.views.flush()
    for table, least, most in ((EVENTS, 3, 1_024), (RUNS, 3, 700)):
        name = opened.views.layouts.of[table].name
        sizes = await opened.session.run(f"SELECT count(*) FROM {name} GROUP BY task_id, bucket")
        assert len(sizes) >= least
        assert max(size for (size,) in sizes) <= most
    versions = [row.version for row in await opened.views.scan(EVENTS, ("a",), limit=9_999)]
    assert versions == list(range(1, 3_001))
    assert [row.id for row in await opened.views.scan(RUNS, ("a",), limit=9_999)] == ids[::-1]
    backwards = await opened.views.scan(EVENTS, ("a",), after=(1_030,), reverse=True, limit=20)
    assert [row.version for row in backwards] == list(range(1_029, 1_009, -1))
    found = await opened.views.scan(RUNS, ("a",), start=(ids[900],), end=(ids[200],), limit=9_999)
    assert [row.id for row in found] == ids[900:200:-1]


async def test_shards_are_merged_in_order_with_pages(opened: OpenedCassandra) -> None:
    dice = random.Random(7)
    rows = [ByCreated("all", dice.randrange(0, 5 * DAY), f"t{number:04}") for number in range(500)]
    for number, row in enumerate(rows, start=1):
        # Shards of very different sizes.
        opened.views.apply([Put(BY_CREATED, row)], min(number % 40, PARTITIONS - 1), number)
    ordered = sorted(rows, key=lambda row: (row.created_at, row.id))
    for limit in (1, 7, 500, 501):
        for reverse in (False, True):
            found: list[ByCreated] = []
            after = None
            while page := await opened.views.scan(BY_CREATED, ("all",), after=after, reverse=reverse, limit=limit):
                found += page
                after = (page[-1].created_at, page[-1].id)
                if limit < 7 and len(found) > 30:
                    break
            assert found == (ordered[::-1] if reverse else ordered)[: len(found)]
            assert limit < 7 or len(found) == len(rows)


async def test_emptied_pieces_are_forgotten(opened: OpenedCassandra) -> None:
    history = History()
    history.create("a", schedule=EVERY_MINUTE)
    projector = Projector(opened.views)
    for _ in range(10):
        history.advance(MINUTE)
        history.succeed("a")
        projector.apply(history.new())
        await opened.views.flush()
    names = opened.views.layouts.buckets[BY_NEXT_FIRE].name

    async def named() -> list[int]:
        rows = await opened.session.run(f"SELECT bucket FROM {names} WHERE list = 'all' AND shard = 0")
        return [bucket for (bucket,) in rows]

    assert len(await named()) == 10
    history.advance(MINUTE)
    history.succeed("a")
    projector.apply(history.new())
    await opened.views.sweep()
    left = history.task("a").next_fire
    assert left is not None
    assert await named() == [left // MINUTE - 1]
    await opened.views.flush()
    await opened.views.sweep()
    assert await named() == [left // MINUTE]
    [row] = await opened.views.scan(BY_NEXT_FIRE, ("all",), limit=9)
    assert row.next_fire_at == left


async def test_names_are_found_without_looking_at_every_task(opened: OpenedCassandra) -> None:
    history = History()
    for number in range(60):
        history.create(f"t{number:02}", name=f"Nightly Report {number}", schedule=NOW)
    history.create("x", name="Straße zum GLÜCK", schedule=NOW)
    history.create("y", name="ab", schedule=NOW)
    Projector(opened.views).apply(history.new())
    views = opened.views
    assert await views.containing(BY_NAME, "REPORT 17") == ["t17"]
    assert await views.containing(BY_NAME, "strasse") == ["x"]
    assert await views.containing(BY_NAME, "zum glück") == ["x"]
    assert await views.containing(BY_NAME, "nowhere") == []
    assert await views.containing(BY_NAME, "ab") is None
    found = await views.containing(BY_NAME, "nightly")
    assert found == [f"t{number:02}" for number in range(60)]
    queries = Queries(views, examined=20)
    for asked, ids in (
        ({"name_contains": "report 4"}, ["t04", *[f"t4{n}" for n in range(10)]]),
        ({"name_contains": "ab"}, ["y"]),
    ):
        pages, cursor = [], None
        while True:
            page = await queries.tasks(TaskFilter(sort="-name", **asked), limit=3, cursor=cursor)
            pages += [view.id for view in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert sorted(pages) == ids
        assert pages == sorted(pages, key=lambda id: history.task(id).definition.name, reverse=True)  # type: ignore[union-attr]
    history.do("t17", msg.Delete())
    Projector(views).apply(history.new())
    assert await views.containing(BY_NAME, "REPORT 17") == []


def test_groups_of_characters_ignore_case() -> None:
    assert grams("aBcd") == {"abc", "bcd"}
    assert grams("ab") == grams("") == set()
    assert grams("ßx") == {"ssx"}
