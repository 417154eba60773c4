"""The one place that chooses a backend and puts the parts of a server together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import structlog

from taskscheduler.api.circuits_health import circuits_health
from taskscheduler.api.claim_secret import claim_secret
from taskscheduler.api.health import Component, HealthRegistry, disk_space, down, up
from taskscheduler.api.ledger_check import LedgerCheck
from taskscheduler.api.loops import Loops
from taskscheduler.api.metrics import Metrics
from taskscheduler.api.node import StartRefused
from taskscheduler.api.settings import Settings
from taskscheduler.api.target_rules import TargetRules
from taskscheduler.commands.handler import CommandHandler
from taskscheduler.domain.decision import FOLD_VERSION
from taskscheduler.domain.limit_definition import LIMIT_STREAM
from taskscheduler.domain.messages import Policy
from taskscheduler.domain.operation import OPERATION_STREAM
from taskscheduler.domain.values import Instant
from taskscheduler.projections.projector import Projector
from taskscheduler.projections.queries import Queries
from taskscheduler.streams.calendar_uses import CalendarUses
from taskscheduler.streams.claimable import Claimables
from taskscheduler.streams.dispatch.circuits import Circuits, Guarded
from taskscheduler.streams.dispatch.dispatcher import HOLDER, Caller, Dispatcher, release_held
from taskscheduler.streams.dispatch.egress import Egress
from taskscheduler.streams.dispatch.http import HttpCaller, Proxy
from taskscheduler.streams.dispatch.no_kafka import NoKafka
from taskscheduler.streams.dispatch.noop import NoopDispatcher
from taskscheduler.streams.dispatch.queue import QueueService
from taskscheduler.streams.dispatch.secrets import Secrets
from taskscheduler.streams.dispatch.tokens import Tokens
from taskscheduler.streams.following import Following
from taskscheduler.streams.handing import Handing
from taskscheduler.streams.holders import Holders
from taskscheduler.streams.hub import Hub
from taskscheduler.streams.limiter import Limiter
from taskscheduler.streams.operations import Operations, Tasks
from taskscheduler.streams.outbox import Outbox
from taskscheduler.streams.releasing import Releasing
from taskscheduler.streams.replica import Replica
from taskscheduler.streams.rocksdb import claim_tables, outbox_table, state_store, timer_table, use_table
from taskscheduler.streams.rocksdb.buffer import Buffer
from taskscheduler.streams.rocksdb.claim_tables import RocksClaimTable, RocksHolderTable
from taskscheduler.streams.rocksdb.database import Database
from taskscheduler.streams.rocksdb.event_log import RocksEventLog
from taskscheduler.streams.rocksdb.outbox_table import RocksOutboxTable
from taskscheduler.streams.rocksdb.rows import LOG_FAMILIES
from taskscheduler.streams.rocksdb.state_store import StateStore
from taskscheduler.streams.rocksdb.timer_table import RocksTimerTable
from taskscheduler.streams.rocksdb.use_table import RocksUseTable
from taskscheduler.streams.rocksdb.views import FAMILY as VIEWS
from taskscheduler.streams.rocksdb.views import RocksViews
from taskscheduler.streams.stepping import Stepping
from taskscheduler.streams.timers import Timers
from taskscheduler.streams.triggers import TriggerLoop

FAMILIES = (
    *LOG_FAMILIES,
    *state_store.FAMILIES,
    timer_table.FAMILY,
    *claim_tables.FAMILIES,
    use_table.FAMILY,
    outbox_table.FAMILY,
    VIEWS,
)
RESUMABLE = 1_000
"""Decisions read at the start so that live listeners can resume across it."""

BACKLOG_LIMIT = 10_000
"""The due backlog is counted up to this."""

logger = structlog.get_logger("taskscheduler")


def system_clock() -> Instant:
    """The time of this machine."""
    return time.time_ns() // 1_000_000


def system_seed() -> int:
    """64 random bits."""
    return random.getrandbits(64)


@dataclass(frozen=True)
class Storage:
    """What lies in the data directory."""

    database: Database
    clock: Callable[[], Instant]
    metrics: Metrics
    log: RocksEventLog
    buffer: Buffer
    store: StateStore
    views: RocksViews
    timers: RocksTimerTable
    claimable: RocksClaimTable
    holders: RocksHolderTable
    uses: RocksUseTable
    outbox: RocksOutboxTable


def open_storage(database: Database, clock: Callable[[], Instant]) -> Storage:
    """The log, and what is derived from it. What was derived by other rules than today's is derived anew."""
    metrics = Metrics()
    log = RocksEventLog(database, clock, metrics.observe_append)
    buffer = Buffer(database)
    store = StateStore(buffer)
    views = RocksViews(buffer, database.format.log_id)
    tables = (
        RocksTimerTable(buffer),
        RocksClaimTable(buffer),
        RocksHolderTable(buffer),
        RocksUseTable(buffer),
        RocksOutboxTable(buffer),
    )
    if store.position().fold_version != FOLD_VERSION or views.stale:
        logger.warning("folding the whole log again", reason="this release derives other things from it")
        store.start_over()
        views = RocksViews(buffer, database.format.log_id)
    return Storage(database, clock, metrics, log, buffer, store, views, *tables)


