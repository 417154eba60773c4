"""Shared by all tests: what happens to those that need a cluster, and reports that can be sent on."""

import importlib.util
import os
import shutil
from collections.abc import Generator

import pytest

REQUIRED = os.environ.get("TASKSCHEDULER_TEST_CLUSTER") == "required"
SKIPPED = "cluster tests need "


def missing_for_cluster() -> list[str]:
    """Name what this machine lacks to run the cluster tests."""
    packages = {"aiokafka": "aiokafka", "cassandra": "cassandra-driver", "pyflink": "apache-flink"}
    missing = [name for module, name in packages.items() if importlib.util.find_spec(module) is None]
    return missing if shutil.which("java") else ["java", *missing]


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cluster") is None:
        return
    if missing := missing_for_cluster():
        reason = SKIPPED + ", ".join(missing)
        if REQUIRED:
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    # A lone surrogate that a test logged cannot be sent by pytest-xdist, which then ends without a word.
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    skipped = [reason for reason in reasons if SKIPPED in reason]
    if skipped:
        lacking = skipped[0].split(SKIPPED, 1)[1].rstrip("')")
        terminalreporter.section("cluster")
        terminalreporter.line(f"{len(skipped)} cluster tests were SKIPPED: this machine lacks {lacking}")
