"""Beat schedules in Python, which is parsed and never executed, and in JSON."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import msgspec

from taskscheduler.api.migration.celery import CRONTAB_FIELDS, Beat, BeatEntry, Crontab
from taskscheduler.api.migration.entries import Unfit, Unreadable

_SCHEDULES = ("beat_schedule", "CELERY_BEAT_SCHEDULE", "CELERYBEAT_SCHEDULE")
_ZONES = ("timezone", "CELERY_TIMEZONE")
_SPANS = ("days", "seconds", "microseconds", "milliseconds", "minutes", "hours", "weeks")
"""In the order in which timedelta takes them."""

MOST_NUMBERS = 60
"""No field of a crontab has more."""

_SUMS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def from_json(text: str) -> Beat:
    """`{"beat_schedule": {name: entry}}`, or the entries alone. Raises Unreadable.

    A schedule is a number of seconds, or an object with the fields of crontab or of timedelta, such as
    `{"minute": "0", "hour": 2}` and `{"minutes": 5}`; also with the `__type__` that RedBeat writes.
    """
    try:
        whole = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unreadable(f"it is no JSON: {error}") from error
    found = next((whole[name] for name in _SCHEDULES if name in whole), whole) if isinstance(whole, dict) else None
    if not isinstance(found, dict):
        raise Unreadable("it holds no beat_schedule, an object with an entry under each name")
    zone = next((whole[name] for name in _ZONES if isinstance(whole.get(name), str)), None) if found != whole else None
    beat = Beat([], [], zone)
    for name, entry in found.items():
        try:
            if not isinstance(entry, dict):
                raise Unfit("an entry is an object with task and schedule")
            members = dict(entry)
            beat.entries.append(BeatEntry(None, name, _json_schedule(members.pop("schedule", None)), members))
        except Unfit as error:
            beat.unread.append((None, name, str(error)))
    return beat


def _json_schedule(value: Any) -> Crontab | timedelta | float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if isinstance(value, dict):
        fields = {name: one for name, one in value.items() if name not in ("__type__", "relative")}
        if set(fields) == {"every"} and isinstance(fields["every"], int | float):
            return float(fields["every"])
        if fields and set(fields) <= set(CRONTAB_FIELDS):
            return Crontab(**fields)
        if fields and set(fields) <= set(_SPANS):
            return _span((), fields)
    raise Unfit("schedule: write seconds, or an object with the fields of crontab or of timedelta")


def from_python(text: str) -> Beat:
    """Every `beat_schedule = {...}` (or its older names) that the source writes out. Raises Unreadable."""
    try:
        return _read_module(ast.parse(text))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Unreadable(f"it is no Python: {error}") from error


def _read_module(module: ast.Module) -> Beat:
    beat, settings = Beat([], [], None), list(_settings(module))
    schedules = [value for name, value in settings if name in _SCHEDULES]
    for value in schedules:
        _read_schedule(value, beat)
    # What an entry passes to its task under such a name is not the zone of the file.
    inside = {id(node) for value in schedules for node in ast.walk(value)}
    zones = [
        value.value
        for name, value in settings
        if name in _ZONES
        and isinstance(value, ast.Constant)
        and isinstance(value.value, str)
        and id(value) not in inside
    ]
    for call in _calls(module, "add_periodic_task"):
        reason = "add_periodic_task is done when the worker starts; write the entry into beat_schedule"
        beat.unread.append((call.lineno, _short(call), reason))
    if not beat.entries and not beat.unread:
        raise Unreadable("it assigns no beat_schedule")
    return beat._replace(timezone=zones[0] if zones else None)


def _settings(module: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Whatever is given to a name: assigned to it, passed under it, or standing under it in a dict."""
    for node in ast.walk(module):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield from _assigned(target, node.value)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield from _assigned(node.target, node.value)
        elif isinstance(node, ast.keyword) and node.arg is not None:
            yield node.arg, node.value
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield key.value, value
        elif isinstance(node, ast.Call) and _last_name(node.func) == "update":
            inner = node.func.value if isinstance(node.func, ast.Attribute) else node.func
            for argument in node.args:
                yield _last_name(inner), argument


