"""What is special to the client on http.client: its connections."""

import socket
import threading
from collections.abc import Iterator

import pytest

from taskscheduler.client import Client

REPLY = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{"status":"UP"}'


class Counting:
    """A server that counts connections, and closes each after so many replies."""

    def __init__(self, replies: int) -> None:
        self.replies = replies
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                for _ in range(self.replies):
                    if not self.read(connection):
                        break
                    connection.sendall(REPLY)

    def read(self, connection: socket.socket) -> bool:
        head = b""
        while b"\r\n\r\n" not in head:
            chunk = connection.recv(4096)
            if not chunk:
                return False
            head += chunk
        return True

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


@pytest.fixture
def counting(request: pytest.FixtureRequest) -> Iterator[Counting]:
    server = Counting(request.param)
    yield server
    server.close()


@pytest.mark.parametrize("counting", [100], indirect=True)
def test_calls_share_a_connection(counting: Counting) -> None:
    with Client(counting.url) as client:
        for _ in range(5):
            client.health()
    assert counting.connections == 1


@pytest.mark.parametrize("counting", [1], indirect=True)
def test_a_connection_that_the_server_closed_is_replaced_without_waiting(counting: Counting) -> None:
    slept: list[float] = []
    with Client(counting.url, sleep=slept.append) as client:
        for _ in range(5):
            client.health()
    assert (counting.connections, slept) == (5, [])
