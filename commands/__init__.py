"""Command handling: load, decide, append, await the verdict."""
