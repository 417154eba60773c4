"""The pure core: events, decisions, tasks, schedules and retry; no I/O, no clock."""
