import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from taskscheduler.api.metrics import GAUGES, PREFIX, Metrics, reference
from taskscheduler.domain.decision import Accepted, Record
from taskscheduler.domain.definition import Definition, NoopTarget
from taskscheduler.domain.events import (
    AttemptClaimed,
    AttemptFailed,
    AttemptSucceeded,
    Error,
    Event,
    FiresSkipped,
    RunCancelled,
    RunQueued,
)
from taskscheduler.domain.schedule import OneTime
from taskscheduler.domain.state import Pause, Run, Task

FOREIGN = ("process_", "python_")
UNITS = ("seconds", "bytes", "records", "ratio", "info")
NO_BASE_UNIT = re.compile(r"(milli|micro|nano)s?econds?|_(ms|us|ns|minutes?|hours?|days?|kb|mb|kilobytes|percent)(_|$)")
LABELS = {
    "type",
    "result",
    "verdict",
    "cause",
    "reason",
    "outcome",
    "status",
    "method",
    "uri",
    "le",
    "version",
    "python",
}


def accepted(*events: Event, before: Task | None = None, after: Task | None = None) -> Accepted:
    record = Record(stream="task/a", record_id="r", expected_version=1, recorded_at=0, events=events)
    return Accepted(0, 1, 0, record, before or Task("a"), after or Task("a"))


def claim(at: int, number: int = 1) -> AttemptClaimed:
    return AttemptClaimed(at, "r1", number, "w", "hash", lease=1, lease_until=at + 1, deadline=at + 1)


def run(status: str = "queued", cause: str = "schedule") -> Run:
    return Run("r1", cause, scheduled_for=1_000, status=status)  # type: ignore[arg-type]


def filled() -> Metrics:
    metrics = Metrics()
    for name in GAUGES:
        metrics.watch(name, lambda: 7)
    metrics.tasks["scheduled"] = 2
    metrics.observe_command("create", "accepted")
    metrics.observe_command("create", "conflict")
    metrics.observe_append(0.003, 17)
    metrics.observe_http("GET", "/api/tasks/{task_id}", 200, 0.004)
    queued, done = run(), run("running")
    metrics.apply(
        [
            accepted(RunQueued(1_000, "r1", "schedule", 1_000), after=Task("a", runs={"r1": queued})),
            accepted(claim(1_007), before=Task("a", runs={"r1": queued}), after=Task("a", runs={"r1": done})),
            accepted(AttemptSucceeded(1_010, "r1", 1), before=Task("a", runs={"r1": done})),
            accepted(FiresSkipped(2_000, "r2", 2_000, "missed", count=3)),
            accepted(AttemptFailed(9, "r3", 1, "timed_out", Error("Timeout", "slow"), retry_at=99)),
            accepted(AttemptFailed(9, "r3", 2, "lost", Error("Lost", "gone"), reason="attempts_exhausted")),
            accepted(RunCancelled(9, "r1", "someone"), before=Task("a", runs={"r1": done})),
        ]
    )
    return metrics


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_what_decisions_say_is_counted() -> None:
    metrics = filled()
    assert sample(metrics, "taskscheduler_fires_total", cause="schedule") == 1
    assert sample(metrics, "taskscheduler_fires_skipped_total", reason="missed") == 3
    assert sample(metrics, "taskscheduler_runs_total", outcome="succeeded") == 1
    assert sample(metrics, "taskscheduler_runs_total", outcome="failed") == 1
    assert sample(metrics, "taskscheduler_runs_total", outcome="cancelled") == 1
    for outcome in ("succeeded", "timed_out", "lost", "cancelled"):
        assert sample(metrics, "taskscheduler_attempts_total", outcome=outcome) == 1
    assert sample(metrics, "taskscheduler_commands_total", type="create", result="accepted") == 1
    assert sample(metrics, "taskscheduler_commands_total", type="create", result="conflict") is None
    assert sample(metrics, "taskscheduler_command_conflicts_total", type="create", verdict="conflict") == 1


