"""Compares what the timers' job says with what the log says."""

from __future__ import annotations

import time
from collections.abc import Mapping

from taskscheduler.domain.entities import stream_of
from taskscheduler.streams.kafka.partitioning import partition_of
from taskscheduler.streams.replay.folding import Place, log_of
from taskscheduler.streams.replay.fresh import Timer
from taskscheduler.streams.replay.jobs import Jobs
from taskscheduler.streams.replay.report import Compared, Difference, compared, failed
from taskscheduler.streams.replay.timers import Answer, Asked, Unanswered, answers

LOOKS = 10
"""How often somebody is asked who is behind the log."""

PAUSE = 1.0
"""Seconds between two of them."""


def compare(
    place: Place, asked: Asked, jobs: Jobs, fresh: Mapping[str, int], positions: Mapping[int, int]
) -> tuple[Compared, list[Difference]]:
    """What is wrong, given the hash of what each task's timer was at some positions of the log."""
    try:
        wrong = _ask(place, asked, jobs, fresh)
    except Unanswered as error:
        return failed(asked.name, positions, str(error)), []
    found = [Difference(task_id, asked.name, parts) for task_id, parts in sorted(wrong.items())]
    return compared(asked.name, positions, len(fresh), len(found)), found


def _ask(place: Place, asked: Asked, jobs: Jobs, fresh: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    """By task what is wrong."""
    wrong: dict[str, tuple[str, ...]] = {}
    kept = {task: timer for task, timer in asked.ask(fresh.keys()).items() if timer.hashed != fresh[task]}
    before: dict[str, int] = {}
    for look in range(LOOKS):
        if look:
            time.sleep(PAUSE)
            kept = dict(asked.ask(kept.keys()))
        found = _answers(place, jobs, kept)
        wrong |= {task: answer.wrong for task, answer in found.items() if answer.wrong}
        # An answer that is old and right is enough of somebody who goes on taking records in.
        kept = {
            task: answer.kept
            for task, answer in found.items()
            if not answer.wrong and answer.kept.version == before.setdefault(task, answer.kept.version)
        }
        if not kept:
            break
    return wrong | dict.fromkeys(kept, ("version",))


def _answers(place: Place, jobs: Jobs, kept: Mapping[str, Timer]) -> dict[str, Answer]:
    if not kept:
        return {}
    _, ends = log_of(place)
    mine: dict[int, dict[str, Timer]] = {}
    for task_id, timer in kept.items():
        mine.setdefault(partition_of(stream_of(task_id), len(ends)), {})[task_id] = timer
    work = [(place, partition, ends[partition], some) for partition, some in sorted(mine.items())]
    return {task: answer for found in jobs.all(answers, work) for task, answer in found.items()}