class EmbeddedNode:
    """A whole scheduler in one process on one data directory. Made by `embedded`."""

    def __init__(self, storage: Storage, settings: Settings, seed: Callable[[], int]) -> None:
        self.settings = settings
        self.clock = clock = storage.clock
        self.database = storage.database
        self.metrics = storage.metrics
        self.health = HealthRegistry()
        self.hub = Hub()
        self.log = storage.log
        self.store = storage.store
        self.views = storage.views
        self.queries = Queries(self.views)
        self.timers = Timers(storage.timers)
        self.claimables = Claimables(storage.claimable, clock)
        self.holders = Holders(storage.holders, always=(HOLDER,))
        self.calendar_uses = CalendarUses(storage.uses)
        self.outbox = Outbox(storage.outbox)
        derived = (Projector(self.views), self.timers, self.claimables, self.holders, self.calendar_uses, self.outbox)
        self.replica = Replica(self.log, self.store, derived)
        self.handler = CommandHandler(
            self.log,
            self.replica,
            clock=clock,
            seed=seed,
            instance=secrets.token_hex(4),
            policy=Policy(settings.late_after, settings.retention.runs, settings.retention.deleted),
            timeout=settings.commands.timeout / 1000,
            observe=self.metrics.observe_command,
        )
        self.limiter = Limiter(self.handler, clock=clock, seed=seed)
        self.claimables.guard(self.limiter)
        self.releasing = Releasing(self.handler, {0: self.store.states}, lambda _: 0, lambda: (0,), clock=clock)
        self.queue = QueueService(
            self.claimables,
            self.holders,
            self.handler,
            Tokens(claim_secret(settings)),
            self.limiter,
            clock=clock,
            seed=seed,
        )
        self._kafka = kafka_caller(settings, clock)
        self.circuits = Circuits(settings.http, clock, self.metrics.observe_circuit)
        self.claimables.guard(self.circuits)
        self._http = Guarded(http_caller(settings, clock), self.circuits)
        self.handing = Handing(self.handler, self.claimables, self.limiter, seed=seed)
        self.triggers = TriggerLoop(self.timers, self.handler, self.handing, clock)
        self.following = Following({0: self.calendar_uses}, self.handler, lambda: (0,))
        self.stepping = Stepping({0: self.outbox}, self.handler, lambda sender: 0, lambda: (0,))
        self.noop = NoopDispatcher(self.claimables, self.handler, self.limiter, seed=seed)
        self.dispatcher = Dispatcher(self._http, self.claimables, self.handler, self.limiter, clock=clock, seed=seed)
        self.producing = Dispatcher(self._kafka, self.claimables, self.handler, self.limiter, clock=clock, seed=seed)
        self.operations = Operations(
            Tasks(self.queries),
            self.handler,
            lambda id: 0,
            lambda: (0,),
            rate=settings.bulk.rate,
            ready=lambda: self.caught_up_to(""),
        )
        self.ledger_check = LedgerCheck(self.queries, self.metrics, settings.ledger, clock=clock)
        self._loops = Loops()
        self._register()

    @property
    def serving(self) -> EmbeddedNode:
        """What the routes need."""
        return self

    async def start(self) -> None:
        """Fold what is on the log, take back what an earlier process held, then begin to work."""
        await self.replica.check()
        folded = await self.replica.catch_up()
        await self._remember_past()
        self.metrics.active_runs = self.store.active_runs()
        self.metrics.tasks = await self.queries.status_counts()
        self.operations.know(self.store.others(OPERATION_STREAM))
        self.limiter.begin(self.store.states(LIMIT_STREAM))
        for observer in (self.hub, self.metrics, self.operations, self.limiter, self.releasing):
            self.replica.observe(observer)
        self.log.follower = self.replica.follow
        self.handing.takers = [self.noop, self.dispatcher, self.producing, self.queue]
        released = await release_held(self.holders, self.handler)
        self._loops.start("triggers", self.triggers.run)
        self._loops.start("calendars", self.following.run)
        self._loops.start("steps", self.stepping.run)
        self._loops.start("operations", self.operations.run)
        self._loops.start("limits", self.releasing.run)
        self._loops.start("noop", self.noop.run)
        self._loops.start("dispatch", self.dispatcher.run)
        self._loops.start("kafka", self.producing.run)
        if self.settings.ledger.check_every:
            self._loops.start("ledger check", self.ledger_check.run)
        self.health.accept()
        logger.info("ready", position=self.replica.position, folded=folded, released=released)

    async def stop(self, grace: float) -> None:
        """Take no new work, let what runs end within `grace` seconds, flush. Idempotent."""
        self.health.refuse("stopping")
        self.queue.close()
        self.hub.close()
        if self._loops.running:
            await self._loops.stop()
            await asyncio.gather(*[one.stop(grace) for one in (self.noop, self.dispatcher, self.producing)])
        await self.handler.drain()

    async def close(self) -> None:
        """After `stop`: flush, and let the next process have the directory."""
        await self._http.close()
        await self._kafka.close()
        if self.database.failed is None:
            self.replica.flush()
        self.database.close()

    def token(self) -> str:
        """Up to where a reader must be to see everything that was acknowledged here."""
        return f"0:{self.replica.position}"

    async def caught_up_to(self, token: str) -> None:
        """Nothing to wait for: every query sees every acknowledged write."""

    def users_of(self, calendar: str, limit: int) -> list[str]:
        """The ids of tasks that use a calendar."""
        return [use.task_id for use in self.calendar_uses.of(calendar, limit=limit)]

    def due_backlog(self) -> int:
        """Timers that are due and not decided on, counted up to a limit."""
        return self.timers.backlog(self.clock(), BACKLOG_LIMIT)

    async def _remember_past(self) -> None:
        end = await self.log.end(0)
        for entry in await self.log.read(0, max(0, end - RESUMABLE), RESUMABLE):
            if entry.record is not None:
                self.hub.remember(0, entry.position, entry.record)

    def _register(self) -> None:
        self.health.register("log", self._log_health)
        self.health.register("replica", self._replica_health)
        timers = ("triggers", "calendars", "steps", "operations", "limits")
        self.health.register("timers", lambda: self._loops.health(*timers))
        self.health.register("dispatch", lambda: self._loops.health("dispatch", "noop", "kafka"))
        self.health.register("circuits", circuits_health(self.circuits), needed=False)
        self.health.register("diskSpace", disk_space(self.settings.data_dir), needed=True)
        watch = self.metrics.watch
        watch("due_backlog", self.due_backlog)
        watch("operations_running", lambda: self.operations.going)
        watch("steps_waiting", lambda: self.stepping.waiting)
        watch("timers_unanswered", lambda: self.timers.unanswered)
        watch("dispatched_attempts", lambda: self.noop.active + self.dispatcher.active + self.producing.active)
        watch("circuits_open", lambda: len(self.circuits.open))
        watch("projection_lag_seconds", lambda: 0.0)
        watch("limits", lambda: self.limiter.defined)
        watch("limit_refusals", lambda: self.limiter.refused)
        watch("log_decisions", lambda: self.replica.position)

    def _log_health(self) -> Component:
        wrong = self.log.failed or self.database.damaged
        if wrong is not None:
            return down(error=wrong)
        return up(decisions=self.replica.position)

    def _replica_health(self) -> Component:
        if self.replica.failure is not None:
            return down(error=self.replica.failure)
        return up(position=self.replica.position, foldVersion=FOLD_VERSION)