def _assigned(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(target, ast.Subscript):
        if isinstance(target.slice, ast.Constant) and target.slice.value in _SCHEDULES:
            yield target.slice.value, value
        elif _last_name(target.value) in _SCHEDULES:
            yield _last_name(target.value), ast.copy_location(ast.Dict([target.slice], [value]), value)
    else:
        yield _last_name(target), value


def _calls(module: ast.Module, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and _last_name(node.func) == name:
            yield node


def _read_schedule(value: ast.expr, beat: Beat) -> None:
    if not isinstance(value, ast.Dict):
        beat.unread.append((value.lineno, _short(value), "only a dict that is written out can be read"))
        return
    for key, entry in zip(value.keys, value.values, strict=True):
        if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
            shown = "**" + _short(entry) if key is None else _short(key)
            beat.unread.append((entry.lineno, shown, "only entries whose name is written out can be read"))
            continue
        try:
            beat.entries.append(_entry(key.lineno, key.value, entry))
        except Unfit as error:
            beat.unread.append((key.lineno, key.value, str(error)))


def _entry(line: int, name: str, entry: ast.expr) -> BeatEntry:
    if not isinstance(entry, ast.Dict):
        raise Unfit("only an entry that is a dict, written out, can be read")
    members: dict[str, Any] = {}
    schedule: Crontab | timedelta | float | None = None
    for key, value in zip(entry.keys, entry.values, strict=True):
        if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
            raise Unfit("only members whose names are written out can be read")
        if key.value == "schedule":
            schedule = _python_schedule(value)
        else:
            members[key.value] = _literal(value, key.value)
    if schedule is None:
        raise Unfit("it has no schedule")
    return BeatEntry(line, name, schedule, members)


def _python_schedule(value: ast.expr) -> Crontab | timedelta | float:
    if (number := _number(value)) is not None:
        return number
    if not isinstance(value, ast.Call):
        raise Unfit(f"schedule: {_short(value)} is neither a number, crontab(...) nor timedelta(...)")
    name = _last_name(value.func)
    if any(isinstance(argument, ast.Starred) for argument in value.args) or any(not one.arg for one in value.keywords):
        raise Unfit(f"schedule: {_short(value)}: only arguments that are written out can be read")
    named = {str(one.arg): one.value for one in value.keywords}
    if name == "crontab":
        if unknown := [given for given in named if given not in CRONTAB_FIELDS]:
            raise Unfit(f"schedule: crontab's {', '.join(unknown)} cannot be carried over")
        if len(value.args) > 2:
            raise Unfit(
                f"schedule: {_short(value)}: name the arguments, since releases of Celery differ in their order"
            )
        given = {**dict(zip(CRONTAB_FIELDS, value.args, strict=False)), **named}
        return Crontab(**{field: _values(one, f"crontab's {field}") for field, one in given.items()})
    if name == "timedelta":
        numbers = {key: _needed(one) for key, one in named.items()}
        return _span(tuple(map(_needed, value.args)), numbers)
    if name == "schedule":
        inner = value.args[0] if value.args else named.get("run_every")
        if inner is not None:
            return _python_schedule(inner)
    raise Unfit(f"schedule: {name or _short(value)} is neither a number, crontab(...) nor timedelta(...)")


def _span(ordered: tuple[float, ...], named: Mapping[str, Any]) -> timedelta:
    try:
        return timedelta(*ordered, **named)
    except (TypeError, OverflowError) as error:
        raise Unfit(f"schedule: timedelta: {error}") from error


def _values(value: ast.expr, what: str) -> Any:
    if isinstance(value, ast.Call) and _last_name(value.func) == "range" and not value.keywords:
        try:
            numbers = range(*(int(_needed(argument)) for argument in value.args))
        except (TypeError, ValueError) as error:
            raise Unfit(f"{what}: {error}") from error
        if numbers[MOST_NUMBERS:]:
            raise Unfit(f"{what}: {_short(value)} names more than there are")
        return list(numbers)
    return _literal(value, what)


def _literal(value: ast.expr, what: str) -> Any:
    if (number := _number(value)) is not None:
        return number
    try:
        return ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise Unfit(f"{what}: {_short(value)} is not written out, and nothing of the file is executed") from error


def _needed(value: ast.expr) -> float:
    if (number := _number(value)) is None:
        raise Unfit(f"schedule: {_short(value)} is not a number that is written out")
    return number


def _number(value: ast.expr) -> float | None:
    """A number, or a sum or product of numbers such as 60 * 5."""
    if isinstance(value, ast.Constant):
        return value.value if isinstance(value.value, int | float) and not isinstance(value.value, bool) else None
    if isinstance(value, ast.BinOp) and (work := _SUMS.get(type(value.op))) is not None:
        left, right = _number(value.left), _number(value.right)
        try:
            return None if left is None or right is None else work(left, right)
        except (ArithmeticError, ValueError):
            return None
    return None


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 60 else f"{text[:60]}…"
