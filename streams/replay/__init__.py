"""Replay: what the log alone says, compared with what was made of it, made anew from it, and carried elsewhere."""