@contextlib.asynccontextmanager
async def embedded(
    settings: Settings,
    *,
    clock: Callable[[], Instant] = system_clock,
    seed: Callable[[], int] = system_seed,
) -> AsyncIterator[EmbeddedNode]:
    """A running node; stopped and closed at the end.

    Raises DataDirInUse, DataDamaged, DataDirUnusable, LogDiverged, StartRefused.
    """
    database = Database(settings.data_dir, FAMILIES)
    try:
        node = EmbeddedNode(open_storage(database, clock), settings, seed)
    except BaseException:
        database.close()
        raise
    try:
        await node.start()
        yield node
    finally:
        await node.stop(settings.shutdown.grace / 1000)
        await node.close()


def http_caller(settings: Settings, clock: Callable[[], Instant]) -> HttpCaller:
    """What calls http targets."""
    http = settings.http
    return HttpCaller(
        Egress(http),
        Secrets(settings.secrets.directory, os.environ),
        clock=clock,
        at_once=http.concurrency,
        connect_timeout=http.connect_timeout / 1000,
        proxy=None if http.proxy is None else Proxy(http.proxy, http.proxy_username, http.proxy_password),
    )


def kafka_caller(settings: Settings, clock: Callable[[], Instant]) -> Caller:
    """What carries kafka targets out. Raises StartRefused when its settings do not fit together."""
    if (wrong := TargetRules(settings).wrong_with_kafka()) is not None:
        return NoKafka(f"a kafka target {wrong}")
    # Only here, since an embedded server may do without its package.
    from taskscheduler.streams.dispatch.kafka import KafkaCaller
    from taskscheduler.streams.kafka.refusals import KafkaRefused

    targets, brokers = settings.kafka_target, settings.kafka_of_targets
    assert brokers is not None
    try:
        return KafkaCaller(
            brokers,
            clock=clock,
            at_once=targets.concurrency,
            source=targets.source,
            prefix=settings.kafka.topic_prefix,
            topics=targets.topics,
            settings_group="kafka_target" if brokers is targets else "kafka",
        )
    except KafkaRefused as error:
        raise StartRefused(str(error)) from None
