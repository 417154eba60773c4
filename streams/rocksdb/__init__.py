"""The embedded storage: log, state, timers and read models in RocksDB."""
