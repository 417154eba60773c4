"""Retry and catch-up policies in requests."""

from __future__ import annotations

from typing import Literal

from taskscheduler.api.durations import LONGEST, format_duration
from taskscheduler.api.schemas.fields import Fields
from taskscheduler.api.schemas.shapes import DURATION, Schema, array, request, text, whole, words
from taskscheduler.domain.definition import CatchUp
from taskscheduler.domain.retry import LARGEST_DELAY, Retry

MOST_ATTEMPTS = 100
LARGEST_MULTIPLIER = 1_000
MOST_CAUGHT_UP = 1_000
MOST_ERROR_TYPES = 20
LONGEST_ERROR_TYPE = 100

_Backoff = Literal["exponential", "linear", "fixed"]
_Policy = Literal["all", "latest", "none"]
BACKOFFS: tuple[_Backoff, ...] = ("exponential", "linear", "fixed")
POLICIES: tuple[_Policy, ...] = ("all", "latest", "none")

JITTERS: tuple[Literal["full", "equal"], ...] = ("full", "equal")

_PLAIN_JITTER = 0.1
_RETRY = Retry(jitter=_PLAIN_JITTER)
_CATCH_UP = CatchUp()


def read_retry(fields: Fields | None) -> Retry:
    """The retry policy."""
    if fields is None:
        return _RETRY
    retry = Retry(
        max_attempts=fields.integer("max_attempts", 1, MOST_ATTEMPTS, _RETRY.max_attempts),
        backoff=fields.choice("backoff", BACKOFFS, _RETRY.backoff),
        initial=fields.duration("initial", 0, LARGEST_DELAY, _RETRY.initial),
        multiplier=fields.number("multiplier", 1, LARGEST_MULTIPLIER, _RETRY.multiplier),
        max=fields.duration("max", 0, LARGEST_DELAY, _RETRY.max),
        jitter=_jitter(fields),
        max_elapsed=fields.duration("max_elapsed", 0, LONGEST, None),
        give_up_on=fields.each("give_up_on", MOST_ERROR_TYPES, _error_type),
        retry_on=_retry_on(fields),
    )
    if both := [kind for kind in retry.retry_on if kind in retry.give_up_on]:
        fields.error("retry_on", f"and give_up_on both name {', '.join(both)}: leave it out of one of them")
    fields.end()
    return retry


def _jitter(fields: Fields) -> float | Literal["full", "equal"]:
    value = fields.raw("jitter")
    if not isinstance(value, str):
        return fields.number("jitter", 0, 1, _PLAIN_JITTER)
    if (kind := next((kind for kind in JITTERS if kind == value), None)) is None:
        fields.error("jitter", "must be full, equal or a number from 0 to 1")
    fields.take("jitter")
    return kind or _PLAIN_JITTER


def _retry_on(fields: Fields) -> tuple[str, ...]:
    if fields.raw("retry_on") == []:
        fields.error("retry_on", "must name at least one type; `max_attempts` 1 retries none")
    return fields.each("retry_on", MOST_ERROR_TYPES, _error_type)


def _error_type(value: object) -> str:
    if isinstance(value, str) and 1 <= len(value) <= LONGEST_ERROR_TYPE:
        return value
    raise ValueError(f"must be a string of 1 to {LONGEST_ERROR_TYPE} characters")


def read_catch_up(fields: Fields | None, base: CatchUp = _CATCH_UP) -> CatchUp:
    """The catch-up policy; what is left out is as in `base`, null gives the default back."""
    if fields is None:
        return _CATCH_UP
    default = CatchUp(*(getattr(_CATCH_UP if n in fields else base, n) for n in CatchUp.__struct_fields__))
    catch_up = CatchUp(
        policy=fields.choice("policy", POLICIES, default.policy),
        window=fields.duration("window", 0, LONGEST, default.window),
        limit=fields.integer("limit", 1, MOST_CAUGHT_UP, default.limit),
    )
    fields.end()
    return catch_up


RETRY_SCHEMA: Schema = request(
    {},
    {
        "max_attempts": whole(1, MOST_ATTEMPTS, default=_RETRY.max_attempts, description="Counts the first one."),
        "backoff": words(*BACKOFFS, default=_RETRY.backoff),
        "initial": {**DURATION, "default": format_duration(_RETRY.initial)},
        "multiplier": {"type": "number", "minimum": 1, "maximum": LARGEST_MULTIPLIER, "default": _RETRY.multiplier},
        "max": {**DURATION, "default": format_duration(_RETRY.max), "description": "No delay is longer."},
        "jitter": {
            "anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, words(*JITTERS)],
            "default": _RETRY.jitter,
            "description": "Share of the delay by which it varies, either way; `full`: anything up to the delay; "
            "`equal`: half of it, and anything up to the other half.",
        },
        "max_elapsed": {**DURATION, "description": "From the first start to the start of the last attempt."},
        "give_up_on": array(
            text(1, LONGEST_ERROR_TYPE),
            MOST_ERROR_TYPES,
            description="Error types that are not retried.",
            examples=[["http_404"]],
        ),
        "retry_on": {
            **array(text(1, LONGEST_ERROR_TYPE), MOST_ERROR_TYPES, examples=[["http_503", "Lost"]]),
            "minItems": 1,
            "description": "Only these error types are retried; all by default. It goes for `TimedOut`, "
            "`HeartbeatTimeout` and `Lost` too.",
        },
    },
    description="When a failed attempt is tried again. Delays are at most 366 days.",
    examples=[{"max_attempts": 5, "backoff": "exponential", "initial": "1s", "max": "10m"}],
)

CATCH_UP_SCHEMA: Schema = request(
    {},
    {
        "policy": words(*POLICIES, default=_CATCH_UP.policy),
        "window": {
            **DURATION,
            "default": format_duration(_CATCH_UP.window),
            "description": "Older fire times are skipped.",
        },
        "limit": whole(1, MOST_CAUGHT_UP, default=_CATCH_UP.limit, description="How many at most, with `all`."),
    },
    description="What happens to the fire times of a recurring schedule that were missed while nothing ran.",
    examples=[{"policy": "latest", "window": "1h"}],
)
