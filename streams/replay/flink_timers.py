"""What the timers' job keeps of each stream, asked of the job while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from taskscheduler.domain.entities import id_of, stream_of
from taskscheduler.streams.flink.digests import digests
from taskscheduler.streams.kafka.client_options import KafkaSettings
from taskscheduler.streams.kafka.refusals import KafkaRefused
from taskscheduler.streams.replay.fresh import Timer
from taskscheduler.streams.replay.timers import Unanswered

SILENCE = 10.0
"""Seconds without an answer after which the job is taken to have no more."""


class FlinkTimers:
    """The job in Flink that tells which streams are due."""

    name = "timers in Flink"

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings

    def ask(self, tasks: Collection[str]) -> Mapping[str, Timer]:
        """What the job keeps of some tasks. Raises Unanswered."""
        if not tasks:
            return {}
        streams = [stream_of(task_id) for task_id in sorted(tasks)]
        try:
            found = asyncio.run(digests(self._settings, streams, SILENCE))
        except KafkaRefused as error:
            raise Unanswered(str(error)) from None
        if len(found) < len(streams):
            raise Unanswered(
                f"the job told of {len(found)} of {len(streams)} tasks, and then nothing for {SILENCE:.0f} s: does it "
                "run? `taskscheduler flink status` says so"
            )
        return {id_of(one.stream): Timer(one.version, one.wakeup, one.chain) for one in found.values()}
