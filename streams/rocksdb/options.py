"""How RocksDB is set up: never less than what was synced, and memory that does not grow with the data."""

from __future__ import annotations

from rocksdict import BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, Options

MIB = 1024 * 1024
BLOCK_CACHE = 48 * MIB
WRITE_BUFFER = 16 * MIB
WRITE_BUFFERS = 64 * MIB
WAL_LIMIT = 64 * MIB
OPEN_FILES = 512
UNFILTERED = ("log", "streams")
"""Families that grow for ever and are read in order: a filter in memory would grow with them."""


def family_options(cache: Cache, name: str) -> Options:
    """The options of one column family. All share the cache."""
    table = BlockBasedOptions()
    table.set_block_cache(cache)
    table.set_block_size(8 * 1024)
    table.set_format_version(5)
    # In the cache, a filter larger than one of its shards is read from disk for every get: keep them beside it.
    table.set_cache_index_and_filter_blocks(False)
    if name not in UNFILTERED:
        table.set_bloom_filter(10, False)
    options = Options(raw_mode=True)
    options.set_block_based_table_factory(table)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_write_buffer_size(WRITE_BUFFER)
    options.set_max_write_buffer_number(3)
    # A stalled write holds the interpreter: let files pile up rather than stop the process.
    options.set_level_zero_slowdown_writes_trigger(40)
    options.set_level_zero_stop_writes_trigger(80)
    # Timers and queues are deleted from the front; compacting what is mostly tombstones keeps scans of them short.
    options.add_compact_on_deletion_collector_factory(512, 256, 0.5)
    return options


def database_options(cache: Cache, accept_loss: bool) -> Options:
    """The options of the whole database. `accept_loss` opens a damaged log up to the damage instead of refusing."""
    options = family_options(cache, "default")
    options.create_if_missing(True)
    options.create_missing_column_families(True)
    options.set_paranoid_checks(True)
    options.set_wal_recovery_mode(
        DBRecoveryMode.point_in_time() if accept_loss else DBRecoveryMode.tolerate_corrupted_tail_records()
    )
    options.set_max_total_wal_size(WAL_LIMIT)
    options.set_db_write_buffer_size(WRITE_BUFFERS)
    options.set_max_open_files(OPEN_FILES)
    options.set_max_background_jobs(2)
    options.set_bytes_per_sync(MIB)
    options.set_keep_log_file_num(4)
    options.set_max_log_file_size(4 * MIB)
    options.set_stats_dump_period_sec(0)
    options.set_stats_persist_period_sec(0)
    return options
