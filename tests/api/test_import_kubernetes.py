"""CronJobs as tasks, held to what the reference of batch/v1 says of their fields."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cli_stub import TASK, Run, StubServer

from taskscheduler.api.migration.entries import Options, Reading, Unreadable
from taskscheduler.api.migration.kubernetes import read_cronjobs
from taskscheduler.client import Client
from taskscheduler.domain.cron import compile_cron

OPTIONS = Options(queue="commands", kind="container", timezone=None, timeout="1d")
NOW = 1_893_456_000_000

# The example of kubernetes.io/docs/concepts/workloads/controllers/cron-jobs.
HELLO = """\
apiVersion: batch/v1
kind: CronJob
metadata:
  name: hello
spec:
  schedule: "* * * * *"
  jobTemplate:
    spec:
      template:
        spec:
          containers:
          - name: hello
            image: busybox:1.28
            imagePullPolicy: IfNotPresent
            command:
            - /bin/sh
            - -c
            - date; echo Hello from the Kubernetes cluster
          restartPolicy: OnFailure
"""

FULL = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
---
# a comment
apiVersion: batch/v1
kind: CronJob
metadata: {name: report, namespace: billing, labels: {team: ops}, uid: 1-2-3}
spec:
  schedule: "0 2 * * *"
  timeZone: Europe/Berlin
  suspend: true
  concurrencyPolicy: Replace
  startingDeadlineSeconds: 200
  successfulJobsHistoryLimit: 3
  jobTemplate:
    spec:
      backoffLimit: 2
      activeDeadlineSeconds: 600
      parallelism: 4
      template:
        metadata: {annotations: {a: b}}
        spec:
          serviceAccountName: reporter
          containers:
          - name: report
            image: report:1
            args: ["--all"]
            env:
            - {name: MODE, value: fast}
            - {name: TOKEN, valueFrom: {secretKeyRef: {name: s, key: k}}}
          - {name: sidecar, image: proxy}
"""


def read(text: str) -> Reading:
    return read_cronjobs(text, OPTIONS, NOW)


def with_spec(text: str) -> str:
    return HELLO.replace("  jobTemplate:\n", f"  {text}\n  jobTemplate:\n")


def with_schedule(schedule: str) -> str:
    return HELLO.replace('"* * * * *"', json.dumps(schedule))


def test_the_example_of_the_documentation() -> None:
    [entry] = read(HELLO).entries
    assert (entry.line, entry.paused, entry.task["name"]) == (1, None, "default/hello")
    assert entry.task["schedule"] == {"cron": "* * * * *", "timezone": "UTC"}
    assert entry.task["target"] == {"type": "queue", "queue": "commands", "kind": "container"}
    assert entry.task["payload"] == {
        "cronjob": "default/hello",
        "image": "busybox:1.28",
        "command": ["/bin/sh", "-c", "date; echo Hello from the Kubernetes cluster"],
    }
    # Six retries after the first attempt is the default; they are 10 s, 20 s, 40 s ... apart, six minutes at most.
    retry = {"max_attempts": 7, "backoff": "exponential", "initial": "10s", "multiplier": 2, "max": "6m"}
    assert entry.task["retry"] == retry
    # Without a deadline the last time missed is made up for, however long ago it was.
    assert entry.task["catch_up"] == {"policy": "latest", "window": "P36525D"}
    assert entry.task["overlap"] == "allow_all"
    [other] = entry.notes
    assert "containers[0].imagePullPolicy" in other


def test_everything_of_a_manifest_is_carried_over_or_told() -> None:
    reading = read(FULL)
    assert "ConfigMap" in reading.notes[0]
    assert "line 1" in reading.notes[0]
    [entry] = reading.entries
    assert (entry.line, entry.paused) == (6, "suspended in Kubernetes")
    task = entry.task
    assert task["schedule"] == {"cron": "0 2 * * *", "timezone": "Europe/Berlin"}
    assert task["catch_up"] == {"policy": "latest", "window": "PT3M20S"}
    assert (task["retry"]["max_attempts"], task["deadline"], task["timeout"]) == (3, "600s", "600s")
    assert task["payload"] == {
        "cronjob": "billing/report",
        "image": "report:1",
        "args": ["--all"],
        "environment": {"MODE": "fast"},
    }
    notes = " ".join(entry.notes)
    assert task["overlap"] == "cancel_other"
    for word in (
        "activeDeadlineSeconds",
        "TOKEN",
        "first of 2 containers",
        "parallelism",
        "serviceAccountName",
        "template.metadata",
        "metadata.labels",
    ):
        assert word in notes
    for word in ("HistoryLimit", "backoffLimit", "MODE", "suspend", "uid"):
        assert word not in notes


