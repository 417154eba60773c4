"""Compares what was made of a log with what the log says: states, read models, task by task."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import msgspec

from taskscheduler.domain.entities import id_of
from taskscheduler.streams.replay.between import between
from taskscheduler.streams.replay.folding import Folded, Kind, Place, Stop, fold_share, log_of, touched
from taskscheduler.streams.replay.fresh_rows import add_shared
from taskscheduler.streams.replay.jobs import Jobs
from taskscheduler.streams.replay.report import Compared, Difference, Report, absent, compared, failed
from taskscheduler.streams.replay.source import Share
from taskscheduler.streams.replay.steps import named
from taskscheduler.streams.replay.sums import NOBODY, Sums, different, parts
from taskscheduler.streams.replay.timers import Asked
from taskscheduler.streams.replay.verify_timers import compare

SHARE = 1_000_000
"""Records that are folded together at most: what they make is held in memory."""

LOOKS = 4
"""How often tasks are looked at that change while they are looked at."""

NAMED = 10_000
"""Tasks that are looked at once more, part by part."""

NOTHING_FOLDED = "nothing of the log has been folded there yet"


class Look(msgspec.Struct, frozen=True):
    """What one side holds: the sums of its rows at `positions`, by partition.

    `names` are the ids of the records there, as far as the side knows them. Where the side went on meanwhile, some of
    what it holds is newer, up to `until`. `wrong` says why it cannot be compared, `absent` why there is nothing to
    compare.
    """

    kind: Kind
    positions: Mapping[int, int] = {}
    sums: Mapping[str, int] = {}
    names: Mapping[int, str] = {}
    until: Mapping[int, int] = {}
    wrong: str | None = None
    absent: str | None = None


class Side(Protocol):
    """Something that was made of the log. `name` tells people which."""

    @property
    def name(self) -> str: ...
    def look(self, jobs: Jobs, only: Collection[str] | None) -> Look:
        """All of it, or some tasks part by part."""
        ...


def verify(
    place: Place,
    sides: Sequence[Side],
    processes: int,
    *,
    timers: Asked | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Report:
    """Fold the log afresh and compare every side with it, and who is asked for `timers`.

    Must not be called where an event loop runs. Raises DataRefused, KafkaRefused, LogUnavailable, ViewsUnavailable,
    CassandraRefused; UnknownEvent for what a newer release wrote.
    """
    with Jobs(processes) as jobs:
        return _Verifier(place, sides, timers, jobs, say).report()


class _Verifier:
    def __init__(
        self, place: Place, sides: Sequence[Side], timers: Asked | None, jobs: Jobs, say: Callable[[str], None]
    ) -> None:
        self._place = place
        self._sides = sides
        self._timers = timers
        self._jobs = jobs
        self._say = say
        self._started = time.monotonic()
        self._records = 0

    def report(self) -> Report:
        looks = self._look(self._sides, None)
        log_id, ends = log_of(self._place)
        wrong = {name: why for name, look in looks.items() if (why := look.wrong or _ahead(look, ends))}
        missing = {name: why for name, look in looks.items() if name not in wrong and (why := _absent(look))}
        good = {name: look for name, look in looks.items() if name not in wrong and name not in missing}
        asked = {} if self._timers is None else {self._timers.name: Look("timers", ends)}
        fresh, diverged = self._fold(good | asked, None)
        wrong |= diverged
        open_ones = {name: different(fresh[name], look.sums) for name, look in good.items() if name not in wrong}
        found, changing = self._look_again(open_ones, good)
        told = []
        for name, look in looks.items():
            if name in wrong:
                told.append(failed(name, look.positions, wrong[name]))
            elif name in missing:
                told.append(absent(name, look.positions, missing[name]))
            else:
                told.append(_compared(name, look, ends, found.get(name, []), changing.get(name, 0)))
        differences = [one for name in looks for one in found.get(name, [])]
        if self._timers is not None:
            one, more = self._ask(self._timers, fresh[self._timers.name], ends)
            told.append(one)
            differences += more
        seconds = round(time.monotonic() - self._started, 3)
        return Report(log_id, self._records, seconds, told, differences)

    def _ask(
        self, timers: Asked, fresh: Mapping[str, int], ends: Mapping[int, int]
    ) -> tuple[Compared, list[Difference]]:
        if not fresh:
            return absent(timers.name, ends, "the log holds no record yet"), []
        self._say(f"asking for the timers of {len(fresh):,} tasks")
        return compare(self._place, timers, self._jobs, fresh, ends)

    def _look_again(
        self, open_ones: Mapping[str, Sequence[str]], looks: Mapping[str, Look]
    ) -> tuple[dict[str, list[Difference]], dict[str, int]]:
        """The differences, part by part, of tasks that stand still; and how many never did."""
        found: dict[str, list[Difference]] = {}
        left: dict[str, Sequence[str]] = {name: tasks for name, tasks in open_ones.items() if tasks}
        for _ in range(LOOKS - 1):
            if not left:
                break
            only = sorted({task for tasks in left.values() for task in tasks})[:NAMED]
            self._say(f"looking again at {len(only)} tasks that differ")
            again = self._look([side for side in self._sides if side.name in left], only)
            fresh, _ = self._fold(again, only)
            for name, tasks in list(left.items()):
                moved = self._moved(again[name])
                told = parts(self._otherwise(fresh[name], again[name], moved))
                steady = not looks[name].until
                found.setdefault(name, []).extend(
                    Difference(task or None, name, *named(task, told.get(task, []), fresh[name], again[name].sums))
                    for task in tasks
                    if steady or (task in told and task not in moved)
                )
                left[name] = [] if steady else [task for task in tasks if task in told and task in moved]
            left = {name: tasks for name, tasks in left.items() if tasks}
        return found, {name: len(tasks) for name, tasks in left.items()}

    def _look(self, sides: Sequence[Side], only: Sequence[str] | None) -> dict[str, Look]:
        if self._jobs.processes == 1:
            return {side.name: side.look(self._jobs, only) for side in sides}
        with ThreadPoolExecutor(max(1, len(sides))) as together:
            looks = together.map(lambda side: side.look(self._jobs, only), sides)
            return {side.name: look for side, look in zip(sides, looks, strict=True)}

    def _moved(self, look: Look) -> set[str]:
        """The tasks that changed while they were looked at."""
        spans = [(p, at, to) for p, at in look.positions.items() if (to := look.until.get(p, at)) > at]
        streams = self._jobs.all(touched, [(self._place, *span) for span in spans])
        moved = {id_of(stream) for some in streams for stream in some}
        return moved | {NOBODY} if moved else moved

    def _otherwise(self, fresh: Mapping[str, int], look: Look, moved: set[str]) -> list[str]:
        """The parts that are as the log says at no position that may have been looked at."""
        otherwise = different(fresh, look.sums)
        tasks = parts(otherwise).keys() & moved - {NOBODY}
        if not tasks:
            return otherwise
        spans = [(self._place, p, at, look.until.get(p, at), tasks) for p, at in look.positions.items()]
        shown = {name: sums for some in self._jobs.all(between, spans) for name, sums in some.items()}
        return [name for name in otherwise if look.sums.get(name, 0) not in shown.get(name, ())]

    def _fold(
        self, looks: Mapping[str, Look], only: Sequence[str] | None
    ) -> tuple[dict[str, Mapping[str, int]], dict[str, str]]:
        """What each side should hold; and what is wrong with those that were made of another log."""
        stops: dict[int, set[Stop]] = {}
        for look in looks.values():
            for partition, position in look.positions.items():
                stops.setdefault(partition, set()).add(Stop(position, look.kind))
        work = [
            (self._place, partition, share, sorted(wanted), only)
            for partition, wanted in sorted(stops.items())
            for share in self._shares(max(wanted).position, len(stops))
        ]
        if only is None and work:
            total = sum(max(wanted).position for wanted in stops.values())
            self._say(f"folding {total:,} records")
            self._records = total
        shares: dict[int, list[Folded]] = {}
        for (_, partition, *_), folded in zip(work, self._jobs.all(fold_share, work), strict=True):
            shares.setdefault(partition, []).append(folded)
        ordered = {partition: sorted(wanted) for partition, wanted in stops.items()}
        fresh = {name: _expected(look, shares, ordered, only) for name, look in looks.items()}
        wrong = {name: why for name, look in looks.items() if (why := _diverged(look, shares))}
        return fresh, wrong

    def _shares(self, records: int, partitions: int) -> list[Share]:
        count = max(1, -(-records // SHARE))
        if records > 1_000:
            # As many as there are processes, where the partitions are fewer.
            count = max(count, -(-self._jobs.processes // partitions))
        return [Share(number, count) for number in range(count)]


def _expected(
    look: Look, shares: Mapping[int, Sequence[Folded]], stops: Mapping[int, Sequence[Stop]], only: Sequence[str] | None
) -> Mapping[str, int]:
    sums = Sums(only)
    mine = {partition: shares[partition] for partition in look.positions}
    for partition, position in look.positions.items():
        at = stops[partition].index(Stop(position, look.kind))
        sums.merge(folded.sums[at] for folded in shares[partition])
    if look.kind == "rows":
        add_shared(
            sums,
            [(partition, folded.counters) for partition, some in mine.items() for folded in some],
            [folded.shared for some in mine.values() for folded in some],
        )
    return sums.of


def _absent(look: Look) -> str | None:
    # Whatever lies there although nothing was folded is compared: then the log says that it should not.
    if look.absent is None and not look.sums and not any(look.positions.values()):
        return NOTHING_FOLDED
    return look.absent


def _ahead(look: Look, ends: Mapping[int, int]) -> str | None:
    for partition, position in look.positions.items():
        if position > ends.get(partition, 0):
            return (
                f"it is folded up to position {position} of partition {partition}, and the log ends at "
                f"{ends.get(partition, 0)}: it was made of another log, or the log was cut"
            )
    return None


def _diverged(look: Look, shares: Mapping[int, Sequence[Folded]]) -> str | None:
    for partition, name in look.names.items():
        position = look.positions[partition]
        stands = next((n for folded in shares[partition] if (n := folded.names.get(position)) is not None), "")
        if position and stands != name:
            return (
                f"the log holds {stands or 'nothing'} at position {position} of partition {partition}, where it was "
                f"folded from {name or 'nothing'}: it was made of another log"
            )
    return None


def _compared(name: str, look: Look, ends: Mapping[int, int], found: Sequence[Difference], changing: int) -> Compared:
    behind = sum(max(0, ends.get(partition, 0) - position) for partition, position in look.positions.items())
    tasks = len(look.sums.keys() - {NOBODY})
    return compared(name, look.positions, tasks, len(found), changing=changing, behind=behind)
