"""Tasks under limits of every kind, and whether the workers that took them ever had more than may be."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from taskscheduler.domain.limit_definition import Rate
from tests.e2e.holds import Hold, check_rate, holds, most_at_once

RATE = Rate(count=8, per=1_000, burst=3)

SECONDS = (0.02, 0.1, 0.4, 3.0)
"""That attempts take."""

LEASE = 2
"""Seconds: less than some attempts take, so that leases have to be renewed."""


class Limited:
    """Limits whose names nobody else uses, and tasks for two queues under one, some or none of them."""

    def __init__(self, name: str, chance: random.Random) -> None:
        self._name = name
        self._chance = chance
        self.queues = (f"{name}-slow", f"{name}-fast")
        self.put: dict[str, dict[str, Any]] = {
            f"queue:{name}-slow": {"concurrency": 3},
            f"tag:{name}=red": {"concurrency": 2},
            f"tag:{name}=blue": {"rate": {"count": RATE.count, "per": "1s", "burst": RATE.burst}},
        }
        """The body that defines each."""
        self.keys = {f"{name}-a": 1, f"{name}-b": 2}

    def spec(self) -> dict[str, Any]:
        """A task as chance gives it, but for its id."""
        queue = self._chance.choice(self.queues)
        [colour] = self._chance.choices(("red", "blue", "grey"), weights=(3, 3, 4))
        [key] = self._chance.choices((None, *self.keys), weights=(6, 2, 2))
        [seconds] = self._chance.choices(SECONDS, weights=(40, 40, 17, 3))
        return self.task(queue, colour, key, seconds)

    def task(self, queue: str, colour: str, key: str | None, seconds: float) -> dict[str, Any]:
        """A task, but for its id, which says its worker what it is under, and how long to take."""
        under = [f"queue:{queue}", f"tag:{self._name}={colour}", f"key:{key}"]
        spec = {
            "name": self._name,
            "target": {"type": "queue", "queue": queue, "kind": "work"},
            "tags": {self._name: colour},
            "payload": {"under": under, "seconds": seconds},
            "retry": {"max_attempts": 50, "backoff": "fixed", "initial": "10ms", "jitter": 0},
        }
        return spec if key is None else {**spec, "concurrency": {"key": key, "limit": self.keys[key]}}

    def check(self, journal: Iterable[dict[str, Any]]) -> list[Hold]:
        """No limit was ever exceeded, and each was reached: one that is not shows nothing."""
        held = holds(journal)
        most = {name: body["concurrency"] for name, body in self.put.items() if "concurrency" in body}
        most |= {f"key:{key}": limit for key, limit in self.keys.items()}
        reached = {name: most_at_once(held, name) for name in most}
        assert reached == most, f"active at once: {reached}, and allowed: {most}"
        check_rate(held, f"tag:{self._name}=blue", RATE)
        return held
