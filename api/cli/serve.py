"""`serve`."""

from __future__ import annotations

from taskscheduler.api.cli.configuration import SETTINGS, SettingsOptions


def serve(settings: SettingsOptions = SETTINGS) -> None:
    """Run the server until SIGTERM or Ctrl-C; a second one stops it at once and loses nothing acknowledged."""
    chosen = settings.load().settings
    from taskscheduler.api.server import serve

    serve(chosen)
