"""What a worker may run: nothing but what its operator named."""

import os
from pathlib import Path

import pytest

from taskscheduler.client.allow import NotAllowed, check, check_directory, parse

SH = os.path.realpath("/bin/sh")


@pytest.mark.parametrize(
    ("rule", "argv", "program"),
    [
        ("/bin/sh", ["/bin/sh"], "/bin/sh"),
        ("/bin/sh", ["/bin/sh", "-c", "anything"], "/bin/sh"),
        ("job=/bin/sh", ["job", "x"], "/bin/sh"),
        ("job=/bin/sh -- ", ["job"], "/bin/sh"),
        ("job=/bin/sh -a /data/*", ["job", "-a", "/data/x"], "/bin/sh"),
        ("job=/bin/sh -a ...", ["job", "-a"], "/bin/sh"),
        ("job=/bin/sh -a ...", ["job", "-a", "b", "c"], "/bin/sh"),
        ("job=/bin/sh 'two words'", ["job", "two words"], "/bin/sh"),
        ("job=/bin/sh ../*", ["job", "../x"], "/bin/sh"),
        ("job=/bin/sh *", ["job", "v1..v2"], "/bin/sh"),
    ],
)
def test_what_is_on_the_list_runs(rule: str, argv: list[str], program: str) -> None:
    assert check([parse(rule)], argv) == program


@pytest.mark.parametrize(
    ("rule", "argv", "type"),
    [
        ("/bin/sh", [], "CommandNotAllowed"),
        ("/bin/sh", ["sh"], "CommandNotAllowed"),
        ("/bin/sh", ["/bin/../bin/sh"], "CommandNotAllowed"),
        ("/bin/sh", ["/bin/sh "], "CommandNotAllowed"),
        ("/bin/sh", ["//bin/sh"], "CommandNotAllowed"),
        ("job=/bin/sh", ["/bin/sh"], "CommandNotAllowed"),
        ("job=/bin/sh --", ["job", "x"], "ArgumentsNotAllowed"),
        ("job=/bin/sh -a /data/*", ["job", "-a"], "ArgumentsNotAllowed"),
        ("job=/bin/sh -a /data/*", ["job", "-a", "/etc"], "ArgumentsNotAllowed"),
        ("job=/bin/sh -a /data/*", ["job", "-a", "/data/x", "y"], "ArgumentsNotAllowed"),
        ("job=/bin/sh -a ...", ["job", "-b"], "ArgumentsNotAllowed"),
        ("job=/bin/sh /data/*", ["job", "/data/../etc"], "ArgumentsNotAllowed"),
        ("job=/bin/sh /data/*", ["job", "/data/x/.."], "ArgumentsNotAllowed"),
        ("job=/bin/sh --to=/data/*", ["job", "--to=/data/x/../../etc"], "ArgumentsNotAllowed"),
        ("job=/bin/sh ??", ["job", ".."], "ArgumentsNotAllowed"),
    ],
)
def test_all_else_does_not(rule: str, argv: list[str], type: str) -> None:
    with pytest.raises(NotAllowed) as refused:
        check([parse(rule)], argv)
    assert (refused.value.type, refused.value.retryable) == (type, False)


def test_a_second_rule_may_allow_what_the_first_does_not() -> None:
    rules = [parse("job=/bin/sh a"), parse("job=/bin/sh b")]
    assert check(rules, ["job", "b"]) == "/bin/sh"


@pytest.mark.parametrize(
    "rule", ["", "sh", "job=sh", "=/bin/sh", "/bin", "/nowhere/at/all", "/etc/passwd", "/bin/sh '"]
)
def test_what_is_no_rule_is_refused_at_the_start(rule: str) -> None:
    with pytest.raises(ValueError, match=r"rule|program|read"):
        parse(rule)


def test_a_directory_has_to_lie_within_a_root_really(tmp_path: Path) -> None:
    root, beside = tmp_path / "jobs", tmp_path / "jobs2"
    for folder in (root / "a", beside):
        folder.mkdir(parents=True)
    (root / "out").symlink_to(beside)
    assert check_directory([str(root)], str(root / "a")) == str(root / "a")
    assert check_directory([str(root)], str(root)) == str(root)
    for elsewhere in (beside, root / "out", root / ".." / "jobs2"):
        with pytest.raises(NotAllowed):
            check_directory([str(root)], str(elsewhere))
    with pytest.raises(NotAllowed):
        check_directory([], str(root))
