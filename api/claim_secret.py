"""The secret of claim tokens."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import structlog

from taskscheduler.api.settings import Settings
from taskscheduler.streams.dispatch.tokens import new_secret
from taskscheduler.streams.rocksdb.refusals import DataDamaged

_NAME = "claim-secret"
_BYTES = 32
_REMEDY = (
    "Restore the file from a backup. Or delete it, and a new one is made: what workers hold is then given out again "
    "once the leases have run out."
)

_log = structlog.get_logger("taskscheduler")


def claim_secret(settings: Settings) -> bytes:
    """The secret that is set, else one that stays in the data directory, never on the log.

    Raises DataDamaged when that file is not whole: under a shorter secret, tokens could be guessed.
    """
    if settings.claims.secret is not None:
        return new_secret(settings.claims.secret.encode())
    randomness = kept_secret(settings.data_dir)
    if randomness is None:
        path = settings.data_dir / _NAME
        randomness = secrets.token_bytes(_BYTES)
        _keep(path, randomness)
        _log.info("made a secret for claim tokens; tokens given under another one are void", path=str(path))
    return new_secret(randomness)


def kept_secret(data_dir: Path) -> bytes | None:
    """What the file in the data directory holds, None when there is none. Raises DataDamaged when it is not whole."""
    try:
        randomness = (data_dir / _NAME).read_bytes()
    except FileNotFoundError:
        return None
    if len(randomness) != _BYTES:
        raise DataDamaged(data_dir, f"{_NAME} holds {len(randomness)} bytes instead of {_BYTES}", _REMEDY)
    return randomness


def _keep(path: Path, content: bytes) -> None:
    """Write the file so that it is either there and whole, or not there."""
    made = path.with_name(f"{path.name}.new")
    made.unlink(missing_ok=True)
    handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, content)
        os.fsync(handle)
    finally:
        os.close(handle)
    made.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
