"""The runs of a task and who holds them, followed through its events: what happens to an attempt happens once."""

from __future__ import annotations

from collections.abc import Sequence

from taskscheduler.domain import events as ev
from taskscheduler.domain import messages as msg
from taskscheduler.domain.definition import Definition
from taskscheduler.domain.state import Task


class Held:
    """An active run: `number` counts its attempts, the rest is of the last one."""

    __slots__ = (
        "claim_by",
        "deadline",
        "due",
        "heartbeat",
        "lease_until",
        "number",
        "released",
        "status",
        "token",
        "until",
    )

    def __init__(self) -> None:
        self.status = "queued"
        self.number = self.released = self.lease_until = self.deadline = 0
        self.token = ""
        self.claim_by = self.until = self.heartbeat = self.due = None  # type: int | None
        """`until` is the deadline of the run; `due` is when the run needs attention."""


class Attempts:
    """`record` raises AssertionError where an attempt is held by two, ends twice, or ends without cause."""

    def __init__(self) -> None:
        self.made: set[str] = set()
        self.active: dict[str, Held] = {}
        self.outcomes: dict[tuple[str, int], str] = {}
        self.ends = {"succeeded": 0, "failed": 0, "cancelled": 0}

    def queued(self, event: ev.RunQueued, definition: Definition) -> None:
        assert event.run_id not in self.made, f"the run {event.run_id} was made twice"
        self.made.add(event.run_id)
        held = self.active[event.run_id] = Held()
        assert event.deadline == (None if definition.deadline is None else event.at + definition.deadline)
        held.until = event.deadline
        self._waits(held, event, definition)

    def requeued(self, event: ev.RunRequeued, definition: Definition) -> None:
        held = self._held(event.run_id, "retrying")
        assert held.due is not None and held.due <= event.at, "tried again before the delay is over"
        held.status = "queued"
        self._waits(held, event, definition)

    @staticmethod
    def _waits(held: Held, event: ev.RunQueued | ev.RunRequeued | ev.AttemptReleased, definition: Definition) -> None:
        patience = definition.queue_timeout
        assert event.claim_by == (None if patience is None else event.at + patience)
        held.claim_by = event.claim_by
        held.due = min((due for due in (held.claim_by, held.until) if due is not None), default=None)

    def run_failed(self, event: ev.RunFailed) -> None:
        held = self.active.get(event.run_id)
        assert held is not None and held.status != "running", f"{event.run_id} has ended, or an attempt of it runs"
        due = held.until if event.reason == "deadline" else held.claim_by
        assert due is not None and due <= event.at, f"{event.run_id} failed before its {event.reason}"
        assert event.reason in ("deadline", "queue_timeout")
        self._end(event.run_id, "failed", "failed")

    def claimed(self, event: ev.AttemptClaimed, definition: Definition) -> None:
        held = self.active.get(event.run_id)
        attempt = f"attempt {event.number} of {event.run_id}"
        assert held is not None and held.status == "queued", f"{attempt} has two claims, or was not to be had"
        assert event.number == held.number + 1, f"{attempt} follows attempt {held.number}"
        assert held.claim_by is None or event.at < held.claim_by, f"{attempt} was claimed after it had waited too long"
        deadline = min(
            event.at + definition.timeout, event.at + definition.timeout if held.until is None else held.until
        )
        assert event.deadline == deadline, f"{attempt} has the deadline {event.deadline}"
        assert event.at < event.lease_until <= event.deadline, f"{attempt} has a lease until {event.lease_until}"
        held.status, held.number, held.token = "running", event.number, event.token_hash
        held.heartbeat = event.heartbeat
        held.lease_until, held.deadline = event.lease_until, event.deadline
        held.due = min(event.lease_until, event.deadline)

    def renewed(self, event: ev.AttemptRenewed) -> None:
        held = self._attempt(event)
        longer = held.lease_until < event.lease_until or event.progress is not None
        assert longer and held.lease_until <= event.lease_until <= held.deadline, "a lease was renewed for nothing"
        assert event.at < held.lease_until, "renewed when it was over"
        held.lease_until = held.due = event.lease_until

    def succeeded(self, event: ev.AttemptSucceeded, commands: Sequence[msg.Command]) -> None:
        held = self._attempt(event)
        assert any(isinstance(c, msg.Complete) and _names(c, event, held) for c in commands), "nobody said it succeeded"
        assert event.at < held.lease_until, "succeeded when the lease was over"
        self._end(event.run_id, "succeeded", "succeeded")

    def failed(self, event: ev.AttemptFailed, definition: Definition, commands: Sequence[msg.Command]) -> None:
        held = self._attempt(event)
        said = [c for c in commands if isinstance(c, msg.Fail | msg.Lose | msg.Release) and _names(c, event, held)]
        match event.outcome:
            case "failed":
                assert any(isinstance(c, msg.Fail) for c in said), "nobody said it failed"
            case "lost":
                told = any(isinstance(c, msg.Lose | msg.Release) for c in said)
                assert told or held.lease_until <= event.at, f"lost before its lease ends at {held.lease_until}"
            case "timed_out" if event.error.type == "HeartbeatTimeout":
                assert held.heartbeat is not None and held.lease_until <= event.at, "timed out while it was heard from"
            case "timed_out":
                assert held.deadline <= event.at, f"timed out before {held.deadline}"
        retry, number = definition.retry, event.number - held.released
        if event.retry_at is None:
            match event.reason:
                case "attempts_exhausted":
                    assert number >= retry.max_attempts, f"given up after {number} of {retry.max_attempts} attempts"
                case "gave_up":
                    fatal = any(isinstance(c, msg.Fail) and not c.retryable for c in said)
                    assert fatal or not retry.takes(event.error.type), "given up too early"
                case "deadline":
                    assert retry.max_elapsed is not None or held.until is not None, "given up for no deadline"
                case reason:
                    raise AssertionError(f"the run failed for {reason}")
            self.outcomes[event.run_id, event.number] = event.outcome
            self._end(event.run_id, event.outcome, "failed")
        else:
            asked = [c.retry_after for c in said if isinstance(c, msg.Fail) and c.retry_after is not None]
            assert number < retry.max_attempts, f"{number} attempts, {retry.max_attempts} allowed, and another follows"
            assert held.until is None or event.retry_at < held.until, "tried again after its deadline"
            wait = event.retry_at - event.at
            assert 0 <= wait <= max([retry.max, *asked]), f"the next attempt waits {wait} ms"
            self.outcomes[event.run_id, event.number] = event.outcome
            held.status, held.due = "retrying", event.retry_at

    def released(self, event: ev.AttemptReleased, definition: Definition, commands: Sequence[msg.Command]) -> None:
        held = self._attempt(event)
        assert any(isinstance(c, msg.Release) and _names(c, event, held) for c in commands), "given back by nobody"
        self.outcomes[event.run_id, event.number] = "released"
        held.released += 1
        held.status = "queued"
        self._waits(held, event, definition)

    def cancelled(self, event: ev.RunCancelled) -> None:
        assert event.run_id in self.active, f"{event.run_id} was cancelled after its end"
        self._end(event.run_id, "cancelled", "cancelled")

    def check(self, state: Task, events: Sequence[ev.Event]) -> None:
        """The state has the same runs, and those just written about stand there as they were written."""
        counts, ends = state.counts, self.ends
        counted = {"succeeded": counts.succeeded, "failed": counts.failed, "cancelled": counts.cancelled}
        assert counted == ends, f"runs ended: {ends}, but counted are {counted}"
        assert len(state.runs) == len(self.active), f"runs {sorted(state.runs)}, but active are {sorted(self.active)}"
        for event in events:
            if (run_id := getattr(event, "run_id", None)) is None or isinstance(event, ev.KeyUsed):
                continue
            held, run = self.active.get(run_id), state.runs.get(run_id)
            assert (held is None) == (run is None), f"whether {run_id} is active is in question"
            if held is not None and run is not None:
                assert (run.status, len(run.attempts)) == (held.status, held.number), f"{run_id} is {run.status}"

    def earliest_due(self) -> int | None:
        """When the first of them needs attention."""
        return min((held.due for held in self.active.values() if held.due is not None), default=None)

    def _held(self, run_id: str, status: str) -> Held:
        held = self.active.get(run_id)
        assert held is not None, f"the run {run_id} is not active"
        assert held.status == status, f"the run {run_id} is {held.status}, not {status}"
        return held

    def _attempt(self, event: ev.AttemptRenewed | ev.AttemptSucceeded | ev.AttemptFailed | ev.AttemptReleased) -> Held:
        held = self._held(event.run_id, "running")
        assert held.number == event.number, f"attempt {event.number} of {event.run_id} is not the one that runs"
        return held

    def _end(self, run_id: str, outcome: str, end: str) -> None:
        held = self.active.pop(run_id)
        if held.number:
            self.outcomes.setdefault((run_id, held.number), outcome)
        self.ends[end] += 1


def _names(
    command: msg.Complete | msg.Fail | msg.Lose | msg.Release,
    event: ev.AttemptSucceeded | ev.AttemptFailed | ev.AttemptReleased,
    held: Held,
) -> bool:
    return (command.run_id, command.number, command.token_hash) == (event.run_id, event.number, held.token)
