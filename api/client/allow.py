"""Which commands a worker may run: nothing but what its operator named, down to the arguments."""

import os
import shlex
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import msgspec

from taskscheduler.client.job import Fail

ANY_MORE = "..."


class NotAllowed(Fail):
    """The command, or something about it, is not on the worker's list. No later attempt would find it there."""


class Allowed(msgspec.Struct, frozen=True):
    """A program that may be run under a name. `arguments` None allows any, else each has a pattern of its own."""

    name: str
    program: str
    arguments: tuple[str, ...] | None = None

    def takes(self, arguments: Sequence[str]) -> bool:
        """Whether it may be run with these."""
        if self.arguments is None:
            return True
        patterns = self.arguments
        if patterns and patterns[-1] == ANY_MORE:
            patterns = patterns[:-1]
            arguments = arguments[: len(patterns)]
        return len(arguments) == len(patterns) and all(map(_fits, arguments, patterns))


def _fits(argument: str, pattern: str) -> bool:
    # A `*` stands for slashes too, but it must not lead out of the directory that its pattern names.
    climbs = argument == ".." or "../" in argument or "/.." in argument
    return fnmatchcase(argument, pattern) and (not climbs or ".." in pattern)


def parse(rule: str) -> Allowed:
    """Read `/usr/bin/rsync`, `backup=/opt/backup.sh` or one with patterns, `/usr/bin/rsync -a /data/* ...`.

    After `--` alone no arguments are allowed. Raises ValueError for what is no rule, or names no program here.
    """
    try:
        words = shlex.split(rule)
    except ValueError as error:
        raise ValueError(f"{rule!r} cannot be read: {error}") from error
    if not words:
        raise ValueError("an empty rule allows nothing: name a program")
    name, equals, program = words[0].partition("=")
    if not equals:
        program = name
    if not name or not os.path.isabs(program):
        raise ValueError(f"{rule!r}: name the program by its whole path, such as /usr/bin/rsync or sync=/usr/bin/rsync")
    if not os.path.isfile(program) or not os.access(program, os.X_OK):
        raise ValueError(f"{rule!r}: {program} is not a program that can be run here")
    patterns = words[1:]
    if not patterns:
        return Allowed(name, program)
    return Allowed(name, program, tuple(patterns[1:] if patterns[0] == "--" else patterns))


def check(rules: Iterable[Allowed], argv: Sequence[str]) -> str:
    """Give the program that stands for `argv[0]`. Raises NotAllowed."""
    named = [rule for rule in rules if argv and rule.name == argv[0]]
    if not named:
        what = repr(argv[0]) if argv else "no command"
        raise NotAllowed(f"{what} is not on the list of commands that this worker may run", type="CommandNotAllowed")
    for rule in named:
        if rule.takes(argv[1:]):
            return rule.program
    raise NotAllowed(f"{argv[0]!r} may not be run with these arguments here", type="ArgumentsNotAllowed")


def check_directory(roots: Iterable[str], directory: str) -> str:
    """Give the real path of a directory that lies within one of the roots. Raises NotAllowed."""
    real = os.path.realpath(directory)
    if any(real == root or real.startswith(root.rstrip("/") + "/") for root in map(os.path.realpath, roots)):
        return real
    raise NotAllowed(f"{directory!r} is not a directory that commands may run in here", type="DirectoryNotAllowed")
