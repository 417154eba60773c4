"""Shared by all tests: servers, what happens where they cannot run, and reports that can be sent on."""

import os
from collections.abc import Generator

import pytest

from tests.support import engines, turns
from tests.support.engines import (
    cassandra,
    cluster,
    flink,
    kafka,
    own_brokers,
    own_cassandra,
    own_cluster,
    own_flink,
    own_kafka,
)

__all__ = [
    "cassandra",
    "cluster",
    "flink",
    "kafka",
    "own_brokers",
    "own_cassandra",
    "own_cluster",
    "own_flink",
    "own_kafka",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Files that take long go first: one that begins last would let the other processors wait for its end.
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=lambda item: item.path not in slow)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cluster") is not None:
        engines.require()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    # Before the time of the test begins to count.
    turns.begin(item)
    try:
        return (yield)
    finally:
        turns.end(item, nextitem)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        engines.stop_shared(session.config)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    # A lone surrogate that a test logged cannot be sent by pytest-xdist, which then ends without a word.
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    skipped = [reason for reason in reasons if engines.SKIPPED in reason]
    if skipped:
        lacking = skipped[0].split(engines.SKIPPED, 1)[1].rstrip("')")
        terminalreporter.section("cluster")
        terminalreporter.line(f"{len(skipped)} cluster tests were SKIPPED: this machine lacks {lacking}")
