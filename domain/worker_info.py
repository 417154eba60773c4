"""What a worker says about itself."""

from __future__ import annotations

import msgspec


class WorkerInfo(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """`instance` tells one process from the next of the same name. `kinds` empty: any. `version` is of the client."""

    instance: str
    queues: tuple[str, ...]
    kinds: tuple[str, ...] = ()
    concurrency: int = 1
    version: str = ""
    host: str = ""
    pid: int = 0
