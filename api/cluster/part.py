"""What a role adds to a process."""

from __future__ import annotations

from abc import ABC, abstractmethod

from taskscheduler.api.health import HealthRegistry
from taskscheduler.api.loops import Loops
from taskscheduler.api.metrics import Metrics


class Part(ABC):
    """A role at work. When the process stops: `refuse`, the end of the loops, `stop`, the handler's end, `close`."""

    @abstractmethod
    async def start(self, loops: Loops) -> None:
        """Begin."""

    @abstractmethod
    def register(self, health: HealthRegistry, metrics: Metrics) -> None:
        """Say how it is."""

    def refuse(self) -> None:  # noqa: B027 - most have nothing that would not end with their loops
        """Take no new work that comes from outside."""

    async def stop(self, grace: float) -> None:  # noqa: B027
        """Let what runs end within `grace` seconds."""

    async def close(self) -> None:  # noqa: B027
        """End the connections."""
