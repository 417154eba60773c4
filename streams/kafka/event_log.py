"""The log of decisions on Kafka: everything lands, and its readers judge. Position is the offset."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from aiokafka.errors import KafkaError

from taskscheduler.commands.ports import Entry, LogUnavailable, Receipt
from taskscheduler.domain.decision import Record
from taskscheduler.domain.values import Instant
from taskscheduler.streams.codec import encode_record
from taskscheduler.streams.kafka.appender import Appender, Message
from taskscheduler.streams.kafka.client_options import KafkaSettings, why
from taskscheduler.streams.kafka.clock import CLOCK_IS_OFF, ClockCheck
from taskscheduler.streams.kafka.ends import Ends
from taskscheduler.streams.kafka.feed import PACE, Feed
from taskscheduler.streams.kafka.genesis import find_or_begin
from taskscheduler.streams.kafka.history import History
from taskscheduler.streams.kafka.messages import Genesis
from taskscheduler.streams.kafka.partitioning import partition_of
from taskscheduler.streams.kafka.producers import Producers
from taskscheduler.streams.kafka.refusals import KafkaRefused
from taskscheduler.streams.kafka.topics import LARGEST_RECORD, Topics, prepare_topics

_PROBE = b"{}"


class KafkaEventLog:
    """DecisionLog of all partitions. Made by `open`; `close` ends it.

    Reading is best near the end of the log: several readers that keep pace share what is fetched. `read` gives
    everything that was acknowledged here or that `end` told of. Readers are never told LogUnavailable near the end:
    they wait. LogOutOfRange and UnknownEvent are final.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topics: Topics,
        genesis: Genesis,
        *,
        clock: Callable[[], Instant],
        observe: Callable[[float, int], None] | None = None,
        pace: float = PACE,
    ) -> None:
        self.topics = topics
        self.log_id = genesis.log_id
        """Names the log for ever."""
        self.partitions = genesis.partitions
        self.clock_check = ClockCheck()
        """Its `ready` says whether this instance's clock is near enough to the brokers'."""
        self._settings = settings
        self._clock = clock
        self._producers = Producers(settings)
        self._appender = Appender(
            self._producers,
            topics.decisions,
            bound=settings.append_timeout / 1000,
            clock=clock,
            clock_check=self.clock_check,
            observe=observe,
        )
        self._ends = Ends(settings, topics.decisions, self.partitions)
        self._history = History(settings, topics.decisions, self.partitions)
        self._feed = Feed(settings, topics.decisions, [0] * self.partitions, pace)

    @classmethod
    async def open(
        cls,
        settings: KafkaSettings,
        *,
        clock: Callable[[], Instant],
        observe: Callable[[float, int], None] | None = None,
        pace: float = PACE,
    ) -> KafkaEventLog:
        """Make the topics where they are missing, check them, and connect. Raises KafkaRefused.

        `observe` is called for each batch on the log with the seconds it took and the number of decisions.
        `pace` is how many seconds readers wait for more records before they fetch again.
        """
        topics = await prepare_topics(settings)
        genesis = await find_or_begin(settings, topics.decisions)
        log = cls(settings, topics, genesis, clock=clock, observe=observe, pace=pace)
        try:
            await log._connect()
        except BaseException as error:
            await log.close()
            if isinstance(error, KafkaError | OSError | LogUnavailable | TimeoutError):
                said = str(error) if isinstance(error, LogUnavailable) else why(error)
                raise KafkaRefused(f"the log {topics.decisions} cannot be opened: {said}") from None
            raise
        return log

    async def _connect(self) -> None:
        await self._ends.start()
        for partition, end in enumerate(await self._ends.ask()):
            self._feed.known(partition).known_end = end
        await self._feed.start()
        await self.probe_clock()

    @property
    def failed(self) -> str | None:
        """Why nothing can be read any more, None while all is well."""
        return None if self._feed.failure is None else str(self._feed.failure)

    async def append(self, records: Sequence[Record]) -> list[Receipt]:
        """Append durably, in order within each partition; one receipt each, always accepted.

        Raises LogUnavailable; also while the own clock is off, since what is decided then is decided for another time.
        """
        if not self.clock_check.ready:
            raise LogUnavailable(CLOCK_IS_OFF)
        messages: dict[int, list[Message]] = {}
        placed: list[tuple[int, int]] = []
        for record in records:
            value = encode_record(record)
            if len(value) > LARGEST_RECORD - 1_024:
                raise LogUnavailable(f"a decision of {len(value)} bytes is more than the log takes")
            partition = self.partition_of(record.stream)
            mine = messages.setdefault(partition, [])
            placed.append((partition, len(mine)))
            mine.append((record.stream.encode(), value))
        if not messages:
            return []
        receipts = await self._appender.append(messages)
        for partition, some in receipts.items():
            known, position = self._feed.known(partition), some[-1].position
            assert position is not None
            known.known_end = max(known.known_end, position)
        return [receipts[partition][index] for partition, index in placed]

    async def read(self, partition: int, after: int, limit: int) -> list[Entry]:
        """Up to `limit` entries above `after`, in order; empty at the end.

        Raises LogOutOfRange; UnknownEvent for what a newer release wrote; LogUnavailable far from the end.
        """
        position = max(1, after + 1)
        buffer = self._feed.buffer(partition, position)
        if not buffer.holds(position):
            if position > buffer.known_end or limit <= 0:
                return []
            if position < buffer.first:
                return await self._history.read(partition, position, limit)
            await buffer.reach(position)
        found = buffer.read(position, limit)
        self._feed.was_read(partition)
        return found

    async def wait(self, partition: int, after: int) -> None:
        """Returns when an entry above `after` can be read. Raises LogOutOfRange."""
        position = max(1, after + 1)
        await self._feed.buffer(partition, position).reach(position)

    async def end(self, partition: int) -> int:
        """The position of the last entry, 0 when there is none, as the broker says now. Raises LogUnavailable."""
        ends = await self._ends.ask()
        for known, end in enumerate(ends):
            self._feed.known(known).known_end = max(self._feed.known(known).known_end, end)
        return ends[partition]

    def known_end(self, partition: int) -> int:
        """The last position that this log has heard of."""
        return self._feed.known(partition).known_end

    def partition_of(self, stream: str) -> int:
        """The partition that holds the stream."""
        return partition_of(stream, self.partitions)

    async def probe_clock(self) -> None:
        """Compare the own clock with that of the broker of each partition. Raises LogUnavailable."""
        producer = None
        try:
            async with asyncio.timeout(self._settings.append_timeout / 1000):
                producer = await self._producers.get()
                for partition in range(self.partitions):
                    before = self._clock()
                    landed = await producer.send_and_wait(self.topics.clock, _PROBE, partition=partition)
                    self.clock_check.observe(partition, before, self._clock(), landed.timestamp)
        except (KafkaError, OSError, TimeoutError) as error:
            if isinstance(error, KafkaError) and producer is not None:
                self._producers.give_up(producer)
            raise LogUnavailable(f"the brokers' clocks cannot be read: {why(error)}") from None

    async def close(self) -> None:
        """Finish the appends under way, tell who waits to read, and close all connections."""
        await self._appender.close()
        self._feed.fail(LogUnavailable("the log is closed"))
        await self._feed.close()
        await self._ends.close()
        await self._history.close()
        await self._producers.close()
