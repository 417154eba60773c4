"""What a role adds to a process."""

from __future__ import annotations

from typing import Protocol

from taskscheduler.api.health import HealthRegistry
from taskscheduler.api.loops import Loops
from taskscheduler.api.metrics import Metrics


class Part(Protocol):
    """A role at work. `stop` takes no new work and lets what runs end within `grace` seconds; then comes `close`."""

    async def start(self, loops: Loops) -> None: ...
    def register(self, health: HealthRegistry, metrics: Metrics) -> None: ...
    def refuse(self) -> None: ...
    async def stop(self, grace: float) -> None: ...
    async def close(self) -> None: ...
