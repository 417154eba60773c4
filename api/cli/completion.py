"""`completion`."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

from cyclopts import Parameter

from taskscheduler.api.cli.output import say


def completion(
    shell: Literal["bash", "zsh", "fish"],
    /,
    *,
    install: Annotated[
        bool, Parameter(negative="", help="Put it where the shell finds it, and into its start file.")
    ] = False,
) -> None:
    """Print the completion script of a shell: `source <(taskscheduler completion bash)`."""
    from taskscheduler.api.cli.main import build

    app = build()
    if install:
        say(f"completion for {shell} is in {app.install_completion(shell=shell)}; it works in the next shell")
    else:
        sys.stdout.write(app.generate_completion(shell=shell))
