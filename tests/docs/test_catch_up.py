"""docs/catch-up.md is true: its requests are taken, what it shows of a task is there, and events are as it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from taskscheduler.api.openapi import COMPONENTS
from taskscheduler.api.schemas.backfill import BACKFILL_OVERLAPS, read_backfill
from taskscheduler.api.schemas.fields import Errors, Fields
from taskscheduler.api.schemas.task import read_update
from taskscheduler.domain import events as ev
from taskscheduler.domain.backfill import LONGEST_AGO, MAX_BACKFILL_RUNS, MOST_BACKFILLED
from taskscheduler.domain.values import DAY

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "catch-up.md").read_text("utf-8")
EXAMPLES = [msgspec.json.decode(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
TAGS = {kind.__struct_config__.tag: kind for kind in ev.Event.__args__}  # type: ignore[attr-defined]


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_examples(example: dict[str, Any]) -> None:
    errors = Errors()
    if "from" in example:
        read_backfill(Fields(example, "", errors))
    elif "schedule" in example:
        read_update(Fields(example, "", errors), 0, lambda _: None, None)
    else:
        [(name, value)] = example.items()
        shown = value if isinstance(value, dict) else value[0]
        assert list(shown) == list(COMPONENTS[{"owed": "Owed", "backfills": "Backfill"}[name]]["properties"])
    errors.check()


def test_examples_are_found() -> None:
    assert len(EXAMPLES) == 4


def test_every_event_it_names_has_the_fields_it_names() -> None:
    rows = re.findall(r"^\| `([a-z.]+\.v1)` \| (.+) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 10
    known = {field for kind in TAGS.values() for field in kind.__struct_fields__}
    for tag, text in rows:
        named = (set(re.findall(r"`([a-z_]+)`", text)) & known) - set(get_args(ev.RunCause))
        assert named <= set(TAGS[tag].__struct_fields__), tag


def test_reasons_and_numbers() -> None:
    concepts = (DOCS / "concepts.md").read_text("utf-8")
    assert all(f"`{reason}`" in concepts for reason in get_args(ev.SkipReason))
    assert all(f"| `{missed}` |" in PAGE for missed in get_args(ev.Missed))
    assert all(f"| `{overlap}` |" in PAGE for overlap in BACKFILL_OVERLAPS)
    for number in (MAX_BACKFILL_RUNS, MOST_BACKFILLED, LONGEST_AGO // DAY):
        assert f"{number:,} " in PAGE
