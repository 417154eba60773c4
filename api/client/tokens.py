"""The consistency tokens of recent writes, sent back with queries so that they see them."""

import threading
from collections import OrderedDict
from collections.abc import Iterable

MOST_TASKS = 10_000
MOST_IN_A_LIST = 50


class Tokens:
    """Remembers the token of the last write of each task; safe in many threads."""

    def __init__(self) -> None:
        self._by_task: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def remember(self, tasks: Iterable[str], token: str) -> None:
        """Keep the token of a write of these tasks."""
        with self._lock:
            for task in tasks:
                self._by_task[task] = token
                self._by_task.move_to_end(task)
            while len(self._by_task) > MOST_TASKS:
                self._by_task.popitem(last=False)

    def for_task(self, task: str) -> str | None:
        """Give what a query of this task has to carry."""
        with self._lock:
            return self._by_task.get(task)

    def for_all(self) -> str | None:
        """Give what a query of many tasks has to carry: the tokens of the last writes, as many as a header holds."""
        latest: dict[str, None] = {}
        with self._lock:
            for token in reversed(self._by_task.values()):
                latest[token] = None
                if len(latest) == MOST_IN_A_LIST:
                    break
        return ",".join(latest) or None
