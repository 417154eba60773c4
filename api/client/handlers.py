"""What a handler is called with, and where: what its signature and its registration say."""

import inspect
import pickle
import typing
from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast

import msgspec

from taskscheduler.client.job import Job, Outcome, failure

Function = Callable[..., Any]
Pool = Literal["loop", "thread", "process"]

POOLS = ("thread", "process")
INVALID = "InvalidPayload"


class Arguments(msgspec.Struct, frozen=True):
    """Whether a function is given the job, and its payload: as `payload`, or not where that is None."""

    job: bool = True
    payload: Any = None
    typed_job: Any = None

    def of(self, job: Job) -> tuple[Any, ...]:
        """Give the arguments for a job. Raises msgspec.ValidationError when the payload is none of its type."""
        if self.typed_job is not None:
            job.payload = msgspec.convert(job.payload, self.typed_job)
        given: tuple[Any, ...] = (job,) if self.job else ()
        return given if self.payload is None else (*given, msgspec.convert(job.payload, self.payload))


class Handler(msgspec.Struct, frozen=True):
    """A function, what it is given and where it runs."""

    function: Function
    pool: Pool
    arguments: Arguments


def handler_of(function: Function, pool: str | None) -> Handler:
    """Give the handler that a function makes. Raises ValueError for what cannot be one."""
    asynchronous = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
    if pool is None:
        pool = "loop" if asynchronous else "thread"
    elif pool not in POOLS:
        raise ValueError(f'pool is {pool!r}, and must be "thread" or "process"')
    elif asynchronous:
        raise ValueError("an async function runs in the worker's event loop and takes no pool")
    arguments = arguments_of(function)
    _called_with(function, arguments.job + (arguments.payload is not None))
    return Handler(function, cast(Pool, pool), arguments)


def pickled(kind: str, function: Function) -> bytes:
    """Give the name of a function for another process. Raises ValueError when it has none that is known there."""
    try:
        return pickle.dumps(function)
    except Exception as error:
        raise ValueError(
            f'the handler for {kind!r} cannot run with pool="process": it has to stand at the top of a module ({error})'
        ) from error


def refused(error: msgspec.ValidationError) -> Outcome:
    """Give the outcome of a payload that is not what the handler takes: no later attempt would find another one."""
    return failure(INVALID, str(error), retryable=False)


def arguments_of(function: Function) -> Arguments:
    """Read off a signature what is to be given: `(job)`, `(payload: T)`, `(job, payload: T)` or `(job: Job[T])`.

    Raises ValueError for an annotation that cannot be found, or one that no payload can be decoded to.
    """
    named = _parameters(function)
    if not named:
        return Arguments()
    first, second = named[0], named[1] if len(named) > 1 else None
    annotation = _annotation(function, first)
    is_job, inner = _job(annotation)
    if second is not None:
        payload = _annotation(function, second)
        return Arguments(payload=_checked(Any if payload is inspect.Parameter.empty else payload))
    if is_job:
        return Arguments(typed_job=None if inner is None else _checked(inner))
    return Arguments(job=False, payload=_checked(annotation))


def _called_with(function: Function, count: int) -> None:
    try:
        inspect.signature(function).bind(*range(count))
    except ValueError:
        return  # some that are written in C do not say what they take
    except TypeError as error:
        raise ValueError(f"a handler is called with the job, its payload or both: {error}") from error


def _parameters(function: Function) -> list[inspect.Parameter]:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    found = [parameter for parameter in parameters if parameter.kind in places]
    # What has a default is the function's own affair.
    return found[:1] + [one for one in found[1:2] if one.default is inspect.Parameter.empty]


def _annotation(function: Function, parameter: inspect.Parameter) -> Any:
    annotation = parameter.annotation
    if not isinstance(annotation, str):
        return annotation
    if annotation == "Job" or annotation.endswith(".Job"):
        return Job
    plain = inspect.unwrap(function if inspect.isroutine(function) else type(function).__call__)
    known = dict(getattr(plain, "__globals__", {}))
    if inspect.isfunction(plain):
        known |= inspect.getclosurevars(plain).nonlocals
    try:
        return eval(annotation, known)
    except Exception as error:
        raise ValueError(f"the annotation {annotation!r} of {parameter.name!r} cannot be found: {error}") from error


def _job(annotation: Any) -> tuple[bool, Any]:
    """Whether an annotation is that of a job, and the type of its payload or None."""
    if annotation in (inspect.Parameter.empty, Any, object, Job):
        return True, None
    if typing.get_origin(annotation) is not Job:
        return False, None
    (inner,) = typing.get_args(annotation)
    return True, None if inner is Any or isinstance(inner, TypeVar) else inner


def _checked(type: Any) -> Any:
    try:
        msgspec.json.Decoder(type)
    except TypeError as error:
        raise ValueError(f"no payload can be decoded to {type!r}: {error}") from error
    return type
