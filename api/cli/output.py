"""What commands print: tables for people, JSON and YAML for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

import msgspec

from taskscheduler.api.cli.errors import printable
from taskscheduler.api.durations import format_duration

Format: TypeAlias = Literal["table", "json", "jsonl", "yaml"]
Columns: TypeAlias = Mapping[str, Callable[[Any], object]]

WIDE = 10_000


def format_of(chosen: Format | None) -> Format:
    """The format that was asked for; else a table on a terminal and JSON anywhere else."""
    return chosen or ("table" if sys.stdout.isatty() else "json")


def show(value: Any, fields: Columns, chosen: Format | None) -> None:
    """Print one thing; a table has a line for each field that is not empty."""
    if (format := format_of(chosen)) != "table":
        _write(_encoded(value, format))
        return
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, read in fields.items():
        if (text := cell(read(value))) != "":
            table.add_row(name, _plain(text))
    _print(table)


def show_all(values: Iterable[Any], columns: Columns, chosen: Format | None) -> None:
    """Print many things; `jsonl` prints each as it comes."""
    format = format_of(chosen)
    if format == "jsonl":
        for value in values:
            _write(_encoded(value, "jsonl"))
        return
    found = list(values)
    if format != "table":
        _write(_encoded(found, format))
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    for value in found:
        table.add_row(*(_plain(cell(read(value))) for read in columns.values()))
    _print(table)


def say(text: str) -> None:
    """Tell people something that is not the result."""
    sys.stderr.write(printable(text) + "\n")


def cell(value: object) -> str:
    """One value in a table."""
    if value is None or value is msgspec.UNSET:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return format_duration(round(value / timedelta(milliseconds=1)))
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping) and all(isinstance(one, str) for one in value.values()):
        return printable(", ".join(f"{key}={one}" for key, one in value.items()))
    if isinstance(value, Mapping | Sequence | msgspec.Struct):
        return printable(msgspec.json.encode(value).decode()) if value else ""
    return str(value)


def _encoded(value: Any, format: Format) -> str:
    plain = _as_replied(msgspec.to_builtins(value, builtin_types=(datetime, timedelta)))
    if format == "jsonl":
        return msgspec.json.encode(plain).decode()
    if format == "json":
        return msgspec.json.format(msgspec.json.encode(plain), indent=2).decode()
    import yaml

    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).rstrip("\n")


def _as_replied(value: Any) -> Any:
    """Instants and durations as the server writes them, so that programs may compare the two."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return format_duration(round(value / timedelta(milliseconds=1)))
    if isinstance(value, dict):
        return {key: _as_replied(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_as_replied(one) for one in value]
    return value


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _plain(text: str) -> Any:
    from rich.text import Text

    return Text(text)


def _print(table: Any) -> None:
    from rich.console import Console

    # A pipe has no width: nothing is folded or cut there.
    console = Console() if sys.stdout.isatty() else Console(width=WIDE, no_color=True)
    if sys.stdout.isatty():
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    _write("\n".join(line.rstrip() for line in captured.get().splitlines()))
