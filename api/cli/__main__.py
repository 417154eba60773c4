"""`python -m taskscheduler.api.cli` is the command `taskscheduler`."""

from __future__ import annotations

from taskscheduler.api.cli import main

if __name__ == "__main__":
    main()
