"""Signatures of the Standard Webhooks specification 1.0, by which a receiver knows who sent a request, and when."""

from __future__ import annotations

import base64
import hmac

from taskscheduler.domain.ids import digest

PREFIX = "whsec_"
SHORTEST, LONGEST = 24, 64
"""Bytes of a key, by the specification."""


def keys_of(secret: str) -> list[bytes]:
    """The keys in a secret: one, or several with spaces or line ends between, the newest first.

    Raises ValueError with the way out.
    """
    keys = [_key(text.removeprefix(PREFIX)) for text in secret.split()]
    if not keys or not all(SHORTEST <= len(key) <= LONGEST for key in keys):
        raise ValueError(
            f"must be {PREFIX} and the base64 of {SHORTEST} to {LONGEST} random bytes; "
            "several of them are separated by spaces or line ends"
        )
    return keys


def _key(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return b""


def message_id(task_id: str, run_id: str) -> str:
    """The same for all attempts of a run and no other, since receivers drop what they have seen. It holds no dot."""
    return f"msg_{run_id}_{digest('webhook', task_id)[:16]}"


def signed(body: bytes, id: str, at: int, keys: list[bytes]) -> dict[str, str]:
    """The headers. `at` is when it is sent, in seconds: each attempt has its own, or it would soon be too old."""
    content = f"{id}.{at}.".encode() + body
    signatures = [base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in keys]
    return {
        "webhook-id": id,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
