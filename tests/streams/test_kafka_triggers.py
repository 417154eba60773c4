"""What is due reaches a decision, whatever the instances and the broker do meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from taskscheduler.api.settings import Kafka
from taskscheduler.commands.handler import Answer, Ask, Unavailable
from taskscheduler.domain.definition import Definition, Lane, NoopTarget
from taskscheduler.domain.entities import Entity, stream_of
from taskscheduler.domain.messages import Create
from taskscheduler.domain.schedule import OneTime
from taskscheduler.streams.dispatch.dispatcher import claim_of
from taskscheduler.streams.handing import Handed, Hands, Taker
from tests.streams.kafka_kit import Instance, handing_of, instances, now, put, raw_producer, settings_for

pytest.importorskip("aiokafka")
from taskscheduler.streams.kafka import triggers as module
from taskscheduler.streams.kafka.messages import Trigger
from taskscheduler.streams.kafka.triggers import TriggerConsumer

pytestmark = pytest.mark.cluster


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST_PAUSE", 0.3)


FAR = 3_600_000


class Taking:
    """A consumer of triggers beside an instance."""

    def __init__(self, instance: Instance, handler: Any = None, *takers: Taker) -> None:
        self.consumer = TriggerConsumer(
            instance.settings,
            instance.log.topics,
            instance.replicas,
            handler or instance.handler,
            handing_of(instance, handler, *takers),
        )
        self.running = asyncio.create_task(self.consumer.run())

    async def stop(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)


class Unwilling:
    """A handler that has no verdict as long as `away`, and remembers what it was asked."""

    def __init__(self, instance: Instance) -> None:
        self.handler = instance.handler
        self.away = True
        self.asked: list[list[Ask]] = []

    async def handle_many(self, asks: Sequence[Ask]) -> list[Answer]:
        self.asked.append(list(asks))
        if self.away:
            return [Unavailable("away", "none")] * len(asks)
        return await self.handler.handle_many(asks)

    def entity(self, id: str) -> Entity:
        return self.handler.entity(id)

    def submit(self, asks: Sequence[Ask], done: Callable[[list[Answer]], None]) -> None:
        asyncio.ensure_future(self.handle_many(asks)).add_done_callback(lambda task: done(task.result()))


class Holder:
    """Waits for all that comes, and remembers what it was handed."""

    def __init__(self) -> None:
        self.handed: list[Handed] = []

    def hands(self, lane: Lane) -> Hands:
        return Hands(99, lambda lane, item: claim_of(lane, item, 1), self.handed.extend)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


async def create(instance: Instance, *task_ids: str) -> list[Trigger]:
    """Tasks that are due in an hour, and their triggers then."""
    due_at = now() + FAR
    definition = Definition(name="t", schedule=OneTime(at=due_at, kind="at"), target=NoopTarget())
    answers = await instance.handler.handle_many([Ask(task_id, Create(definition)) for task_id in task_ids])
    assert not any(isinstance(answer, Exception) for answer in answers)
    return [Trigger(stream_of(task_id), 1, due_at) for task_id in task_ids]


async def give(instance: Instance, triggers: Sequence[Trigger]) -> None:
    """Put triggers where Flink does."""
    async with raw_producer(instance.settings) as producer:
        sent = [
            await producer.send(
                instance.log.topics.triggers,
                msgspec.json.encode(trigger),
                partition=instance.log.partition_of(trigger.stream),
            )
            for trigger in triggers
        ]
        await asyncio.gather(*sent)


def fired(instance: Instance, *task_ids: str) -> list[str]:
    return [task_id for task_id in task_ids if instance.replicas.state(task_id).version >= 2]


async def committed(settings: Kafka) -> dict[int, int | None]:
    """What the group has committed, by partition."""
    from aiokafka import AIOKafkaConsumer, TopicPartition

    async with AIOKafkaConsumer(
        bootstrap_servers=list(settings.bootstrap_servers), group_id=f"{settings.topic_prefix}.triggers"
    ) as consumer:
        return {
            partition: await consumer.committed(TopicPartition(f"{settings.topic_prefix}.triggers", partition))
            for partition in range(settings.partitions)
        }


async def test_triggers_are_decided_once_however_often_they_come(kafka: str, tmp_path: Path) -> None:
    async with instances(settings_for(kafka), tmp_path) as [one]:
        names = [f"t{number}" for number in range(600)]
        triggers = await create(one, *names)
        taking = Taking(one)
        await give(one, [*triggers, *triggers[::-1]])
        await until(lambda: len(fired(one, *names)) == 600)
        await give(one, triggers)
        await taking.stop()
        assert {one.replicas.state(name).version for name in names} == {2}
        assert {len(one.replicas.state(name).runs) for name in names} == {1}


async def test_a_trigger_is_handed_to_who_waits_in_the_process(kafka: str, tmp_path: Path) -> None:
    async with instances(settings_for(kafka), tmp_path) as [one]:
        holder = Holder()
        triggers = await create(one, "a")
        taking = Taking(one, None, holder)
        await give(one, triggers)
        await until(lambda: len(fired(one, "a")) == 1)
        await taking.stop()
        [run] = one.handler.state("a").runs.values()
        assert (one.handler.state("a").version, run.status) == (2, "running")
        assert [(given.item.task_id, given.item.run_id) for given in holder.handed] == [("a", run.id)]


async def test_offsets_are_committed_only_after_the_verdict(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LAST_WORD", 0.5)
    settings = settings_for(kafka, partitions=1)
    async with instances(settings, tmp_path) as [one]:
        triggers = await create(one, "a", "b", "c")
        unwilling = Unwilling(one)
        taking = Taking(one, unwilling)
        await give(one, triggers)
        await until(lambda: len(unwilling.asked) > 2)
        assert taking.consumer.lag == 3
        await taking.stop()
        assert (await committed(settings))[0] in (None, 0)
        assert fired(one, "a", "b", "c") == []
        taking = Taking(one)
        await until(lambda: len(fired(one, "a", "b", "c")) == 3)
        await until(lambda: taking.consumer.lag == 0)
        await taking.stop()
        assert await committed(settings) == {0: 3}


async def test_an_outage_does_not_multiply_triggers(kafka: str, tmp_path: Path) -> None:
    async with instances(settings_for(kafka, partitions=1), tmp_path) as [one]:
        triggers = await create(one, *(f"t{number}" for number in range(module.UNDER_WAY + 300)))
        unwilling = Unwilling(one)
        taking = Taking(one, unwilling)
        await give(one, triggers)
        await until(lambda: len(unwilling.asked) > 8)
        asked = {ask.task_id for asks in unwilling.asked for ask in asks}
        assert len(asked) <= module.UNDER_WAY + module.BATCH, "no more is taken than fits"
        unwilling.away = False
        await until(lambda: taking.consumer.lag == 0)
        assert len(fired(one, *(f"t{number}" for number in range(module.UNDER_WAY + 300)))) == module.UNDER_WAY + 300
        await taking.stop()


async def test_a_trigger_waits_until_its_decision_is_folded(kafka: str, tmp_path: Path) -> None:
    settings = settings_for(kafka)
    async with instances(settings, tmp_path) as [ahead]:
        behind = await Instance(settings, tmp_path / "behind", "m").start(follow=False)
        unwilling = Unwilling(behind)
        unwilling.away = False
        taking = Taking(behind, unwilling)
        await give(behind, await create(ahead, "a"))
        await until(lambda: taking.consumer.lag == 1)
        assert unwilling.asked == []
        behind.follow()
        await until(lambda: fired(ahead, "a") == ["a"])
        await taking.stop()
        await behind.stop()


async def test_what_is_no_trigger_of_this_log_is_passed_over(kafka: str, tmp_path: Path) -> None:
    settings = settings_for(kafka, partitions=1)
    async with instances(settings, tmp_path) as [one]:
        [good] = await create(one, "a")
        unwilling = Unwilling(one)
        unwilling.away = False
        taking = Taking(one, unwilling)
        ahead = msgspec.json.encode(Trigger(stream_of("a"), 7, 1))
        other = msgspec.json.encode(Trigger("unknown/a", 1, 1))
        await put(settings, 0, b"nonsense", None, b'{"stream":1}', other, ahead, topic="triggers")
        await give(one, [good])
        await until(lambda: fired(one, "a") == ["a"])
        assert taking.consumer.unreadable == 5
        assert [ask.task_id for asks in unwilling.asked for ask in asks] == ["a"]
        await taking.stop()
        assert await committed(settings) == {0: 6}


async def test_triggers_move_with_their_partitions_and_none_is_lost(kafka: str, tmp_path: Path) -> None:
    settings = settings_for(kafka, partitions=4)
    async with instances(settings, tmp_path, 3) as running:
        names = [f"t{number}" for number in range(2_000)]
        triggers = await create(running[0], *names)
        first, second = Taking(running[0]), Taking(running[1])
        for start in range(0, 2_000, 100):
            await give(running[0], triggers[start : start + 100])
            if start == 500:
                await until(lambda: len(first.consumer.partitions) == len(second.consumer.partitions) == 2)
                third = Taking(running[2])
            if start == 1_000:
                first.running.cancel()
        await until(lambda: len(fired(running[2], *names)) == 2_000)
        await until(lambda: second.consumer.partitions | third.consumer.partitions == set(range(4)))
        for taking in (first, second, third):
            await taking.stop()
        for instance in running:
            await instance.caught_up()
        assert {running[0].replicas.state(name).version for name in names} == {2}
        digests = [instance.digests() for instance in running]
        assert digests[0] == digests[1] == digests[2]
