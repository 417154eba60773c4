"""Kubernetes CronJobs (batch/v1), as the API reference of Kubernetes describes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from taskscheduler.api.durations import LONGEST, format_duration
from taskscheduler.api.migration.entries import Entry, Options, Reading, Unfit, Unreadable, label, stable_id
from taskscheduler.api.schemas.policies import MOST_ATTEMPTS
from taskscheduler.domain.cron_parse import split_zone
from taskscheduler.domain.values import SECOND, Instant

BACKOFF_LIMIT = 6
"""Where a job names none."""

_EVERY = re.compile(r"@every\s+(\S+)")
_SUSPENDED = "suspended in Kubernetes"
_OVERLAP = {"Allow": "allow_all", "Forbid": "skip", "Replace": "cancel_other"}


class Manifest:
    """One mapping of a manifest, read member by member, so that what nobody asked for can be told."""

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, dict):
            raise Unfit(f"{path} is missing, or no mapping")
        self._value = value
        self._left = set(map(str, value))
        self.path = path

    def take(self, name: str, kind: type | tuple[type, ...]) -> Any:
        """The member, None when it is absent. Raises Unfit when it is of another kind."""
        self._left.discard(name)
        value = self._value.get(name)
        if value is None or (isinstance(value, kind) and (kind is bool or not isinstance(value, bool))):
            return value
        raise Unfit(f"{self.path}.{name}: {value!r} cannot be used")

    def inside(self, name: str) -> Manifest:
        """A member that has to be a mapping. Raises Unfit."""
        self._left.discard(name)
        return Manifest(self._value.get(name), f"{self.path}.{name}")

    def left(self) -> Iterator[str]:
        """The paths of what was not taken."""
        for name in sorted(self._left):
            yield f"{self.path}.{name}"


def read_cronjobs(text: str, options: Options, now: Instant) -> Reading:
    """Every CronJob of the file as a task, or refused with the reason. Raises Unreadable when it is no YAML."""
    reading = Reading(now)
    others: list[str] = []
    for line, document in _documents(text):
        kind = document.get("kind") if isinstance(document, dict) else None
        if kind != "CronJob":
            others.append(f"line {line}: {kind or 'no object'}")
            continue
        metadata = document.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        name = f"{metadata.get('namespace') or 'default'}/{metadata.get('name') or '?'}"
        try:
            reading.take(_entry(line, name, document, options))
        except Unfit as error:
            reading.refuse(line, name, str(error))
    if others:
        reading.notes.append(f"only CronJobs become tasks; left alone: {', '.join(others)}")
    return reading


def _documents(text: str) -> Iterator[tuple[int, Any]]:
    """Each document, or each item of a List, with the line where it begins."""
    loader = yaml.SafeLoader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            whole = None if node is None else loader.construct_document(node)
            if node is None or whole is None:
                continue
            if isinstance(whole, dict) and whole.get("kind") == "List" and isinstance(whole.get("items"), list):
                items = next(value for key, value in node.value if key.value == "items")
                for item, value in zip(items.value, whole["items"], strict=True):
                    yield item.start_mark.line + 1, value
            else:
                yield node.start_mark.line + 1, whole
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        hint = " (render templates first)" if "{{" in text else ""
        raise Unreadable(f"it is no YAML: {error}{hint}") from error
    finally:
        loader.dispose()


def _entry(line: int, name: str, document: dict[str, Any], options: Options) -> Entry:
    if name.endswith("/?"):
        raise Unfit("metadata.name is missing")
    spec = Manifest(document.get("spec"), "spec")
    outer = spec.inside("jobTemplate")
    job = outer.inside("spec")
    template = job.inside("template")
    pod = template.inside("spec")
    suspended = spec.take("suspend", bool)
    schedule = _schedule(spec, options)
    policy = spec.take("concurrencyPolicy", str) or "Allow"
    if policy not in _OVERLAP:
        raise Unfit(f"spec.concurrencyPolicy: {policy!r} is not one of {', '.join(_OVERLAP)}")
    notes: list[str] = []
    deadline = spec.take("startingDeadlineSeconds", int)
    window = LONGEST if deadline is None else deadline * SECOND
    retry = _retry(job, notes)
    timeout = options.timeout
    if (longest := job.take("activeDeadlineSeconds", int)) is not None:
        timeout = f"{longest}s"
        notes.append(
            "activeDeadlineSeconds counts from the start of the Job there; here from when the run is made (deadline), "
            "so its wait for a worker is part of it"
        )
    payload = {"cronjob": name, **_container(pod, notes)}
    # What becomes of the log of old jobs is the server's own business, and history is kept anyway.
    for history in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        spec.take(history, int)
    left = [path for part in (spec, outer, job, template, pod) for path in part.left()]
    if document["metadata"].get("labels"):
        left.insert(0, "metadata.labels")
    if left:
        notes.append(f"not carried over: {', '.join(left)}")
    task = {
        "id": stable_id("k8s", name, name),
        "name": label(name),
        "schedule": schedule,
        "target": {"type": "queue", "queue": options.queue, "kind": options.kind},
        "payload": payload,
        "retry": retry,
        "timeout": timeout,
        **({} if longest is None else {"deadline": timeout}),
        "overlap": _OVERLAP[policy],
        "catch_up": {"policy": "latest", "window": format_duration(window)},
        "tags": {"imported_from": "kubernetes"},
    }
    return Entry(line, name, task, _SUSPENDED if suspended else None, tuple(notes))


def _schedule(spec: Manifest, options: Options) -> dict[str, Any]:
    """robfig/cron reads these: `?` is `*`, and a day field such as */2 counts as set, so either day matches."""
    text = spec.take("schedule", str)
    if not text:
        raise Unfit("spec.schedule is missing")
    zone = spec.take("timeZone", str) or options.timezone or "UTC"
    prefix, text = split_zone(text)
    zone = prefix or zone
    if (match := _EVERY.fullmatch(text.strip())) is not None:
        return {"every": match[1]}
    fields = text.replace("?", "*").split()
    if len(fields) == 5:
        fields[2], fields[4] = _days(fields[2]), _days(fields[4])
        if "*" not in (fields[2], fields[4]):
            fields[2], fields[4] = fields[2].replace("*", "1-31"), fields[4].replace("*", "0-6")
    return {"cron": " ".join(fields), "timezone": zone}


def _days(field: str) -> str:
    """A list that holds all days does not count as set either."""
    return "*" if {"*", "*/1"} & set(field.split(",")) else field


def _retry(job: Manifest, notes: list[str]) -> dict[str, Any]:
    """Jobs are tried again after 10 s, 20 s, 40 s ... up to six minutes."""
    limit = job.take("backoffLimit", int)
    attempts = 1 + (BACKOFF_LIMIT if limit is None else limit)
    if attempts > MOST_ATTEMPTS:
        notes.append(f"backoffLimit {limit}: a run is tried {MOST_ATTEMPTS} times at most")
        attempts = MOST_ATTEMPTS
    return {"max_attempts": attempts, "backoff": "exponential", "initial": "10s", "multiplier": 2, "max": "6m"}


def _container(pod: Manifest, notes: list[str]) -> dict[str, Any]:
    """What the first container runs. The fields are named as there: `command` replaces the image's entrypoint."""
    containers = pod.take("containers", list) or []
    pod.take("restartPolicy", str)
    if not containers:
        raise Unfit("spec.jobTemplate.spec.template.spec.containers is empty")
    if len(containers) > 1:
        notes.append(f"only the first of {len(containers)} containers is carried over")
    first = Manifest(containers[0], "containers[0]")
    first.take("name", str)
    payload: dict[str, Any] = {"image": first.take("image", str)}
    for words in ("command", "args"):
        if (given := first.take(words, list)) is not None:
            if not all(isinstance(word, str) for word in given):
                raise Unfit(f"containers[0].{words}: every word has to be text, in quotes if it looks like a number")
            payload[words] = given
    environment: dict[str, str] = {}
    for variable in first.take("env", list) or []:
        one = Manifest(variable, "containers[0].env")
        name, value = one.take("name", str), one.take("value", str)
        if value is None and any(one.left()):
            notes.append(f"the value of the variable {name} is not in the manifest, and not carried over")
        else:
            environment[name] = value or ""
    if environment:
        payload["environment"] = environment
    if left := list(first.left()):
        notes.append(f"not carried over: {', '.join(left)}")
    return payload
