"""Rows that wait for a flush are seen as if they were on disk, and reach it all or none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskscheduler.streams.rocksdb.buffer import Buffer, BufferedTable
from taskscheduler.streams.rocksdb.database import Database


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with Database(tmp_path_factory.mktemp("buffer"), ("one", "two")) as database:
        yield database


def tables(database: Database) -> tuple[Buffer, BufferedTable[str], BufferedTable[str]]:
    buffer = Buffer(database)
    one, two = (buffer.table(name, str.encode, bytes.decode) for name in ("one", "two"))
    for table in (one, two):
        table.delete_range(b"", b"\xff" * 9)
    buffer.flush()
    return buffer, one, two


KEYS = st.sampled_from([bytes([c, d]) for c in b"abc" for d in b"xyz"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, st.text(max_size=3)),
        st.tuples(st.just("delete"), KEYS),
        st.tuples(st.just("delete_range"), KEYS, KEYS),
        st.tuples(st.just("flush")),
    ),
    max_size=30,
)


@given(STEPS, KEYS, KEYS, st.booleans(), st.none() | st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_a_table_is_an_ordered_map(
    database: Database, steps: list[tuple[str, ...]], start: bytes, end: bytes, reverse: bool, limit: int | None
) -> None:
    buffer, table, _ = tables(database)
    model: dict[bytes, str] = {}
    for name, *arguments in steps:
        if name == "flush":
            buffer.flush()
            continue
        getattr(table, name)(*arguments)
        if name == "put":
            model[arguments[0]] = arguments[1]  # type: ignore[index]
        elif name == "delete":
            model.pop(arguments[0], None)  # type: ignore[call-overload]
        else:
            model = {key: row for key, row in model.items() if not arguments[0] <= key < arguments[1]}  # type: ignore[operator]
    expected = sorted(((key, row) for key, row in model.items() if start <= key < end), reverse=reverse)
    assert list(table.scan(start, end, reverse=reverse, limit=limit)) == expected[:limit]
    assert {key: table.get(key) for key in model} == model
    buffer.flush()
    assert buffer.dirty == 0
    assert list(table.scan_flushed(b"", b"\xff")) == sorted(model.items())


def test_a_row_that_changes_often_is_encoded_and_written_once(database: Database) -> None:
    encoded: list[str] = []

    def encode(row: str) -> bytes:
        encoded.append(row)
        return row.encode()

    buffer = Buffer(database)
    table = buffer.table("one", encode, bytes.decode)
    for number in range(100):
        table.put(b"k", str(number))
        assert table.get(b"k") == str(number)
    assert buffer.dirty == 1
    assert buffer.flush() == 1
    assert encoded == ["99"]
    assert buffer.flush() == 0


def test_what_is_not_flushed_is_nowhere(database: Database) -> None:
    buffer, one, two = tables(database)
    one.put(b"a", "1")
    two.put(b"a", "1")
    buffer.flush()
    one.put(b"a", "2")
    two.delete(b"a")
    _, again = Buffer(database), Buffer(database)
    rows = [again.table(name, str.encode, bytes.decode).get(b"a") for name in ("one", "two")]
    assert rows == ["1", "1"]


def test_a_row_that_cannot_be_encoded_writes_no_other(database: Database) -> None:
    buffer, one, two = tables(database)
    one.put(b"a", "1")
    two.put(b"a", 5)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        buffer.flush()
    assert Buffer(database).table("one", str.encode, bytes.decode).get(b"a") is None
    two.put(b"a", "2")
    assert buffer.flush() == 2
    assert Buffer(database).table("one", str.encode, bytes.decode).get(b"a") == "1"
