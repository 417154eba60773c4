"""A backlog of mixed priorities and keys is drained fairly, and nothing starves: the benchmark, small."""

from __future__ import annotations

import pytest

from tests.benchmarks.bench_backlog import CLAIMERS, EACH, backlog


@pytest.mark.timeout(120)
async def test_keys_have_equal_shares_whatever_they_have_waiting() -> None:
    figures = await backlog(1_200, 12)
    assert figures["keys"] == 12
    assert figures["off_percent"] <= 10
    # Those claims that were on their way, one round of all keys, and what was put aside of it.
    assert figures["late_after"] <= 2 * CLAIMERS * EACH
