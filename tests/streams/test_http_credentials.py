"""http targets that say who they are: tokens, passwords, signatures, certificates, all of them by name."""

from __future__ import annotations

import base64
import shutil
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from taskscheduler.domain.definition import HttpAuth, HttpTls
from taskscheduler.streams.dispatch.dispatcher import Outcome
from taskscheduler.streams.dispatch.webhooks import keys_of, message_id
from tests.streams.http_kit import Names, Server, attempt, call, caller, kind, serving

TOKEN = "t0p-s3cret-token"
NEW, OLD = ("whsec_" + base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as made:
        yield made


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text(TOKEN + "\n")
    (tmp_path / "pass").write_text("pässword")
    (tmp_path / "hook").write_text(f"{NEW}\n{OLD}\n")
    return tmp_path


async def send(server: Server, secrets: Path, **target: Any) -> dict[str, str]:
    """The headers that came."""
    outcome = await call(server.url, settings={"secrets": secrets}, **target)
    assert outcome.error is None, outcome
    return server.requests[-1][2]


async def test_a_bearer_token(server: Server, secrets: Path) -> None:
    assert (await send(server, secrets, auth=HttpAuth(bearer="token")))["Authorization"] == f"Bearer {TOKEN}"


async def test_a_user_and_a_password(server: Server, secrets: Path) -> None:
    sent = (await send(server, secrets, auth=HttpAuth(user="ada", password="pass")))["Authorization"]
    assert base64.b64decode(sent.removeprefix("Basic ")).decode() == "ada:pässword"


async def test_any_header_can_be_a_secret(server: Server, secrets: Path) -> None:
    sent = await send(server, secrets, headers={"X-Plain": "1"}, secret_headers={"X-Api-Key": "token"})
    assert (sent["X-Plain"], sent["X-Api-Key"]) == ("1", TOKEN)


@pytest.mark.parametrize("name", ["token", "pass", "hook", "nothing"])
async def test_a_secret_that_cannot_be_used_fails_the_attempt(server: Server, secrets: Path, name: str) -> None:
    """By name, without its value, and so that the next attempt may find it."""
    if name != "nothing":
        (secrets / f"{name}.hosts").write_text("api.example")
    target: dict[str, Any] = {"sign": name} if name == "hook" else {"auth": HttpAuth(bearer=name)}
    outcome = await call(server.url, settings={"secrets": secrets}, **target)
    assert outcome.error is not None
    assert (outcome.error.type, outcome.retryable) == ("secret_unusable", True)
    assert f"'{name}'" in outcome.error.message
    assert server.requests == []


@pytest.mark.parametrize("split", range(0, len(TOKEN) + 1, 3))
async def test_what_a_server_repeats_of_it_is_not_kept(server: Server, secrets: Path, split: int) -> None:
    """Wherever it stands, also where the response is cut."""

    async def echo(request: web.Request) -> web.Response:
        sent = request.headers["Authorization"]
        return web.Response(text="x" * (16 * 1024 - split) + sent.split()[-1] + "y" * 99, status=200)

    server.answer = echo
    for auth in (HttpAuth(bearer="token"), HttpAuth(user="ada", password="token")):
        outcome = await call(server.url, settings={"secrets": secrets}, auth=auth)
        assert outcome.result is not None
        for secret in (TOKEN, base64.b64encode(f"ada:{TOKEN}".encode()).decode()):
            assert all(secret[:n] not in outcome.result for n in range(6, len(secret) + 1))


@pytest.mark.parametrize("shown", range(6, len(TOKEN)))
async def test_nor_its_beginning_where_characters_have_more_bytes(server: Server, secrets: Path, shown: int) -> None:
    """There the text is not cut by its length, and what was read ends within the secret."""
    before = "ü" * ((16 * 1024 + len(TOKEN) - shown) // 2) + "x" * (shown % 2)
    server.respond(text=before + TOKEN + "y" * 99)
    outcome = await call(server.url, settings={"secrets": secrets}, auth=HttpAuth(bearer="token"))
    assert outcome.result is not None
    assert TOKEN[:6] not in outcome.result


async def test_nor_in_the_message_of_a_failure(server: Server, secrets: Path) -> None:
    async def echo(request: web.Request) -> web.Response:
        return web.Response(text=f"unknown token {request.headers['Authorization']}", status=401)

    server.answer = echo
    outcome = await call(server.url, settings={"secrets": secrets}, auth=HttpAuth(bearer="token"))
    assert outcome.error is not None
    assert outcome.error.message == "the response has status 401: unknown token Bearer ********"


async def test_signatures_are_those_of_the_specification(server: Server, secrets: Path) -> None:
    now = int(time.time())
    async with caller(secrets=secrets, clock=lambda: now * 1000 + 999) as made:
        for payload in ('{"a": "ü"}', None):
            outcome = await made.call(attempt(server.url, payload=payload, left=10**12, sign="hook"))
            assert outcome.error is None
            _, _, headers, body = server.requests[-1]
            for key in (NEW, OLD):
                assert Webhook(key).verify(body, headers, json_parse=False) is None
            with pytest.raises(WebhookVerificationError):
                Webhook(OLD).verify(body + " ", headers, json_parse=False)
            with pytest.raises(WebhookVerificationError):
                Webhook(base64.b64encode(b"another key, also of 32 bytes!!!").decode()).verify(body, headers)
            assert headers["webhook-timestamp"] == str(now)
            assert headers["webhook-signature"].count("v1,") == 2


async def test_the_id_of_a_message_is_the_same_in_each_attempt_and_its_time_is_not(
    server: Server, secrets: Path
) -> None:
    at = [1_800_000_000_000]
    async with caller(secrets=secrets, clock=lambda: at[0]) as made:
        for _ in range(2):
            assert (await made.call(attempt(server.url, left=10**12, sign="hook"))).error is None
            at[0] += 60_000
    first, second = (headers for _, _, headers, _ in server.requests)
    assert first["webhook-id"] == second["webhook-id"] == message_id("task-1", "run-1")
    assert int(second["webhook-timestamp"]) == int(first["webhook-timestamp"]) + 60
    assert message_id("task-1", "run-1") not in (message_id("task-2", "run-1"), message_id("task-1", "run-2"))
    assert "." not in message_id("a.b", "run-1")


@pytest.mark.parametrize(
    "secret", ["", " \n", "whsec_", "secret", f"{NEW} short", "whsec_!!!", "whsec_" + "a" * 20, "whsec_" + "a" * 100]
)
def test_keys_that_are_none(secret: str) -> None:
    with pytest.raises(ValueError, match=r"^must be whsec_ and the base64 of 24 to 64 random bytes"):
        keys_of(secret)


class Certified(msgspec.Struct):
    """A server that has a certificate for hooks.example, and remembers which name it was called by."""

    server: Server
    names: list[str | None]


def certificate(folder: Path, name: str, subject: str) -> None:
    """`<name>.pem` that signs itself, and `<name>.key`."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName={subject}"),
            *("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"),
        ],
        check=True,
        capture_output=True,
    )


@pytest.fixture
async def certified(secrets: Path) -> AsyncIterator[Certified]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificates")
    certificate(secrets, "server", "DNS:hooks.example")
    certificate(secrets, "client", "DNS:scheduler.example")
    (secrets / "both").write_text((secrets / "client.pem").read_text() + (secrets / "client.key").read_text())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=secrets / "client.pem")
    context.load_cert_chain(secrets / "server.pem", secrets / "server.key")
    context.verify_mode = ssl.CERT_OPTIONAL
    names: list[str | None] = []
    context.sni_callback = lambda _, name, __: names.append(name)

    async def who(request: web.Request) -> web.Response:
        assert request.transport is not None
        peer = request.transport.get_extra_info("peercert")
        return web.Response(text=peer["subject"][0][0][1] if peer else "nobody")

    async with serving(ssl_context=context) as made:
        made.answer = who
        yield Certified(made, names)


async def call_tls(certified: Certified, secrets: Path, host: str, **tls: str) -> Outcome:
    settings = {"secrets": secrets, "resolver": Names(["127.0.0.1"])}
    url = f"https://{host}:{certified.server.port}/"
    return await call(url, settings=settings, tls=HttpTls(**tls) if tls else None)


async def test_the_certificate_is_checked_against_the_name_and_not_the_address(
    certified: Certified, secrets: Path
) -> None:
    """The connection goes to the address that was looked up; name, SNI and `Host` stay those of the URL."""
    assert (await call_tls(certified, secrets, "hooks.example", ca="server.pem")).result is not None
    assert certified.names == ["hooks.example"]
    assert certified.server.requests[0][2]["Host"] == f"hooks.example:{certified.server.port}"
    for host, tls in (
        ("other.example", {"ca": "server.pem"}),
        ("hooks.example", {}),
        ("hooks.example", {"ca": "token"}),
    ):
        outcome = await call_tls(certified, secrets, host, **tls)
        assert kind(outcome) == ("secret_unusable" if tls.get("ca") == "token" else "connection_failed")
    assert len(certified.server.requests) == 1


@pytest.mark.parametrize(
    ("tls", "who"),
    [
        ({}, "nobody"),
        ({"cert": "client.pem", "key": "client.key"}, "client"),
        ({"cert": "both"}, "client"),
        ({"cert": "client.pem"}, None),
        ({"cert": "client.pem", "key": "server.key"}, None),
        ({"cert": "token"}, None),
        ({"cert": "missing"}, None),
    ],
)
async def test_a_client_certificate(certified: Certified, secrets: Path, tls: dict[str, str], who: str | None) -> None:
    outcome = await call_tls(certified, secrets, "hooks.example", ca="server.pem", **tls)
    if who is None:
        assert kind(outcome) == "secret_unusable"
        assert outcome.error is not None
        assert f"'{tls['cert']}'" in outcome.error.message
    else:
        assert outcome.result == msgspec.json.encode({"status": 200, "body": who}).decode()


async def test_a_certificate_that_is_replaced_is_used_with_the_next_attempt(
    certified: Certified, secrets: Path
) -> None:
    settings = {"secrets": secrets, "resolver": Names(["127.0.0.1"])}
    tls = HttpTls(cert="both", ca="server.pem")
    async with caller(**settings) as made:
        found = []
        for content in ("both", None):
            if content is None:
                (secrets / "both").write_text("nothing")
            found.append(await made.call(attempt(f"https://hooks.example:{certified.server.port}/", tls=tls)))
    assert found[0].error is None
    assert kind(found[1]) == "secret_unusable"
