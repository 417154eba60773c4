"""Procrastinate on PostgreSQL: the worker's side."""

from __future__ import annotations

import os

import procrastinate
from seen import began

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["PEER_URL"]))


@app.task(name="noop")
async def noop(number: int) -> None:
    began(number)
