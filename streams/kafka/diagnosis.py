"""Why no broker is reached, in terms of our settings: the clients only say that they have tried them all."""

from __future__ import annotations

import asyncio
import ssl

from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError, KafkaError, SaslAuthenticationFailed, UnsupportedSaslMechanismError
from aiokafka.protocol.metadata import MetadataRequest

from taskscheduler.streams.kafka.client_options import KafkaSettings, client_options, why
from taskscheduler.streams.kafka.refusals import KafkaRefused

_LOOK = 2.0
"""Seconds for the second look at a broker: one that stands still has kept who asks waiting for long already."""

_PARTING = 0.5
"""Seconds for ending it: with TLS both sides have a last word."""


async def refusal(settings: KafkaSettings, error: BaseException) -> KafkaRefused:
    """What to raise when Kafka cannot be used: it names the setting at fault, where a second look can tell."""
    told = why(error)
    if isinstance(error, KafkaConnectionError):
        for server in settings.bootstrap_servers:
            told = await _tried(settings, server) or told
    return KafkaRefused(f"Kafka at {', '.join(settings.bootstrap_servers)} cannot be used: {told}")


async def _tried(settings: KafkaSettings, server: str) -> str | None:
    """What the setting is that a broker does not agree with; None when it agrees, or nobody is there."""
    options = client_options(settings)
    host, _, port = server.rpartition(":")
    for name in ("bootstrap_servers", "retry_backoff_ms", "metadata_max_age_ms", "connections_max_idle_ms"):
        del options[name]
    connection = AIOKafkaConnection(host.strip("[]"), int(port), **options)
    try:
        async with asyncio.timeout(_LOOK):
            await connection.connect()
            await connection.send(MetadataRequest([]))
    except SaslAuthenticationFailed:
        return f"kafka.username, kafka.password: {server} does not accept them ({settings.sasl_mechanism})"
    except UnsupportedSaslMechanismError:
        return f"kafka.sasl_mechanism: {server} does not offer {settings.sasl_mechanism}"
    except ssl.SSLCertVerificationError as error:
        return f"kafka.ca_file: it does not vouch for {server}: {error.verify_message}"
    except ConnectionRefusedError:
        return None
    except (KafkaError, OSError, TimeoutError) as error:
        return _closed(settings, server, error)
    finally:
        closed = connection.close()
        if closed is not None:
            await asyncio.wait([closed], timeout=_PARTING)
    return None


def _closed(settings: KafkaSettings, server: str, error: BaseException) -> str | None:
    cause = error.__cause__ or error
    if isinstance(cause, ssl.SSLError) and "CERTIFICATE" in (cause.reason or ""):
        return f"kafka.cert_file: {server} asks for a certificate that it knows"
    if isinstance(cause, EOFError | ConnectionError | ssl.SSLError):
        what = "kafka.tls" if settings.username else "kafka.tls, kafka.username"
        return f"{what}: {server} ends the connection, as where it expects other settings"
    return None
