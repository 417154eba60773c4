import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from taskscheduler.api.logs import configure
from taskscheduler.api.tracing import begin_trace, trace_parent

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level, token = root.handlers, root.level, trace_parent.set(None)
    stream = io.StringIO()
    configure("json", "info", stream)
    yield stream
    trace_parent.reset(token)
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_message_is_one_json_object_with_time_level_and_fields(out: io.StringIO) -> None:
    structlog.get_logger("taskscheduler.test").info("started", port=8080, hosts=["a"])
    [line] = lines(out)
    assert list(line)[:3] == ["time", "level", "event"]
    assert str(line["time"]).endswith("Z")
    assert (line["level"], line["event"], line["port"], line["hosts"]) == ("info", "started", 8080, ["a"])
    assert line["logger"] == "taskscheduler.test"


def test_the_standard_library_logs_alike(out: io.StringIO) -> None:
    logging.getLogger("some.library").warning("%s of %d", "one", 2, extra={"attempt": 3})
    logging.getLogger("some.library").debug("not shown")
    [line] = lines(out)
    assert (line["event"], line["level"], line["attempt"]) == ("one of 2", "warning", 3)


def test_a_trace_is_taken_over_and_shown(out: io.StringIO) -> None:
    ours = begin_trace(PARENT)
    structlog.get_logger().info("hello")
    [line] = lines(out)
    assert line["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert line["span_id"] == ours.split("-")[2] != PARENT.split("-")[2]
    assert ours.endswith("-01")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "nonsense",
        PARENT.upper(),
        PARENT.replace("00-", "ff-", 1),
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
        PARENT + "\n",
        PARENT + "-" + "x" * 500,
    ],
)
def test_a_missing_or_malformed_trace_begins_a_new_one(header: str | None) -> None:
    ours = begin_trace(header)
    assert len(ours) == 55
    assert "0af7651916cd43dd8448eb211c80319c" not in ours
    assert begin_trace(header) != ours


def test_control_characters_cannot_forge_a_line_or_move_the_cursor(out: io.StringIO) -> None:
    structlog.get_logger().info("a\nb", text="\x1b[31m\r\x00\u202e\x9b", nested={"k\n": ["\x07"]}, odd="\udc80")
    [line] = lines(out)
    assert line["event"] == "a\\x0ab"
    assert line["text"] == "\\x1b[31m\\x0d\\x00\\u202e\\x9b"
    assert line["nested"] == {"k\\x0a": ["\\x07"]}
    assert line["odd"] == "\\udc80"


def test_secrets_are_masked(out: io.StringIO) -> None:
    structlog.get_logger().info(
        "connecting to https://me:hunter2@example.org/x",
        password="hunter2",
        headers={"Authorization": "hunter2", "Accept": "*/*"},
        claim_token="hunter2",
    )
    assert "hunter2" not in out.getvalue()
    assert "example.org/x" in out.getvalue()
    assert "*/*" in out.getvalue()


def test_an_exception_keeps_its_traceback_but_no_secrets(out: io.StringIO) -> None:
    try:
        raise RuntimeError("cannot reach amqp://me:hunter2@host\x1b[2J")
    except RuntimeError:
        structlog.get_logger().exception("failed")
    [line] = lines(out)
    assert "Traceback" in str(line["exception"])
    assert "\n" in str(line["exception"])
    assert "hunter2" not in out.getvalue()
    assert "\\x1b[2J" in str(line["exception"])


def test_pretty_is_for_people() -> None:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    try:
        configure("pretty", "info", stream)
        structlog.get_logger().info("start\x1bed", port=8080)
        try:
            raise RuntimeError("amqp://me:hunter2@host \x1b[2J")
        except RuntimeError:
            structlog.get_logger().exception("failed")
    finally:
        root.handlers = handlers
        root.setLevel(level)
        structlog.reset_defaults()
    assert "start\\x1bed" in stream.getvalue()
    assert "port=8080" in stream.getvalue()
    assert "Traceback" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()
