"""TLS towards the servers that the cluster profile builds on, from settings that Kafka and Cassandra have alike."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Protocol


class TlsSettings(Protocol):
    """Which certificates to trust, and the own one where a server asks for it."""

    @property
    def ca_file(self) -> Path | None: ...
    @property
    def cert_file(self) -> Path | None: ...
    @property
    def key_file(self) -> Path | None: ...
    @property
    def key_password(self) -> str | None: ...


def tls_context(settings: TlsSettings, group: str, refused: type[Exception]) -> ssl.SSLContext:
    """A context that checks the server's certificate. Raises `refused`, naming the setting of the group at fault."""
    named = {"ca_file": settings.ca_file, "cert_file": settings.cert_file, "key_file": settings.key_file}
    for name, path in named.items():
        if path is not None and not path.is_file():
            raise refused(f"{group}.{name}: there is no file {str(path)!r}")
    if settings.key_file is not None and settings.cert_file is None:
        raise refused(f"{group}.cert_file: needed too; {group}.key_file is the key of a certificate")
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise refused(f"{group}.ca_file: cannot be used: {type(error).__name__}") from None
    if settings.cert_file is not None:
        # An empty password instead of none: OpenSSL would ask for one on the terminal.
        password = settings.key_password or ""
        try:
            context.load_cert_chain(settings.cert_file, settings.key_file, password)
        except (OSError, ssl.SSLError) as error:
            raise refused(
                f"{group}.cert_file: certificate, key and {group}.key_password do not fit together: "
                f"{type(error).__name__}"
            ) from None
    return context
