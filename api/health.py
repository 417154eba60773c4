"""How the process is: checks by name, and what probes make of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

Status: TypeAlias = Literal["UP", "DOWN", "OUT_OF_SERVICE", "UNKNOWN"]
_WORST_FIRST: tuple[Status, ...] = ("DOWN", "OUT_OF_SERVICE", "UP", "UNKNOWN")
LEAST_FREE_BYTES = 10 * 1024 * 1024


class Component(msgspec.Struct, frozen=True):
    """How one part is; `details` are for people."""

    status: Status
    details: dict[str, Any] | UnsetType = UNSET


class Health(msgspec.Struct, frozen=True):
    """How the whole is: the worst of its components."""

    status: Status
    components: dict[str, Component] | UnsetType = UNSET
    groups: list[str] | UnsetType = UNSET


Check: TypeAlias = Callable[[], Component]


def up(**details: Any) -> Component:
    """A part that is well."""
    return Component("UP", details or UNSET)


def down(**details: Any) -> Component:
    """A part that does not work."""
    return Component("DOWN", details or UNSET)


class HealthRegistry:
    """The checks of a process. It starts as not ready; `accept` and `refuse` say whether it takes requests."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}
        self._needed: set[str] = set()
        self._refusing: str | None = "starting"

    def register(self, name: str, check: Check, *, needed: bool = True) -> None:
        """Add a check; it must not wait. While one that is needed is not UP, the process is not ready."""
        self._checks[name] = check
        if needed:
            self._needed.add(name)

    def accept(self) -> None:
        """The start is over: ready as long as what is needed is well."""
        self._refusing = None

    def refuse(self, reason: str) -> None:
        """Not ready from now on, such as while stopping."""
        self._refusing = reason

    @property
    def ready(self) -> bool:
        """Whether requests should come here."""
        return self.readiness().status == "UP"

    def health(self) -> Health:
        """Everything there is to know."""
        components = {name: self._run(name) for name in self._checks}
        components["livenessState"] = up()
        components["readinessState"] = self._state(components)
        return Health(_worst(components), components, ["liveness", "readiness"])

    def liveness(self) -> Health:
        """Whether the process is worth keeping: a part that does not work is no reason to restart it."""
        return Health("UP")

    def readiness(self) -> Health:
        """Whether requests should come here; if not, with the parts that stand in the way."""
        components = {name: self._run(name) for name in self._checks if name in self._needed}
        state = self._state(components)
        if state.status == "UP":
            return Health("UP")
        failing = {name: one for name, one in components.items() if one.status != "UP"}
        return Health("OUT_OF_SERVICE", {**failing, "readinessState": state})

    def component(self, name: str) -> Component | None:
        """One part; None when there is none of that name."""
        if name in self._checks:
            return self._run(name)
        health = self.health().components
        return None if isinstance(health, UnsetType) else health.get(name)

    def _state(self, components: dict[str, Component]) -> Component:
        if self._refusing is not None:
            return Component("OUT_OF_SERVICE", {"reason": self._refusing})
        failing = sorted(name for name in self._needed if components[name].status != "UP")
        if failing:
            return Component("OUT_OF_SERVICE", {"reason": f"{', '.join(failing)} not well"})
        return up()

    def _run(self, name: str) -> Component:
        try:
            return self._checks[name]()
        except Exception as error:
            return down(error=f"{type(error).__name__}: {error}")


def disk_space(path: Path, least_free: int = LEAST_FREE_BYTES) -> Check:
    """A check that the file system of `path` has more than `least_free` bytes left."""

    def check() -> Component:
        exists = path.exists()
        nearest = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
        usage = shutil.disk_usage(nearest)
        status: Status = "UP" if usage.free > least_free else "DOWN"
        details = {
            "total": usage.total,
            "free": usage.free,
            "threshold": least_free,
            "path": str(path.absolute()),
            "exists": exists,
        }
        return Component(status, details)

    return check


def _worst(components: dict[str, Component]) -> Status:
    found = {component.status for component in components.values()}
    return next((status for status in _WORST_FIRST if status in found), "UNKNOWN")
