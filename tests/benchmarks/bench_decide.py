"""The cost of a decision with 1 and with 1,000 active runs. Run: python tests/benchmarks/bench_decide.py"""

from __future__ import annotations

import time
from collections.abc import Callable

from taskscheduler.domain import messages as msg
from taskscheduler.domain.decide import decide
from taskscheduler.domain.decision import apply
from taskscheduler.domain.definition import Definition, NoopTarget
from taskscheduler.domain.schedule import Every
from taskscheduler.domain.state import Task
from taskscheduler.domain.values import DAY, HOUR

NOW = 1_772_366_400_000
POLICY = msg.Policy()


def busy(runs: int) -> Task:
    """A task with that many runs under way."""
    task = Task("a")
    definition = Definition(name="t", schedule=Every(every=DAY, anchor=0), target=NoopTarget(), timeout=DAY)
    commands: list[msg.Command] = [msg.Create(definition), *[msg.Trigger()] * runs]
    for number, command in enumerate(commands):
        task = apply(task, decide(task, command, msg.Context(NOW, number), POLICY).events, NOW)
    for number, run_id in enumerate(task.runs):
        claim = msg.Claim(run_id, "w", "t", HOUR)
        task = apply(task, decide(task, claim, msg.Context(NOW, number), POLICY).events, NOW)
    return task


def microseconds(step: Callable[[], object], at_least: float = 0.5) -> float:
    """The time of one call, from calls repeated for `at_least` seconds."""
    calls, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < at_least:
        for _ in range(10):
            step()
        calls += 10
    return took / calls * 1e6


def main() -> None:
    """Prints a line for each command."""
    few, many = busy(1), busy(1_000)
    for name in ("complete", "renew", "trigger", "wake"):
        costs = []
        for task in (few, many):
            run_id = next(iter(task.runs))
            command = {
                "complete": msg.Complete(run_id, 1, "t"),
                "renew": msg.Renew(run_id, 1, "t"),
                "trigger": msg.Trigger() if len(task.runs) < 1_000 else msg.Pause(),
                "wake": msg.Wake(),
            }[name]
            context = msg.Context(NOW + HOUR - 1, 1)
            costs.append(microseconds(lambda t=task, c=command, x=context: decide(t, c, x, POLICY)))  # type: ignore[misc]
        print(
            f"{name:10} {costs[0]:8.1f} µs with 1 active run {costs[1]:8.1f} µs with 1,000: x{costs[1] / costs[0]:.1f}"
        )


if __name__ == "__main__":
    main()