def test_forbid_skips() -> None:
    [entry] = read(with_spec("concurrencyPolicy: Forbid")).entries
    assert entry.task["overlap"] == "skip"
    assert not any("concurrencyPolicy" in note for note in entry.notes)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("@daily", {"cron": "@daily", "timezone": "UTC"}),
        ("@every 1h30m", {"every": "1h30m"}),
        ("CRON_TZ=Asia/Tokyo 0 6 * * ?", {"cron": "0 6 * * *", "timezone": "Asia/Tokyo"}),
        ("TZ=Asia/Tokyo 0 6 ? * 1", {"cron": "0 6 * * 1", "timezone": "Asia/Tokyo"}),
    ],
)
def test_schedules(schedule: str, expected: dict[str, Any]) -> None:
    [entry] = read(with_schedule(schedule)).entries
    assert entry.task["schedule"] == expected


@pytest.mark.parametrize(
    ("schedule", "days"),
    [
        # Both are restricted, so either matches: a day field such as */10 counts as restricted there.
        ("0 0 */10 * 1", lambda day: day.day in (1, 11, 21, 31) or day.isoweekday() == 1),
        ("0 0 13 * */3", lambda day: day.day == 13 or day.isoweekday() % 7 in (0, 3, 6)),
        # But */1 is all days, and so is a list with * in it: then the other field decides.
        ("0 0 */1 * 1", lambda day: day.isoweekday() == 1),
        ("0 0 13,* * 1", lambda day: day.isoweekday() == 1),
        ("0 0 13 * */1", lambda day: day.day == 13),
        ("0 0 5,*/20 * 1", lambda day: day.day in (1, 5, 21) or day.isoweekday() == 1),
        ("0 0 13 * 5", lambda day: day.day == 13 or day.isoweekday() == 5),
        ("0 0 */10 * ?", lambda day: day.day in (1, 11, 21, 31)),
        ("0 0 ? * 5", lambda day: day.isoweekday() == 5),
    ],
)
def test_days_match_as_they_do_in_kubernetes(schedule: str, days: Any) -> None:
    [entry] = read(with_schedule(schedule)).entries
    cron, at = compile_cron(entry.task["schedule"]["cron"]), NOW - 1
    found = []
    while (fire := cron.next_after(at, "UTC")) is not None and fire < NOW + 90 * 86_400_000:
        found.append(datetime.fromtimestamp(fire / 1000, UTC))
        at = fire
    begin = datetime.fromtimestamp(NOW / 1000, UTC)
    assert found == [day for n in range(90) if days(day := begin + timedelta(days=n))]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (with_schedule("61 * * * *"), ["schedule.cron", "minute"]),
        (with_schedule("@every 1 hour"), ["schedule"]),
        (with_schedule(""), ["spec.schedule", "missing"]),
        (with_spec("timeZone: Europe/Atlantis"), ["Europe/Atlantis"]),
        (with_spec("concurrencyPolicy: Sometimes"), ["Sometimes", "Forbid"]),
        (with_spec("startingDeadlineSeconds: soon"), ["startingDeadlineSeconds", "soon"]),
        (with_spec("suspend: 'yes'"), ["suspend", "yes"]),
        (HELLO.replace("  name: hello\nspec", "  labels: {}\nspec"), ["metadata.name"]),
        (HELLO.split("spec:")[0], ["spec is missing"]),
        (HELLO.split("          containers")[0] + "          containers: []\n", ["containers is empty"]),
        (HELLO.replace("- -c", "- 1"), ["command", "quotes"]),
    ],
)
def test_a_cronjob_that_cannot_be_taken_is_named_with_the_reason(text: str, words: list[str]) -> None:
    reading = read(f"{text}\n---\n{HELLO.replace('name: hello', 'name: good')}")
    assert [entry.task["name"] for entry in reading.entries] == ["default/good"]
    [refusal] = reading.refused
    assert refusal.line == 1
    for word in words:
        assert word in refusal.reason


