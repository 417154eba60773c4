"""How the job is put together: decisions and markers in, triggers, digests and unreadable records out.

Sources and the sink of triggers are Flink's tables, since only these tell a record's partition and offset to Python and
give a message a key of its own. Every operator has a name that never changes, by which its state is found again.
"""

from __future__ import annotations

from typing import Any

from pyflink.common import Types
from pyflink.common.serialization import SimpleStringSchema
from pyflink.datastream import DataStream, KeyedStream, StreamExecutionEnvironment
from pyflink.datastream.connectors.base import DeliveryGuarantee
from pyflink.datastream.connectors.kafka import KafkaRecordSerializationSchema, KafkaSink
from pyflink.table import DataTypes, Schema, StreamTableEnvironment, TableDescriptor

from taskscheduler.streams.flink.due import Repeats
from taskscheduler.streams.flink.functions import (
    ASKED,
    DIGESTS,
    ROUTED,
    SEEN,
    UNREADABLE,
    Due,
    ReadDecisions,
    ReadMarkers,
    first,
)
from taskscheduler.streams.flink.options import JobOptions
from taskscheduler.streams.flink.routing import routing_keys

# One character for each byte, since byte arrays do not pass between Flink's threads and Python.
_TEXT = "DECODE(`value`, 'ISO-8859-1')"
_MILLIS = "EXTRACT(EPOCH FROM `timestamp`) * 1000 + EXTRACT(MILLISECOND FROM `timestamp`)"

_FETCH_BYTES, _FETCH_WAIT = 64 * 1024, 10
"""The broker answers when it has so many bytes for the job, or after so many milliseconds: an answer costs both more
than the records in it."""


def build(environment: StreamExecutionEnvironment, options: JobOptions) -> None:
    """Put the operators of the job into an environment."""
    tables = StreamTableEnvironment.create(environment)
    decisions = _decisions(tables, options).process(ReadDecisions(options.log_id, options.partitions), SEEN)
    decisions.uid("read-decisions").name("read decisions")
    markers = _markers(tables, options).process(ReadMarkers(), ASKED).uid("read-markers").name("read markers")

    function = Due(routing_keys(options.partitions), Repeats(options.first_repeat, options.longest_repeat))
    due = _keyed(decisions, "decisions").connect(_keyed(markers, "markers")).process(function, ROUTED)
    due.uid("due").name("due")

    _write_triggers(tables, due, options)
    _write(due.get_side_output(DIGESTS), "digests", options.topics.digests, options)
    _write(decisions.get_side_output(UNREADABLE), "unreadable", options.topics.unreadable, options)


def _decisions(tables: StreamTableEnvironment, options: JobOptions) -> DataStream:
    """Rows of partition, offset, append time and value.

    Without a savepoint it reads from the offsets committed for the group, which `begin` has put at the start of the
    log; nothing else ever moves where it reads, and an offset that the log no longer has is fatal.
    """
    schema = (
        Schema.new_builder()
        .column_by_metadata("partition", DataTypes.INT(), is_virtual=True)
        .column_by_metadata("offset", DataTypes.BIGINT(), is_virtual=True)
        .column_by_metadata("timestamp", DataTypes.TIMESTAMP_LTZ(3), is_virtual=True)
        .column("value", DataTypes.BYTES())
        .build()
    )
    table = (
        _table(schema, options.topics.decisions, options)
        .format("raw")
        .option("properties.group.id", options.group_id)
        .option("properties.auto.offset.reset", "none")
        .option("properties.fetch.min.bytes", str(_FETCH_BYTES))
        .option("properties.fetch.max.wait.ms", str(_FETCH_WAIT))
        .option("scan.startup.mode", "group-offsets")
        .option("scan.topic-partition-discovery.interval", "0")
    )
    # State of another log cannot be restored: its offsets mean nothing here.
    uid = f"decisions-{options.log_id}"
    return _read(tables, "decisions", uid, table, f"`partition`, `offset`, {_MILLIS} AS appended_at, {_TEXT} AS text")


def _markers(tables: StreamTableEnvironment, options: JobOptions) -> DataStream:
    """Rows of a value."""
    table = (
        _table(Schema.new_builder().column("value", DataTypes.BYTES()).build(), options.topics.markers, options)
        .format("raw")
        .option("scan.startup.mode", "latest-offset")
        .option("scan.topic-partition-discovery.interval", "0")
    )
    return _read(tables, "markers", "markers", table, f"{_TEXT} AS text")


def _write_triggers(tables: StreamTableEnvironment, triggers: DataStream, options: JobOptions) -> None:
    schema = Schema.new_builder().column("route", DataTypes.STRING()).column("body", DataTypes.STRING()).build()
    table = (
        _table(schema, options.topics.triggers, options)
        .option("key.format", "raw")
        .option("key.fields", "route")
        .option("value.format", "raw")
        .option("value.fields-include", "EXCEPT_KEY")
        .option("sink.delivery-guarantee", "at-least-once")
        .option("properties.acks", "all")
        .option("properties.linger.ms", "1")
    )
    tables.create_temporary_table("triggers", table.build())
    tables.get_config().set("table.exec.uid.format", "triggers-<transformation>")
    statements = tables.create_statement_set()
    statements.add_insert("triggers", tables.from_data_stream(triggers).alias("route", "body"))
    statements.attach_as_datastream()


def _table(schema: Schema, topic: str, options: JobOptions) -> TableDescriptor.Builder:
    table = TableDescriptor.for_connector("kafka").schema(schema).option("topic", topic)
    for name, value in options.kafka.items():
        table = table.option(f"properties.{name}", value)
    return table


def _read(
    tables: StreamTableEnvironment, name: str, uid: str, table: TableDescriptor.Builder, columns: str
) -> DataStream:
    tables.create_temporary_table(name, table.build())
    tables.get_config().set("table.exec.uid.format", f"{uid}-<transformation>")
    return tables.to_data_stream(tables.sql_query(f"SELECT {columns} FROM {name}"))


def _keyed(stream: DataStream, uid: str) -> KeyedStream:
    keyed = stream.key_by(first, Types.STRING())
    # pyflink puts an operator of its own before the keyed stream and gives no way to name it.
    selector: Any = keyed._j_data_stream.getTransformation().getInputs().get(0)
    selector.setUid(f"{uid}-keys")
    return keyed


def _write(lines: DataStream, name: str, topic: str, options: JobOptions) -> None:
    serializer = (
        KafkaRecordSerializationSchema.builder()
        .set_topic(topic)
        .set_value_serialization_schema(SimpleStringSchema())
        .build()
    )
    sink = (
        KafkaSink.builder()
        .set_bootstrap_servers(options.kafka["bootstrap.servers"])
        .set_record_serializer(serializer)
        .set_delivery_guarantee(DeliveryGuarantee.AT_LEAST_ONCE)
        .set_property("acks", "all")
    )
    for key, value in options.kafka.items():
        sink = sink.set_property(key, value)
    lines.uid(f"{name}-lines").name(name)
    lines.sink_to(sink.build()).uid(f"{name}-sink").name(name)
