"""Dispatch of claimed attempts to their targets."""
