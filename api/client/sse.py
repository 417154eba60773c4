"""Server-sent events, from bytes to values (the WHATWG format)."""

from collections.abc import Iterator

import msgspec

from taskscheduler.client.models import LiveEvent


class EventStream:
    """Reads the events of one subscription across reconnects; `last_id` and `retry` (seconds) are for the next one."""

    def __init__(self, last_id: str | None = None) -> None:
        self.last_id = last_id
        self.retry: float | None = None
        self.reconnected()

    def reconnected(self) -> None:
        """Drop an event that was cut off; its id is not the last one either."""
        self._buffer = b""
        self._started = False
        self._id = self.last_id
        self._type = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[LiveEvent]:
        """Take some bytes and give the events that they complete."""
        self._buffer += chunk
        # A carriage return at the very end may be half of a line end.
        held = b"\r" if self._buffer.endswith(b"\r") else b""
        text = self._buffer[: len(self._buffer) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = text.split(b"\n")
        self._buffer = rest + held
        for line in lines:
            event = self._line(line.decode("utf-8", "replace"))
            if event is not None:
                yield event

    def _line(self, line: str) -> LiveEvent | None:
        if not self._started:
            self._started = True
            line = line.removeprefix("\ufeff")
        if not line:
            return self._end()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._type = value
        elif field == "id" and "\0" not in value:
            self._id = value
        elif field == "retry" and value.isascii() and value.isdigit():
            self.retry = int(value) / 1000
        return None

    def _end(self) -> LiveEvent | None:
        self.last_id = self._id
        data, event_type = "\n".join(self._data), self._type or "message"
        has_data = bool(self._data)
        self._data, self._type = [], ""
        return LiveEvent(type=event_type, data=_decoded(data), id=self.last_id) if has_data else None


def _decoded(data: str) -> object:
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError:
        return data
