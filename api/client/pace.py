"""How much work to claim ahead: as much as begins almost at once, so that none waits here that another could begin."""

from taskscheduler.client.claims import MOST_CLAIMS

AHEAD_SECONDS = 0.25
"""What is claimed ahead is to have begun within so long, or a hundredth of the lease."""

FORGETS = 0.05
"""How far an estimate goes down with each handler that was faster."""


class Pace:
    """Learns from how long handlers take. Times are in seconds."""

    def __init__(self, concurrency: int, lease: float) -> None:
        self._concurrency = concurrency
        self._within = min(AHEAD_SECONDS, lease / 100)
        self._each: float | None = None

    def took(self, seconds: float) -> None:
        """Note how long a handler took: one that is slow counts at once, one that is fast little by little."""
        if self._each is None or seconds >= self._each:
            self._each = seconds
        else:
            self._each += (seconds - self._each) * FORGETS

    @property
    def ahead(self) -> int:
        """How many claims to hold beyond those that run. None as long as nothing is known."""
        if self._each is None or self._each > self._within:
            return 0
        return min(MOST_CLAIMS, int(self._concurrency * self._within / max(self._each, 1e-6)))
