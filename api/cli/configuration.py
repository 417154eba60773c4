"""The options that set settings, and `config show`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from taskscheduler.api.cli.errors import UsageError
from taskscheduler.api.cli.output import Format, show_all
from taskscheduler.api.settings import FIELDS
from taskscheduler.api.settings_load import Loaded, load


@Parameter(name="*")
@dataclass(frozen=True)
class SettingsOptions:
    """Settings from the command line; what is not given comes from the environment, the file or the defaults."""

    config: Annotated[
        Path | None, Parameter(help="The file to read (default: taskscheduler.toml, if there is one).")
    ] = None
    host: Annotated[str | None, Parameter(help="Address to listen on.")] = None
    port: Annotated[str | None, Parameter(help="Port to listen on; 0 takes a free one.")] = None
    data_dir: Annotated[str | None, Parameter(help="Where everything is kept.")] = None
    profile: Annotated[str | None, Parameter(help="embedded or cluster.")] = None
    roles: Annotated[
        str | None, Parameter(help="Of a cluster's process: api, triggers, dispatch, projections; commas between.")
    ] = None
    log_format: Annotated[str | None, Parameter(help="auto, json or pretty.")] = None
    log_level: Annotated[str | None, Parameter(help="debug, info, warning or error.")] = None
    allow_unauthenticated: Annotated[
        bool | None, Parameter(help="Let others reach the server, although anyone may then use it.")
    ] = None
    set: Annotated[list[str] | None, Parameter(negative="", help="Any setting: http.concurrency=64; repeatable.")] = (
        None
    )

    def load(self, *, check: bool = True) -> Loaded:
        """The settings. Raises SettingsError, UsageError."""
        flags: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "data_dir": self.data_dir,
            "profile": self.profile,
            "roles": self.roles,
            "log.format": self.log_format,
            "log.level": self.log_level,
            "allow_unauthenticated": self.allow_unauthenticated,
        }
        for one in self.set or ():
            path, equals, value = one.partition("=")
            if not equals:
                raise UsageError(f"--set {one!r}: write it as path=value, such as http.concurrency=64")
            flags[path.strip()] = value
        return load(flags, config=self.config, check=check)


SETTINGS = SettingsOptions()


class Shown(msgspec.Struct, frozen=True):
    """One setting as `config show` tells it."""

    setting: str
    value: str
    origin: str


def show(
    settings: SettingsOptions = SETTINGS,
    *,
    output: Annotated[Format | None, Parameter(name=["--output", "-o"])] = None,
) -> None:
    """Show every setting, its value and where that comes from; secrets are masked."""
    loaded = settings.load(check=False)
    rows = [Shown(path, field.show(loaded.value(path)), loaded.origins[path]) for path, field in FIELDS.items()]
    columns = {"setting": lambda row: row.setting, "value": lambda row: row.value, "from": lambda row: row.origin}
    show_all(rows, columns, output)
    loaded.settings.check()
