"""Instances that race for the same tasks over one real log: one winner for each version, and one state for all."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from taskscheduler.commands.handler import Answer, Ask, Done
from taskscheduler.commands.ports import Receipt
from taskscheduler.domain import messages as msg
from taskscheduler.domain.decision import Record
from taskscheduler.domain.definition import Definition, DefinitionPatch, NoopTarget
from taskscheduler.domain.errors import DomainError
from taskscheduler.domain.schedule import Every
from taskscheduler.domain.values import DAY
from tests.streams.conformance.log import accepted, read_all
from tests.streams.kafka_kit import Instance, instances, settings_for

pytest.importorskip("aiokafka")

pytestmark = pytest.mark.cluster

TASKS = [f"task-{number}" for number in range(20)]
COMMANDS = 2_000


def command(chance: random.Random) -> tuple[msg.Command, int | None]:
    """Something that changes the task, on a revision that may be old by now."""
    patch = msg.Update(DefinitionPatch(name=f"n{chance.randrange(10**9)}"))
    match chance.randrange(4):
        case 0:
            return patch, chance.randrange(1, 30)
        case 1:
            return msg.Pause(note="a"), None
        case 2:
            return msg.Resume(note="b"), None
        case _:
            return patch, None


async def race(running: Sequence[Instance], seed: int) -> list[tuple[str, Answer]]:
    """So many commands at once, each to one of the instances; what each was answered."""
    chance = random.Random(seed)
    definition = Definition(name="race", schedule=Every(every=DAY, anchor=0), target=NoopTarget())
    await running[0].handler.handle_many([Ask(task_id, msg.Create(definition)) for task_id in TASKS])
    asks = []
    for _ in range(COMMANDS):
        what, if_match = command(chance)
        ask = Ask(chance.choice(TASKS), what, actor=f"a{chance.randrange(3)}", if_match=if_match)
        asks.append((chance.choice(running), ask))
    answers = await asyncio.gather(*(instance.handler.handle_many([ask]) for instance, ask in asks))
    return [(instance.name, answer) for (instance, _), [answer] in zip(asks, answers, strict=True)]


async def records_of(instance: Instance) -> dict[tuple[str, int], Record]:
    """What was accepted, by stream and version."""
    found = {}
    for partition in range(instance.log.partitions):
        for entry in accepted(await read_all(instance.log, partition)):
            assert entry.record is not None
            found[entry.record.stream, entry.record.expected_version + 1] = entry.record
    return found


class Resending:
    """A log whose producer sends everything twice, and is told the later place."""

    def __init__(self, instance: Instance) -> None:
        self.log = instance.log

    async def append(self, records: Sequence[Record]) -> list[Receipt]:
        await self.log.append(records)
        return await self.log.append(records)


@pytest.mark.parametrize("resending", [False, True])
async def test_of_racing_instances_one_wins_each_version(kafka: str, tmp_path: Path, resending: bool) -> None:
    settings = settings_for(kafka, partitions=4)
    async with instances(settings, tmp_path, 2, timeout=60.0) as running:
        if resending:
            for instance in running:
                instance.handler._log = Resending(instance)  # type: ignore[assignment]
        answers = await race(running, seed=1)
        kinds = Counter(type(answer).__name__ for _, answer in answers)
        assert all(isinstance(answer, Done | DomainError) for _, answer in answers), kinds
        assert kinds["Done"] > COMMANDS / 2
        for instance in running:
            await instance.caught_up()

        winners = await records_of(running[0])
        for task_id in TASKS:
            versions = sorted(version for stream, version in winners if stream == f"task/{task_id}")
            assert versions == list(range(1, len(versions) + 1))
            assert {instance.replicas.state(task_id).version for instance in running} == {len(versions)}
        told: dict[tuple[str, int], set[str]] = defaultdict(set)
        for name, answer in answers:
            if isinstance(answer, Done) and answer.decided.events:
                told[f"task/{answer.decided.task.id}", answer.decided.task.version].add(name)
        assert told
        for place, names in told.items():
            assert names == {winners[place].record_id.split("-")[0]}, "no version was told to two instances"

        written = sum([len(await read_all(running[0].log, partition)) for partition in range(4)])
        assert written > len(winners), "there were conflicts at all"
        async with instances(settings, tmp_path / "afresh") as [afresh]:
            await afresh.caught_up()
            digests = [instance.digests() for instance in (*running, afresh)]
        assert digests[0] == digests[1] == digests[2]


async def test_an_instance_goes_on_where_it_was(kafka: str, tmp_path: Path) -> None:
    settings = settings_for(kafka, partitions=2)
    one = await Instance(settings, tmp_path / "one", "n0").start()
    await race([one], seed=2)
    positions, digests = one.replicas.tokens(), one.digests()
    await one.stop()
    async with instances(settings, tmp_path / "two") as [two]:
        await two.caught_up()
        await two.handler.handle(TASKS[0], msg.Update(DefinitionPatch(name="later")))
        again = await Instance(settings, tmp_path / "one", "n2").start(follow=False)
        assert (again.replicas.tokens(), again.digests()) == (positions, digests)
        again.follow()
        await again.caught_up()
        assert again.digests() == two.digests() != digests
        await again.stop()