def test_more_attempts_than_there_can_be_are_told() -> None:
    [entry] = read(
        HELLO.replace("    spec:\n      template", "    spec:\n      backoffLimit: 500\n      template")
    ).entries
    assert entry.task["retry"]["max_attempts"] == 100
    assert any("500" in note for note in entry.notes)


def test_a_list_as_kubectl_prints_it() -> None:
    items = "\n".join(f"- {json.dumps(job)}" for job in map(cronjob, ("a", "b", "a")))
    reading = read(f"apiVersion: v1\nkind: List\nitems:\n{items}\n")
    assert [(entry.line, entry.task["name"]) for entry in reading.entries] == [(4, "default/a"), (5, "default/b")]
    [refusal] = reading.refused
    assert refusal.line == 6
    assert "at line 4" in refusal.reason


def cronjob(name: str) -> dict[str, Any]:
    container = {"name": "c", "image": "i"}
    job = {"template": {"spec": {"containers": [container]}}}
    spec = {"schedule": "@daily", "jobTemplate": {"spec": job}}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name}, "spec": spec}


@pytest.mark.parametrize("text", ["a: [", "schedule: {{ .Values.schedule }}", "a: *b", "!!python/object:os.system {}"])
def test_what_is_no_yaml_is_told(text: str) -> None:
    with pytest.raises(Unreadable, match="no YAML"):
        read(text)


def test_an_id_is_of_namespace_and_name() -> None:
    def id_of(text: str) -> str:
        [entry] = read(text).entries
        found: str = entry.task["id"]
        return found

    assert id_of(HELLO) == id_of(with_schedule("0 1 * * *")) == id_of(f"# moved\n---\n{HELLO}")
    assert len({id_of(HELLO), id_of(FULL), id_of(HELLO.replace("name: hello", "name: hell-o"))}) == 3


def test_a_suspended_one_is_paused_before_it_can_fire(real: str, cli: Run, tmp_path: Path) -> None:
    file = tmp_path / "jobs.yaml"
    file.write_text(FULL + "---\n" + HELLO.replace("* * * * *", "0 5 * * *"))
    assert [row["state"] for row in json.loads(cli("import", "k8s", str(file))[1])["tasks"]] == ["new", "new"]
    code, out, err = cli("import", "k8s", str(file), "--execute")
    assert code == 0
    report, hello = (row["task"]["id"] for row in json.loads(out)["tasks"])
    assert "not carried over" in err
    with Client(real) as client:
        paused, running = client.get_task(report), client.get_task(hello)
        events = [event.type for event in client.events(report).items]
    assert (paused.status, running.status) == ("paused", "scheduled")
    assert paused.pause is not None
    assert paused.pause.note == "suspended in Kubernetes"
    assert paused.schedule == {"cron": "0 2 * * *", "timezone": "Europe/Berlin"}
    assert paused.counts.fired == 0
    assert not any("run" in event.lower() for event in events)
    assert [row["state"] for row in json.loads(cli("import", "k8s", str(file))[1])["tasks"]] == ["there", "there"]


def test_an_import_that_was_broken_off_before_the_pause_goes_on(stub: StubServer, cli: Run, tmp_path: Path) -> None:
    file = tmp_path / "jobs.yaml"
    file.write_text(with_spec("suspend: true"))
    held = {**TASK, "schedule": {"delay": "P36525D"}}
    task_id = read(HELLO).entries[0].task["id"]
    stub.on("POST /api/tasks", (409, {"title": "Conflict", "status": 409}))
    stub.on(f"GET /api/tasks/{task_id}", (200, held))
    stub.on(f"POST /api/tasks/{task_id}/pause", (200, held))
    stub.on(f"PATCH /api/tasks/{task_id}", (200, TASK))
    code, out, _ = cli("import", "k8s", str(file), "--execute")
    assert (code, json.loads(out)["tasks"][0]["state"]) == (0, "made")
    made = [(method, body) for method, path, body, _ in stub.requests if method != "GET"]
    assert made[0][1]["schedule"] == {"delay": "P36525D"}
    assert made[1] == ("POST", {"note": "suspended in Kubernetes"})
    assert made[2] == ("PATCH", {"schedule": {"cron": "* * * * *", "timezone": "UTC"}})
