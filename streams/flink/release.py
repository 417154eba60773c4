"""Which code this is, so that a job never runs on code other than the one it was submitted with."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import ModuleType

from taskscheduler.domain import decision
from taskscheduler.streams import codec
from taskscheduler.streams.flink import due, messages
from taskscheduler.streams.kafka import messages as topic_messages
from taskscheduler.streams.kafka import partitioning


class OtherCode(Exception):
    """A TaskManager imported another release before: it keeps what it has imported for as long as it runs."""


def _fingerprint(*modules: ModuleType) -> str:
    found = hashlib.blake2b(digest_size=8)
    for module in modules:
        assert module.__file__ is not None
        found.update(Path(module.__file__).read_bytes())
    return found.hexdigest()


CODE = _fingerprint(decision, codec, due, messages, topic_messages, partitioning)
"""Of the modules that decide what the state is, as they were when this process imported them."""


def require_code(code: str) -> None:
    """Raises OtherCode."""
    if code != CODE:
        raise OtherCode(f"the job is of code {code} and this TaskManager has {CODE}: restart it with the same release")
