"""Certificates as Flink's own client takes them, in key stores of Java. Belongs to the process that submits."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyflink.java_gateway import get_gateway

_ENTRY = "client"


def rest_options(properties: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Settings of Flink for the way to its JobManager, and the key stores in `folder` that they name.

    `properties` are those of `opened`. Raises Py4JJavaError for what Java cannot read.
    """
    jvm = get_gateway().jvm
    password = secrets.token_urlsafe(16)
    given = _read(properties)
    options: dict[str, str] = {}
    if (trusted := given.truststore()) is not None:
        options |= _written(trusted, folder / "trusted.p12", password, "security.ssl.rest.truststore")
    if (own := given.keystore()) is not None:
        alias = own.aliases().nextElement()
        store = jvm.java.security.KeyStore.getInstance("PKCS12")
        store.load(None, None)
        store.setKeyEntry(_ENTRY, own.getKey(alias, None), _chars(password), own.getCertificateChain(alias))
        options |= _written(store, folder / "own.p12", password, "security.ssl.rest.keystore")
        options |= {"security.ssl.rest.key-password": password, "security.ssl.rest.authentication-enabled": "true"}
    return options


def opened(properties: Mapping[str, str]) -> dict[str, str]:
    """Those of `tls_properties`, and others with them, with the key as it is without its password.

    Kafka's client cannot read a key as OpenSSL encrypts it since long (PBES2), Java can. Raises Py4JJavaError for what
    neither can read.
    """
    given = dict(properties)
    if (password := given.pop("ssl.key.password", None)) is not None:
        body = "".join(given["ssl.keystore.key"].splitlines()[1:-1])
        key = base64.encodebytes(_decrypted(base64.b64decode(body), password)).decode()
        given["ssl.keystore.key"] = f"-----BEGIN PRIVATE KEY-----\n{key}-----END PRIVATE KEY-----"
    if any(name.startswith("ssl.") for name in given):
        _read(given)
    return given


def _decrypted(key: bytes, password: str) -> bytes:
    jvm = get_gateway().jvm
    crypto = jvm.javax.crypto
    encrypted = crypto.EncryptedPrivateKeyInfo(key)
    parameters = encrypted.getAlgParameters()
    name = encrypted.getAlgName()
    algorithm = parameters.toString() if name == "PBES2" else name
    secret = crypto.SecretKeyFactory.getInstance(algorithm).generateSecret(crypto.spec.PBEKeySpec(_chars(password)))
    cipher = crypto.Cipher.getInstance(algorithm)
    cipher.init(crypto.Cipher.DECRYPT_MODE, secret, parameters)
    found: bytes = encrypted.getKeySpec(cipher).getEncoded()
    return found


def _read(properties: Mapping[str, str]) -> Any:
    """Certificates and key as Kafka's client has them in Java, which by itself takes no PEM."""
    kafka = get_gateway().jvm.org.apache.flink.kafka.shaded.org.apache.kafka.common
    configs = get_gateway().jvm.java.util.HashMap()
    configs.put("ssl.protocol", "TLS")
    for name in ("ssl.cipher.suites", "ssl.enabled.protocols"):
        configs.put(name, get_gateway().jvm.java.util.ArrayList())
    for name, value in properties.items():
        if not name.startswith("ssl."):
            continue
        configs.put(name, value if name.endswith(".type") else kafka.config.types.Password(value))
    factory = kafka.security.ssl.DefaultSslEngineFactory()
    factory.configure(configs)
    return factory


def _written(store: Any, path: Path, password: str, option: str) -> dict[str, str]:
    stream = get_gateway().jvm.java.io.FileOutputStream(str(path))
    try:
        store.store(stream, _chars(password))
    finally:
        stream.close()
    return {option: str(path), f"{option}-type": "PKCS12", f"{option}-password": password}


def _chars(text: str) -> Any:
    writer = get_gateway().jvm.java.io.CharArrayWriter()
    writer.write(text)
    return writer.toCharArray()
