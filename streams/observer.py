"""What follows a replica: everything that is derived from accepted records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from taskscheduler.domain.decision import AnyAccepted


class Observer(Protocol):
    """Sees accepted records in order, at least once each."""

    def apply(self, accepted: Sequence[AnyAccepted]) -> None:
        """Take in some records. Must not raise and must not wait."""
        ...
