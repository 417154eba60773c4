"""A generation: all tables of the read models as they were made from one log by one set of rules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from taskscheduler.domain.decision import FOLD_VERSION
from taskscheduler.projections.projector import PROJECTION_VERSION, TABLES
from taskscheduler.projections.tables import Table
from taskscheduler.streams.cassandra.layout import Layout, buckets_of, grams_of

LAYOUT_VERSION = 1
"""Raised whenever the same rows would lie otherwise in Cassandra."""


class Generation(msgspec.Struct, frozen=True):
    """Which log its rows stem from, with how many partitions, and the rules they were made by."""

    number: int
    log_id: str
    partitions: int
    fold_version: int = FOLD_VERSION
    projection_version: int = PROJECTION_VERSION
    layout_version: int = LAYOUT_VERSION

    @property
    def stale(self) -> bool:
        """Whether this release would make other rows."""
        return (self.fold_version, self.projection_version, self.layout_version) != (
            FOLD_VERSION,
            PROJECTION_VERSION,
            LAYOUT_VERSION,
        )


class Layouts:
    """How the tables of a generation lie, with those beside them."""

    def __init__(self, keyspace: str, number: int) -> None:
        def layout(table: Table[Any]) -> Layout:
            return Layout(table, f"{keyspace}.{table.name}_{number}")

        self.of: dict[Table[Any], Layout] = {table: layout(table) for table in TABLES}
        self.buckets = {table: layout(buckets_of(table)) for table in TABLES if table.bucket is not None}
        self.grams = {table: layout(grams_of(table)) for table in TABLES if table.searched is not None}

    def all(self) -> Iterable[Layout]:
        """Every table there is."""
        return (*self.of.values(), *self.buckets.values(), *self.grams.values())
