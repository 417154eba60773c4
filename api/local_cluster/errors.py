"""What can go wrong with a cluster on this machine."""

from __future__ import annotations


class ClusterError(Exception):
    """The cluster cannot be started, stopped or found: what is wrong, and the way out."""
