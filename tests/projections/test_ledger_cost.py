"""What a question about fire times costs: rows by the range that it is about, however long the task has lived."""

from __future__ import annotations

from typing import Any

from taskscheduler.domain import messages as msg
from taskscheduler.domain.values import MINUTE
from taskscheduler.projections.memory import MemoryViews
from taskscheduler.projections.projector import Projector
from taskscheduler.projections.queries import Queries
from tests.projections.history import EVERY_MINUTE, START, History


class Counting(MemoryViews):
    """Counts the rows that it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = 0

    async def get(self, *arguments: Any, **named: Any) -> Any:
        self.rows += 1
        return await super().get(*arguments, **named)

    async def scan(self, *arguments: Any, **named: Any) -> Any:
        found = await super().scan(*arguments, **named)
        self.rows += len(found)
        return found


async def asked(fires: int) -> tuple[int, int]:
    """The rows read for a ledger of ten minutes, and for a reason, in the middle of so many fires."""
    history, views = History(), Counting()
    history.create("a", schedule=EVERY_MINUTE)
    for _ in range(fires):
        history.advance(MINUTE)
        history.succeed("a")
    history.do("a", msg.Trigger())
    Projector(views).apply(history.new())
    queries = Queries(views)
    view = await queries.task("a")
    assert view is not None
    middle, views.rows = START + fires // 2 * MINUTE, 0
    found = await queries.ledgers.ledger(view, middle, middle + 10 * MINUTE, history.now)
    assert found is not None
    assert (found.ledger.nominal, found.ledger.fired) == (10, 10)
    ledger, views.rows = views.rows, 0
    why = await queries.whys.why(view, middle, history.now)
    assert why.outcome == "fired"
    return ledger, views.rows


async def test_a_question_costs_by_its_range() -> None:
    few, many = await asked(40), await asked(600)
    assert few[0] == many[0] <= 20
    # The events of a run are looked for by halves.
    assert many[1] <= few[1] + 250
