"""Lets the tests of this folder import the helpers beside them, and gives those of REST a node to talk to."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

if TYPE_CHECKING:
    import httpx
    from rest_kit import Clock

    from taskscheduler.api.bootstrap import EmbeddedNode


@pytest.fixture
def clock() -> Clock:
    """Stands still until it is moved."""
    from rest_kit import Clock

    return Clock()


@pytest.fixture
async def served(tmp_path: Path, clock: Clock) -> AsyncIterator[tuple[EmbeddedNode, Any]]:
    """A whole embedded node and its application."""
    from rest_kit import real_node

    async with real_node(tmp_path, clock) as both:
        yield both


@pytest.fixture
def node(served: tuple[EmbeddedNode, Any]) -> EmbeddedNode:
    """The node behind `api`."""
    return served[0]


@pytest.fixture
async def api(served: tuple[EmbeddedNode, Any]) -> AsyncIterator[httpx.AsyncClient]:
    """A client that holds every reply to the OpenAPI document."""
    from rest_kit import client_of

    async with client_of(served[1]) as client:
        yield client
