"""One command as a process of its own: without a shell, in a group that is ended as a whole, its output bounded."""

import asyncio
import contextlib
import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

TAIL_BYTES = 16 * 1024
READ_BYTES = 64 * 1024
LAST_OUTPUT_SECONDS = 1.0
"""How long to wait for output once the command has ended: what it started may hold its pipe open."""


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_DIE_WITH_THE_PARENT = 1
"""PR_SET_PDEATHSIG: a worker that is killed must not leave a command behind that runs beside its next attempt."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """`time`, `cpu` and `kill_after` in seconds, `memory` (address space) and `output` in bytes; None is no limit."""

    time: float | None = None
    kill_after: float = 5.0
    memory: int | None = None
    cpu: int | None = None
    output: int = 100 * 1024 * 1024


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended. `code` is negative for a signal. `why` says what it was ended for, if it was."""

    code: int
    tail: str
    output_bytes: int
    duration: float
    why: str | None = None


class Output:
    """The end of what a command has said."""

    def __init__(self) -> None:
        self.total = 0
        self._end = b""

    def add(self, data: bytes) -> None:
        """Take more of it."""
        self.total += len(data)
        self._end = (self._end + data)[-TAIL_BYTES:]

    def tail(self, most: int = TAIL_BYTES) -> str:
        """Up to `most` bytes of its end, as text that can be shown."""
        text = self._end[-most:].decode("utf-8", "replace")
        return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)


class Command:
    """A program with its arguments. `run` may be cancelled: the whole group then ends, TERM first and KILL later."""

    def __init__(
        self, program: str, arguments: Sequence[str], *, env: Mapping[str, str], cwd: str, limits: Limits
    ) -> None:
        self._program = program
        self._arguments = arguments
        self._env = env
        self._cwd = cwd
        self._limits = limits
        self.output = Output()

    async def run(self, data: bytes, said: Callable[[], None]) -> Ended:
        """Run it with `data` on standard input; `said` is called when there is more output. Raises OSError."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        ours, theirs = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                self._program,
                *self._arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=theirs,
                stderr=theirs,
                env=dict(self._env),
                cwd=self._cwd,
                start_new_session=True,
                preexec_fn=self._limit,
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        too_much = asyncio.Event()
        reading = asyncio.create_task(self._read(ours, said, too_much))
        feeding = asyncio.create_task(_feed(process, data))
        why: str | None = None
        try:
            why = await self._wait(process, too_much)
        finally:
            feeding.cancel()
            # Also when this is cancelled: nothing of the command may go on.
            ending = asyncio.ensure_future(self._end(process, reading))
            while not ending.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.shield(ending)
        assert process.returncode is not None
        return Ended(
            code=process.returncode,
            tail=self.output.tail(),
            output_bytes=self.output.total,
            duration=loop.time() - began,
            why=why,
        )

    async def _wait(self, process: asyncio.subprocess.Process, too_much: asyncio.Event) -> str | None:
        """Until it has ended or has to be; what for."""
        ended, over = asyncio.ensure_future(process.wait()), asyncio.ensure_future(too_much.wait())
        try:
            waited: set[asyncio.Future[Any]] = {ended, over}
            done, _ = await asyncio.wait(waited, timeout=self._limits.time, return_when=asyncio.FIRST_COMPLETED)
            if ended in done:
                return None
            return "output" if over in done else "time"
        finally:
            ended.cancel()
            over.cancel()

    async def _end(self, process: asyncio.subprocess.Process, reading: asyncio.Task[None]) -> None:
        """End what is left of the group, and read what it has still said."""
        try:
            if process.returncode is None:
                _signal(process.pid, signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._limits.kill_after):
                        await process.wait()
            else:
                await asyncio.wait({reading}, timeout=LAST_OUTPUT_SECONDS)
        finally:  # also when the loop ends, and cancels whatever there is
            _signal(process.pid, signal.SIGKILL)
        await process.wait()
        await asyncio.wait({reading}, timeout=LAST_OUTPUT_SECONDS)
        reading.cancel()
        await asyncio.wait({reading})

    async def _read(self, pipe: int, said: Callable[[], None], too_much: asyncio.Event) -> None:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb", 0)
        )
        try:
            while data := await reader.read(READ_BYTES):
                self.output.add(data)
                if self.output.total > self._limits.output:
                    too_much.set()
                said()
        finally:
            transport.close()

    def _limit(self) -> None:
        """Runs in the new process, before the program."""
        if _LIBC is not None:
            _LIBC.prctl(_DIE_WITH_THE_PARENT, signal.SIGKILL, 0, 0, 0)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if self._limits.memory is not None:
            resource.setrlimit(resource.RLIMIT_AS, (self._limits.memory, self._limits.memory))
        if self._limits.cpu is not None:
            resource.setrlimit(resource.RLIMIT_CPU, (self._limits.cpu, self._limits.cpu + 1))


async def _feed(process: asyncio.subprocess.Process, data: bytes) -> None:
    assert process.stdin is not None
    # A command need not want its input.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(data)
        await process.stdin.drain()
    process.stdin.close()


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
