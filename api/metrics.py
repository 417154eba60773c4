"""What the scheduler counts and measures. Names and labels are listed in docs/operations.md.

A label never holds what clients choose (ids, names, tags): the number of series stays bounded.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import InfoMetricFamily

from taskscheduler.api.meters import Counter, Gauge, Histogram
from taskscheduler.domain import events
from taskscheduler.domain.decision import Accepted, AcceptedOther, AnyAccepted, of_tasks

PREFIX = "taskscheduler_"
LATENESS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
LATENCY = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
GROUPS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

GAUGES: dict[str, str] = {
    "due_backlog": "Timers that are due and not yet decided on.",
    "operations_running": "Operations over many tasks that this process carries out.",
    "steps_waiting": "Steps from one stream to another that wait to be carried out, counted up to 10,000 a partition.",
    "timers_unanswered": "Triggers given to the command handler that no decision has answered yet.",
    "dispatched_attempts": "Attempts that this process runs itself (noop, http and kafka targets).",
    "circuits_open": "Hosts of http targets whose runs wait now, because calls to them fail.",
    "projection_lag_seconds": "Age of the oldest accepted decision that queries do not show yet.",
    "projection_lag_records": "Records of the log that queries do not show yet. Cluster only.",
    "replica_lag_records": "Records known to be on the log that this process has not folded yet. Cluster only.",
    "trigger_lag": "Triggers that wait for this process to decide on them. Cluster only.",
    "log_decisions": "Decisions on the log.",
    "limits": "Limits that are defined.",
    "limit_refusals": "Claims that a limit held up at this process, since its start.",
    "ledger_differences": "Fire times not accounted for exactly once, by the last check of all ledgers or this one.",
    "ledger_check_age_seconds": "Time since the last check of all ledgers, or since the start.",
}
"""Gauges that other parts give the values of, with their help; see Metrics.watch."""

_OUTCOMES = {1: "INFORMATIONAL", 2: "SUCCESS", 3: "REDIRECTION", 4: "CLIENT_ERROR", 5: "SERVER_ERROR"}


def release() -> str:
    """The version of this program."""
    try:
        return version("taskscheduler")
    except PackageNotFoundError:
        return "unknown"


class Metrics:
    """All meters of one process, in a registry of its own.

    `active_runs` and `tasks` (by status) are to be set to those found at the start; decisions then move them.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.active_runs = 0
        self.tasks: dict[str, int] = {}
        self.meters: list[Counter | Gauge | Histogram] = []
        self.histograms: dict[str, Histogram] = {}
        counter, histogram = self._counter, self._histogram
        self._commands = counter("commands", "Commands answered, by what was asked and how it ended.", "type", "result")
        self._conflicts = counter(
            "command_conflicts", "Decisions the log refused, to be decided again.", "type", "verdict"
        )
        self._fires = counter("fires", "Runs made, by cause.", "cause")
        self._skipped = counter("fires_skipped", "Fire times that did not run, by reason.", "reason")
        self._lateness = histogram(
            "fire_lateness_seconds", "Start of a scheduled run's first attempt after its time.", LATENESS
        )
        self._runs = counter("runs", "Runs that ended, by outcome.", "outcome")
        self._attempts = counter("attempts", "Attempts that ended, by outcome.", "outcome")
        self._slots = counter(
            "limit_slots", "Slots of limits, by what became of them: granted, released, revoked.", "what"
        )
        self._ledgers = counter("ledger_checked_tasks", "Tasks whose ledger was checked.")
        self._circuits = counter("circuit_openings", "Hosts whose runs were made to wait, by the last error.", "error")
        self._append = histogram("log_append_seconds", "Time until appended decisions are durable.", LATENCY)
        self._group = histogram("log_group_records", "Decisions made durable together.", GROUPS)
        self._http = Histogram(
            "http_server_requests_seconds",
            "HTTP requests; `uri` is the template of the route.",
            LATENCY,
            ("method", "uri", "status", "outcome"),
        )
        self._register(self._http)
        self._watch("active_runs", "Runs that are queued, running or retrying.", lambda: self.active_runs)
        self._watch("tasks", "Tasks that are not deleted, by status.", lambda: self.tasks, "status")
        self.registry.register(_Build())
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def observe_circuit(self, error: str) -> None:
        """A host is left alone because of such errors."""
        self._circuits.counts[(error,)] += 1

    def watch(self, name: str, read: Callable[[], float]) -> None:
        """Say how one of GAUGES is read. Raises KeyError for an unknown name."""
        self._watch(name, GAUGES[name], read)

    def apply(self, accepted: Sequence[AnyAccepted]) -> None:
        """Count what accepted decisions on tasks say (an observer of the replica)."""
        changes = of_tasks(accepted)
        for change in changes:
            self.active_runs += len(change.after.runs) - len(change.before.runs)
            if change.status_before != change.status_after:
                self._move(change.status_before, change.status_after)
        self.count(changes)
        self.count_slots(accepted)

    def count(self, accepted: Sequence[Accepted]) -> None:
        """Count their events alone; where several processes fold the same log, one of them must."""
        for change in accepted:
            for event in change.record.events:
                count = _COUNTED.get(type(event))
                if count is not None:
                    count(self, event, change)

    def count_slots(self, accepted: Sequence[AnyAccepted]) -> None:
        """Count what decisions on limits say."""
        for change in accepted:
            if isinstance(change, AcceptedOther):
                for event in change.record.events:
                    if isinstance(event, events.SlotsGranted):
                        self._slots.counts[("granted",)] += len(event.grants) if event.held else 0
                    elif isinstance(event, events.SlotsReleased):
                        self._slots.counts[("released",)] += len(event.ids)

    def observe_command(self, type: str, result: str) -> None:
        """Count an answer of the command handler; `conflict` and `expired` are no answers yet, and counted apart."""
        meter = self._conflicts if result in ("conflict", "expired") else self._commands
        meter.counts[(type, result)] += 1

    def observe_append(self, seconds: float, group: int) -> None:
        """Count one write of the log: how long its first decision waited, and how many shared it."""
        self._append.observe(seconds)
        self._group.observe(group)

    def count_ledger(self) -> None:
        """Count a task whose ledger was checked."""
        self._ledgers.counts[()] += 1

    def observe_http(self, method: str, uri: str, status: int, seconds: float) -> None:
        """Count one request. `uri` is the template of its route, never the path that was asked for."""
        outcome = _OUTCOMES.get(status // 100, "UNKNOWN")
        self._http.observe(seconds, (method, uri, str(status), outcome))

    def _move(self, left: str | None, entered: str | None) -> None:
        if left is not None:
            self.tasks[left] = self.tasks.get(left, 0) - 1
        if entered is not None:
            self.tasks[entered] = self.tasks.get(entered, 0) + 1

    def _queued(self, event: events.RunQueued, change: Accepted) -> None:
        self._fires.counts[(event.cause,)] += 1

    def _skipped_fires(self, event: events.FiresSkipped, change: Accepted) -> None:
        self._skipped.counts[(event.reason,)] += event.count

    def _claimed(self, event: events.AttemptClaimed, change: Accepted) -> None:
        if event.number == 1:
            run = change.before.runs.get(event.run_id) or change.after.runs.get(event.run_id)
            if run is not None and run.cause == "schedule":
                self._lateness.observe(max(0, event.at - run.scheduled_for) / 1000)

    def _succeeded(self, event: events.AttemptSucceeded, change: Accepted) -> None:
        self._attempts.counts[_SUCCEEDED] += 1
        self._runs.counts[_SUCCEEDED] += 1

    def _failed(self, event: events.AttemptFailed, change: Accepted) -> None:
        self._attempts.counts[(event.outcome,)] += 1
        if event.reason is not None:
            self._runs.counts[("failed",)] += 1

    def _revoked(self, event: events.GrantsRevoked, change: Accepted) -> None:
        self._slots.counts[("revoked",)] += 1

    def _run_failed(self, event: events.RunFailed, change: Accepted) -> None:
        self._runs.counts[("failed",)] += 1

    def _released(self, event: events.AttemptReleased, change: Accepted) -> None:
        self._attempts.counts[("released",)] += 1

    def _cancelled(self, event: events.RunCancelled, change: Accepted) -> None:
        self._runs.counts[_CANCELLED] += 1
        run = change.before.runs.get(event.run_id)
        if run is not None and run.status == "running":
            self._attempts.counts[_CANCELLED] += 1

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        meter = Counter(PREFIX + name, help, labels)
        self._register(meter)
        return meter

    def _histogram(self, name: str, help: str, bounds: Sequence[float]) -> Histogram:
        meter = Histogram(PREFIX + name, help, bounds)
        self._register(meter)
        return meter

    def _watch(
        self, name: str, help: str, read: Callable[[], float | Mapping[str, float]], label: str | None = None
    ) -> None:
        self._register(Gauge(PREFIX + name, help, read, label))

    def _register(self, meter: Counter | Gauge | Histogram) -> None:
        self.registry.register(meter)
        self.meters.append(meter)
        if isinstance(meter, Histogram):
            self.histograms[meter.name] = meter


_SUCCEEDED = ("succeeded",)
_CANCELLED = ("cancelled",)
_COUNTED: dict[type, Callable[[Metrics, Any, Accepted], None]] = {
    events.RunQueued: Metrics._queued,
    events.FiresSkipped: Metrics._skipped_fires,
    events.AttemptClaimed: Metrics._claimed,
    events.AttemptSucceeded: Metrics._succeeded,
    events.AttemptFailed: Metrics._failed,
    events.RunFailed: Metrics._run_failed,
    events.GrantsRevoked: Metrics._revoked,
    events.AttemptReleased: Metrics._released,
    events.RunCancelled: Metrics._cancelled,
}


class _Build:
    def collect(self) -> list[InfoMetricFamily]:
        labels = {"version": release(), "python": platform.python_version()}
        return [InfoMetricFamily(PREFIX + "build", "Version of the program.", labels)]


def reference() -> str:
    """The table of docs/operations.md."""
    metrics = Metrics()
    for name in GAUGES:
        metrics.watch(name, lambda: 0.0)
    lines = ["| metric | labels | meaning |", "|---|---|---|"]
    for meter in metrics.meters:
        suffix = "_total" if isinstance(meter, Counter) else ""
        labels = ", ".join(f"`{label}`" for label in meter.labels)
        lines.append(f"| `{meter.name}{suffix}` | {labels} | {meter.help} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
