"""Work in processes of its own: folding a log is bound by the processor, and one process uses one."""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")


class Jobs:
    """Runs functions of modules, which must not need anything but their arguments. One process: in this one."""

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self._pool: ProcessPoolExecutor | None = None

    def start(self, function: Callable[..., T], *arguments: object) -> Future[T]:
        """Begin a piece of work; the future raises what it raises."""
        if self.processes == 1:
            done: Future[T] = Future()
            try:
                done.set_result(function(*arguments))
            except Exception as error:
                done.set_exception(error)
            return done
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.processes, context, initializer=_prepare)
        return self._pool.submit(function, *arguments)

    def all(self, function: Callable[..., T], each: Iterable[Sequence[Any]]) -> list[T]:
        """The results for all arguments, in their order."""
        started = [self.start(function, *arguments) for arguments in each]
        return [future.result() for future in started]

    def __enter__(self) -> Jobs:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _prepare() -> None:
    # What is folded stays until the end, and looking for garbage among it again and again takes longer than folding.
    gc.disable()
