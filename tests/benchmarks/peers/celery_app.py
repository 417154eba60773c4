"""Celery on Redis. `python celery_app.py` reads one JSON list of [number, due] from standard input and sends them."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime

from celery import Celery
from seen import began

app = Celery("peers", broker=os.environ["PEER_URL"])
app.conf.task_ignore_result = True


@app.task(name="noop")
def noop(number: int) -> None:
    began(number)


if __name__ == "__main__":
    with app.producer_pool.acquire(block=True) as producer:
        for number, due in json.load(sys.stdin):
            eta = None if due is None else datetime.fromtimestamp(due, UTC)
            noop.apply_async((number,), eta=eta, producer=producer)
