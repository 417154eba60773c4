"""Processes for handlers that compute or may crash: one run at a time in each, killed when it has to end."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable

from taskscheduler.client.child import BEGUN, OUTCOME, PROGRESS, TRACE, serve
from taskscheduler.client.job import Outcome, failure

_CONTEXT = multiprocessing.get_context("spawn")  # a fork of a process with threads and an event loop may hang


class Died(Exception):
    """The process ended before the handler did; `begun` says whether it had got the run."""

    def __init__(self, code: int | None, begun: bool) -> None:
        super().__init__(code)
        self.code = code
        self.begun = begun


class Processes:
    """Starts processes when they are needed and keeps them for later runs. To be used from any thread."""

    def __init__(self) -> None:
        self._idle: deque[_Child] = deque()
        self._all: dict[_Child, None] = {}
        self._lock = threading.Lock()
        self._closed = False

    def run(self, function: bytes, claim: bytes, call: "Call") -> Outcome | None:
        """Run a pickled function for a claim (as JSON) and give the outcome, or None when the call was killed."""
        while True:
            child, fresh = self._take()
            try:
                if not call.holds(child.kill):
                    return None
                outcome = child.run(function, claim, call)
            except Died as died:
                self._drop(child)
                if call.killed:
                    return None
                if died.begun or fresh:
                    return failure("ProcessDied", _how_it_died(died.code), retryable=True)
                continue  # it died while it was idle, and took nothing with it
            finally:
                call.let_go()
            with self._lock:
                if not self._closed:
                    self._idle.append(child)
                    return outcome
            self._drop(child)
            return outcome

    def close(self) -> None:
        """Kill them all, and wait a second for each to be gone."""
        with self._lock:
            self._closed = True
            children, idle = list(self._all), list(self._idle)
            self._idle.clear()
        for child in children:
            child.kill()
        for child in children:
            child.join()
        for child in idle:  # the pipe of one that is busy is closed by the thread that reads from it
            self._drop(child)

    def _take(self) -> "tuple[_Child, bool]":
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if child.alive:
                    return child, False
                self._all.pop(child)
                child.close()
            child = _Child()
            self._all[child] = None
            if self._closed:
                child.kill()
            return child, True

    def _drop(self, child: "_Child") -> None:
        with self._lock:
            self._all.pop(child)
        child.close()


class Call:
    """One run in a process as the worker sees it. `kill` may be called at any time, from any thread."""

    def __init__(self, progressed: Callable[[bytes], None], failed: Callable[[str], None]) -> None:
        self.progressed = progressed
        self.failed = failed
        self.killed = False
        self._lock = threading.Lock()
        self._kill: Callable[[], None] | None = None

    def kill(self) -> None:
        """End the process of the run, if it has one, and what it has started; else it gets none."""
        with self._lock:
            self.killed = True
            if self._kill is not None:
                self._kill()

    def holds(self, kill: Callable[[], None]) -> bool:
        """Note how the process is killed; False when the run was killed before."""
        with self._lock:
            self._kill = kill
            return not self.killed

    def let_go(self) -> None:
        """The process is no longer this run's: a later kill must not hit the next one."""
        with self._lock:
            self._kill = None


class _Child:
    def __init__(self) -> None:
        self._pipe, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=serve, args=(theirs,), daemon=True)
        self._process.start()
        self._killed = False
        theirs.close()

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def run(self, function: bytes, claim: bytes, call: Call) -> Outcome:
        begun = False
        try:
            self._pipe.send_bytes(function)
            self._pipe.send_bytes(claim)
            while True:
                message = self._pipe.recv_bytes()
                what, body = message[:1], message[1:]
                if what == OUTCOME:
                    return Outcome(body=body)
                begun = begun or what == BEGUN
                if what == PROGRESS:
                    call.progressed(body)
                elif what == TRACE:
                    call.failed(body.decode())
        except (EOFError, OSError):
            self.join()
            raise Died(self._process.exitcode, begun) from None

    def kill(self) -> None:
        # The group first, which is there before the handler is; then a process that has not made it yet.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if not self._killed and self._process.pid is not None:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._killed = True
        self._process.kill()

    def join(self) -> None:
        self._process.join(1.0)

    def close(self) -> None:
        self.kill()
        self.join()
        self._pipe.close()


def _how_it_died(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        hint = "; the system may have had too little memory" if -code == signal.SIGKILL else ""
        return f"the process of the handler was ended by {name}{hint}"
    return f"the process of the handler ended with code {code} before the handler did"
