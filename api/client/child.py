"""What runs in a process of handlers: takes one run after another from a pipe and says what became of it.

Messages to it: a pickled function, then a claim as JSON. From it: one letter, then the rest.
"""

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from functools import cache
from multiprocessing.connection import Connection, wait

import msgspec

from taskscheduler.client.handlers import Handler, handler_of, refused
from taskscheduler.client.job import Claim, Fail, Job, Outcome, failure, failure_of, success

BEGUN, PROGRESS, TRACE, OUTCOME = b"b", b"p", b"t", b"o"


def serve(pipe: Connection) -> None:
    """Until the pipe ends. Alone in a process."""
    os.setsid()  # so that what a handler starts ends with it
    # Whoever stops the worker often signals the whole group: the worker says when this ends.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _ignored)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    sending = threading.Lock()

    def send(what: bytes, body: bytes = b"") -> None:
        with sending:
            pipe.send_bytes(what + body)

    while True:
        try:
            function, claim = pipe.recv_bytes(), pipe.recv_bytes()
        except EOFError:
            return os.killpg(0, signal.SIGKILL)  # with whatever handlers that ended have left
        send(BEGUN)
        job: Job = Job(msgspec.json.decode(claim, type=Claim), lambda progress: send(PROGRESS, progress))
        try:
            outcome = _run(function, job)
        except BaseException as error:
            if not isinstance(error, Fail):
                send(TRACE, "".join(traceback.format_exception(error)).encode("utf-8", "backslashreplace"))
            outcome = failure_of(error)
        send(OUTCOME, outcome.body)


def _run(function: bytes, job: Job) -> Outcome:
    try:
        handler = _found(function)
    except Exception as error:
        return failure("HandlerNotFound", f"the process cannot find the handler: {error}", retryable=True)
    try:
        arguments = handler.arguments.of(job)
    except msgspec.ValidationError as error:
        return refused(error)
    return success(handler.function(*arguments))


@cache
def _found(function: bytes) -> Handler:
    return handler_of(pickle.loads(function), "process")


def _ignored(number: int, frame: object) -> None:
    """A function, since what a handler starts would inherit SIG_IGN."""


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.killpg(0, signal.SIGKILL)
