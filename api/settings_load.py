"""Where settings come from: flags, then environment, then `taskscheduler.toml`, then defaults."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

import msgspec

from taskscheduler.api.durations import parse_duration
from taskscheduler.api.settings import ENV_PREFIX, FIELDS, Field, Settings, SettingsError

CONFIG_FILE = "taskscheduler.toml"
_FILE = "_FILE"
_OTHERS = frozenset({"URL", "CONFIG", "CACHE_DIR"})
"""Environment names under the prefix that mean something else: the command line's server, the file to read, and where
the jars of a cluster on this machine are kept."""
_NO_SETTINGS = ("TEST_", "SECRET_")
"""What other names begin with: what tests are told, and secrets that targets may name."""

_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class Given(msgspec.Struct, frozen=True):
    """A value as it was found, and where: `flag`, an environment variable, or a file."""

    value: Any
    origin: str


class Loaded(msgspec.Struct, frozen=True):
    """The settings and, by path, where each came from (`default` too)."""

    settings: Settings
    origins: dict[str, str]

    def value(self, path: str) -> Any:
        """The value of one setting."""
        return _get(self.settings, path)


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    config: Path | None = None,
    directory: Path | None = None,
    check: bool = True,
) -> Loaded:
    """Put the settings together. `flags` maps paths such as `http.concurrency` to values; None is unset.

    Raises SettingsError. `directory` is where the file is looked for, by default the current one; without `check` only
    each value by itself is looked at.
    """
    env = os.environ if environ is None else environ
    given: dict[str, Given] = {}
    given.update(_from_file(config, env, directory or Path()))
    given.update(_from_environment(env))
    given.update(_from_flags(flags or {}))
    values = {path: _parse(FIELDS[path], one) for path, one in given.items()}
    settings = _build(Settings, values, "")
    if check:
        settings.check()
    return Loaded(settings, {path: given[path].origin if path in given else "default" for path in FIELDS})


def _from_flags(flags: Mapping[str, Any]) -> Iterator[tuple[str, Given]]:
    for path, value in flags.items():
        if path not in FIELDS:
            raise SettingsError(f"{path}: no such setting{_near(path, FIELDS)}")
        if value is not None:
            yield path, Given(value, "flag")


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, Given]]:
    names = {field.env: field for field in FIELDS.values()}
    secret_files = {field.env + _FILE: field for field in FIELDS.values() if field.secret}
    for name in sorted(environ):
        rest = name.removeprefix(ENV_PREFIX)
        if rest == name or rest in _OTHERS or rest.startswith(_NO_SETTINGS):
            continue
        if name in names:
            yield names[name].path, Given(environ[name], name)
        elif name in secret_files:
            if name.removesuffix(_FILE) in environ:
                raise SettingsError(f"{name}: {name.removesuffix(_FILE)} is set too; keep one of them")
            yield secret_files[name].path, Given(_secret(name, environ[name]), name)
        else:
            raise SettingsError(f"{name}: no such setting{_near(name, [*names, *secret_files])}")


def _secret(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{name}: cannot read {path!r}: {_why(error)}") from error


def _from_file(config: Path | None, environ: Mapping[str, str], directory: Path) -> Iterator[tuple[str, Given]]:
    named = config or (Path(environ[ENV_PREFIX + "CONFIG"]) if environ.get(ENV_PREFIX + "CONFIG") else None)
    file = named or directory / CONFIG_FILE
    if named is None and not file.exists():
        return
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{file}: cannot be used: {_why(error)}") from error
    for path, value in _leaves(table, ""):
        if path not in FIELDS:
            raise SettingsError(f"{path} in {file}: no such setting{_near(path, FIELDS)}")
        yield path, Given(value, str(file))


def _leaves(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        path = prefix + key
        if isinstance(value, dict) and path not in FIELDS:
            if not any(known.startswith(path + ".") for known in FIELDS):
                yield path, value
            yield from _leaves(value, path + ".")
        else:
            yield path, value


def _parse(field: Field, given: Given) -> Any:
    try:
        value = _coerced(field, given.value)
        return value if isinstance(value, Path) else msgspec.convert(value, field.type)
    except (msgspec.ValidationError, ValueError) as error:
        where = "" if given.origin == "flag" else f" (from {given.origin})"
        shown = "" if field.secret else f"{str(given.value)[:80]!r} "
        raise SettingsError(f"{field.path}: {shown}cannot be used{where}: {_lower(str(error))}") from error


def _coerced(field: Field, value: Any) -> Any:
    if field.duration:
        return parse_duration(value)
    kinds = _kinds(field.type)
    if Path in kinds:
        if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
            raise ValueError("expected a path")
        return Path(value)
    if tuple in kinds:
        parts = value.split(",") if isinstance(value, str) else value
        of_addresses = get_args(_bare(field.type))[0] is str and not field.words
        return _addresses(parts) if of_addresses else _words(parts)
    if isinstance(value, str) and bool in kinds:
        if value.lower() not in _WORDS:
            raise ValueError("expected true or false")
        return _WORDS[value.lower()]
    if isinstance(value, str) and int in kinds:
        if not (value.isascii() and value.isdigit() and len(value) <= 18):
            raise ValueError("expected a whole number")
        return int(value)
    if isinstance(value, str) and not value:
        raise ValueError("it is empty; leave it out to have the default")
    return value


def _addresses(parts: Any) -> tuple[str, ...]:
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise ValueError("expected addresses separated by commas")
    found = tuple(part.strip() for part in parts)
    for address in found:
        host, colon, port = address.rpartition(":")
        if not address or any(char.isspace() for char in address):
            raise ValueError(f"{address!r} is no address")
        if colon and host and ":" not in host and not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
            raise ValueError(f"{address!r} has no usable port")
    return found


def _words(parts: Any) -> tuple[str, ...]:
    if not isinstance(parts, list | tuple) or not all(type(part) in (str, int) for part in parts):
        raise ValueError("expected words separated by commas")
    return tuple(dict.fromkeys(word for part in parts if (word := str(part).strip())))


def _bare(annotated: Any) -> Any:
    return get_args(annotated)[0] if hasattr(annotated, "__metadata__") else annotated


def _kinds(annotated: Any) -> set[Any]:
    kind = _bare(annotated)
    parts = [kind] if get_origin(kind) is tuple or isinstance(kind, type) else get_args(kind)
    return {get_origin(part) or part for part in parts} - {NoneType}


def _build(kind: type[Any], values: Mapping[str, Any], prefix: str) -> Any:
    found: dict[str, Any] = {}
    for info in msgspec.structs.fields(kind):
        path = prefix + info.name
        if path in FIELDS:
            if path in values:
                found[info.name] = values[path]
        else:
            found[info.name] = _build(type(info.default), values, path + ".")
    return kind(**found)


def _get(settings: Any, path: str) -> Any:
    for name in path.split("."):
        settings = getattr(settings, name)
    return settings


def _near(name: str, known: Iterable[str]) -> str:
    short = {one.removeprefix(ENV_PREFIX): one for one in known}
    close = difflib.get_close_matches(name.removeprefix(ENV_PREFIX), short, n=1)
    return f"; did you mean {short[close[0]]}?" if close else "; remove it (docs/configuration.md lists all there are)"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _why(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
