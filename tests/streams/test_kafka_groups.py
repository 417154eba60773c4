"""How the instances of a role share partitions among them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

import pytest

from taskscheduler.api.settings import Kafka
from tests.streams.kafka_kit import settings_for

pytest.importorskip("aiokafka")
from taskscheduler.streams.kafka.membership import Membership
from taskscheduler.streams.kafka.topics import prepare_topics, topics

pytestmark = pytest.mark.cluster


class Member:
    def __init__(self, settings: Kafka, role: str = "dispatch") -> None:
        self.told: list[Collection[int]] = []
        self.membership = Membership(settings, topics(settings.topic_prefix), role, self.tell)
        self.running = asyncio.create_task(self.membership.run())

    async def tell(self, partitions: Collection[int]) -> None:
        self.told.append(sorted(partitions))

    @property
    def partitions(self) -> frozenset[int]:
        return self.membership.partitions

    async def leave(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


async def test_partitions_are_shared_and_move_when_members_come_and_go(kafka: str) -> None:
    settings = settings_for(kafka, partitions=5)
    await prepare_topics(settings)
    first = Member(settings)
    await until(lambda: len(first.partitions) == 5)
    second = Member(settings)
    await until(lambda: sorted(map(len, (first.partitions, second.partitions))) == [2, 3])
    assert first.partitions | second.partitions == set(range(5))
    kept = first.partitions
    third = Member(settings)
    await until(lambda: sorted(map(len, (first.partitions, second.partitions, third.partitions))) == [1, 2, 2])
    assert first.partitions <= kept, "what a member has it keeps, as far as that is fair"
    await first.leave()
    assert first.partitions == frozenset()
    await until(lambda: second.partitions | third.partitions == set(range(5)))
    await second.leave()
    await until(lambda: len(third.partitions) == 5)
    await until(lambda: third.told[-1] == [0, 1, 2, 3, 4])
    await third.leave()


async def test_roles_share_each_for_itself(kafka: str) -> None:
    settings = settings_for(kafka)
    await prepare_topics(settings)
    members = [Member(settings, role) for role in ("dispatch", "projections")]
    for member in members:
        await until(lambda member=member: len(member.partitions) == 3)  # type: ignore[misc]
    for member in members:
        await member.leave()


async def test_more_members_than_partitions(kafka: str) -> None:
    settings = settings_for(kafka, partitions=1)
    await prepare_topics(settings)
    members = [Member(settings) for _ in range(3)]
    await until(lambda: all(member.told for member in members))
    await until(lambda: sorted(len(member.partitions) for member in members) == [0, 0, 1])
    for member in members:
        await member.leave()


async def test_one_that_cannot_follow_its_assignments_ends_its_membership(kafka: str) -> None:
    settings = settings_for(kafka)
    await prepare_topics(settings)

    async def fail(_: Collection[int]) -> None:
        raise ValueError("no")

    membership = Membership(settings, topics(settings.topic_prefix), "dispatch", fail)
    with pytest.raises(ValueError, match="no"):
        await membership.run()
