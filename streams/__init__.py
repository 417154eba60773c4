"""Everything that moves records: codec, replica, timers, dispatch and the storage adapters."""
