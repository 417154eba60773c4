"""The REST server, its settings and command line."""
