"""A process of a cluster that may run: found again by its marker, stopped, killed or paused."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from pathlib import Path

import msgspec

STOP_SECONDS = 60.0
_POLL_SECONDS = 0.05
_TAIL_LINES = 25
_PROC = Path("/proc")


class Handle(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of a process in its folder, and a hold on the process itself while it runs.

    Only ever a process with the marker of this folder among its arguments is found or signalled.
    """

    folder: Path

    @property
    def marker(self) -> str:
        """What tells this process from all others of this machine."""
        return f"taskscheduler.process={self.folder}"

    @property
    def log(self) -> Path:
        """What it writes to standard output and error."""
        return self.folder / "output.log"

    def pid(self) -> int | None:
        """The process that runs now. A number alone is never trusted: it may be another's by now."""
        try:
            pid = int((self.folder / "pid").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None
        ours = pid > 1 and any(argument.endswith(self.marker) for argument in _command_line(pid))
        return pid if ours else None

    def stop(self) -> None:
        """End it in an orderly way, or after a minute in any way. Nothing happens when it does not run."""
        pid = self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)
        if pid is not None and not _gone(pid, STOP_SECONDS):
            self.kill()

    def kill(self) -> None:
        """End it as a power cut would, the page cache apart, and wait until it is gone."""
        pid = self._signal(signal.SIGKILL)
        if pid is not None:
            _gone(pid, STOP_SECONDS)

    def pause(self) -> None:
        """Let it stand still (SIGSTOP), with its connections open; returns when it does."""
        pid = self._signal(signal.SIGSTOP)
        while pid is not None and not _stands_still(pid):
            time.sleep(_POLL_SECONDS)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._signal(signal.SIGCONT)

    def tail(self) -> str:
        """The end of what it said."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-_TAIL_LINES:])

    def _signal(self, number: signal.Signals) -> int | None:
        pid = self.pid()
        if pid is not None:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                return None
        return pid


def _gone(pid: int, seconds: float) -> bool:
    """Wait until a process has ended, all its threads and so its ports with it; False when it takes too long."""
    if hasattr(os, "pidfd_open"):
        try:
            ended = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        try:
            poll = select.poll()  # which takes any number of open files, as select.select does not
            poll.register(ended, select.POLLIN)
            return bool(poll.poll(seconds * 1000))
        finally:
            os.close(ended)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if _ps("stat", pid)[:1] in ("", "Z"):
            return True
        time.sleep(_POLL_SECONDS)
    return False


def _command_line(pid: int) -> list[str]:
    """The arguments of a process; none when it has ended, though nobody may have waited for it yet."""
    if _PROC.exists():
        try:
            return (_PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
        except OSError:
            return []
    return _ps("command", pid).split()


def _stands_still(pid: int) -> bool:
    """Whether all threads of a process are stopped; one that has ended stands still as well."""
    if not _PROC.exists():
        return _ps("stat", pid)[:1] in ("", "T", "Z")
    try:
        threads = [file.read_text() for file in (_PROC / str(pid) / "task").glob("*/stat")]
    except OSError:
        return not (_PROC / str(pid)).exists()
    return all(thread.rpartition(")")[2].split()[0] in "TXZ" for thread in threads)


def _ps(what: str, pid: int) -> str:
    return subprocess.run(["ps", "-ww", "-o", f"{what}=", "-p", str(pid)], capture_output=True, text=True).stdout