def test_lateness_is_measured_once_for_each_scheduled_run() -> None:
    metrics = filled()
    assert sample(metrics, "taskscheduler_fire_lateness_seconds_bucket", le="0.005") == 0
    assert sample(metrics, "taskscheduler_fire_lateness_seconds_bucket", le="0.01") == 1
    assert sample(metrics, "taskscheduler_fire_lateness_seconds_sum") == 0.007
    running = Task("a", runs={"r1": run("retrying")})
    metrics.apply([accepted(claim(5_000, number=2), before=running)])
    metrics.apply([accepted(claim(5_000), before=Task("a", runs={"r1": run(cause="catch_up")}))])
    assert sample(metrics, "taskscheduler_fire_lateness_seconds_count") == 1


def test_active_runs_follow_the_state() -> None:
    metrics = Metrics()
    metrics.active_runs = 4
    metrics.apply([accepted(after=Task("a", runs={"r1": run(), "r2": run()}))])
    assert sample(metrics, "taskscheduler_active_runs") == 6


def test_tasks_by_status_follow_the_state() -> None:
    metrics = Metrics()
    metrics.tasks = {"scheduled": 5}
    scheduled = Task("a", definition=Definition("a", OneTime(1), NoopTarget()), next_fire=1)
    paused = msgspec.structs.replace(scheduled, pause=Pause("", 1, "x"))
    deleted = msgspec.structs.replace(paused, deleted_at=1)
    for before, after in ((Task("a"), scheduled), (scheduled, scheduled), (scheduled, paused), (paused, deleted)):
        metrics.apply([accepted(before=before, after=after)])
    assert metrics.tasks == {"scheduled": 5, "paused": 0}
    metrics.apply([accepted(before=Task("b"), after=paused)])
    assert sample(metrics, "taskscheduler_tasks", status="paused") == 1


@pytest.mark.parametrize(("seconds", "bucket"), [(0.001, "0.001"), (0.0011, "0.002"), (60, "60.0"), (61, "+Inf")])
def test_a_bucket_holds_its_upper_bound(seconds: float, bucket: str) -> None:
    metrics = Metrics()
    metrics._lateness.observe(seconds)
    row = metrics._lateness.rows[()]
    bounds = [*metrics._lateness.bounds, float("inf")]
    assert bounds[row.buckets.index(1)] == float(bucket.replace("+Inf", "inf"))


def families() -> Iterator[Metric]:
    return (family for family in filled().registry.collect() if not family.name.startswith(FOREIGN))


def test_names_and_labels_follow_the_conventions() -> None:
    found = list(families())
    assert len(found) > 15
    for family in found:
        assert family.documentation.endswith("."), family.name
        assert family.name.startswith((PREFIX, "http_server_requests_seconds")), family.name
        assert re.fullmatch(r"[a-z][a-z0-9_]*", family.name), f"{family.name}: no colons, no capitals"
        assert not NO_BASE_UNIT.search(family.name), f"{family.name}: base units only"
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket")), f"{family.name}: reserved suffix"
        if family.type == "histogram":
            assert family.name.endswith(UNITS), f"{family.name}: its unit is missing"
        for one in family.samples:
            assert set(one.labels) <= LABELS, f"{family.name}: a label nobody knows to be bounded"
            assert not any(label in family.name for label in one.labels if label not in ("le", "type")), family.name
            if family.type == "counter":
                assert one.name.endswith("_total"), one.name
            else:
                assert not one.name.endswith("_total"), one.name


def test_label_values_never_name_a_task_or_a_run() -> None:
    for family in families():
        for one in family.samples:
            assert not {"a", "r1", "r2", "r3", "w", "someone"} & set(one.labels.values()), one


def test_both_text_formats_can_be_read() -> None:
    metrics = filled()
    assert b'taskscheduler_tasks{status="scheduled"} 2.0' in generate_latest(metrics.registry)
    text = generate_openmetrics(metrics.registry).decode()
    assert {family.name for family in text_string_to_metric_families(text)} >= {"taskscheduler_commands"}


def test_the_reference_in_the_docs_is_the_one_of_the_code() -> None:
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    assert reference() in text, "put the output of `python -m taskscheduler.api.metrics` into docs/operations.md"
