"""The command line."""


def main() -> None:
    """Entry point of the `taskscheduler` script."""
    raise SystemExit("taskscheduler: the command line is not built yet")
