"""What the health of a process tells of the hosts that are left alone."""

from __future__ import annotations

from itertools import islice

from taskscheduler.api.health import Check, Component, up
from taskscheduler.api.values import format_instant
from taskscheduler.streams.dispatch.circuits import Circuits

MOST_SHOWN = 50


def circuits_health(circuits: Circuits) -> Check:
    """Always up, since it is not the process that fails; the details name the hosts, why and until when."""

    def check() -> Component:
        hosts = {
            host: {
                "since": format_instant(one.since),
                "until": format_instant(one.until),
                "pauses": one.pauses,
                "error": one.error,
            }
            for host, one in islice(circuits.open.items(), MOST_SHOWN)
        }
        return up(open=len(circuits.open), hosts=hosts) if hosts else up(open=0)

    return check
