"""What Kafka's clients in Java are told, where they take less than OpenSSL does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taskscheduler.api.settings import Flink, Kafka

pytest.importorskip("aiokafka")
from taskscheduler.streams.flink.kafka_properties import kafka_properties, tls_properties
from taskscheduler.streams.flink.rest import FlinkRefused

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
KEY = "-----BEGIN PRIVATE KEY-----\nBBBB\n-----END PRIVATE KEY-----"
ENCRYPTED = KEY.replace("PRIVATE", "ENCRYPTED PRIVATE")


def properties(folder: Path, password: str | None = None, **files: str) -> dict[str, str]:
    given: dict[str, Any] = {}
    for name, text in files.items():
        given[name] = folder / name
        given[name].write_text(text, encoding="utf-8")
    return tls_properties(Flink(**given, key_password=password), "flink", FlinkRefused)


def test_remarks_between_certificates_are_left_out(tmp_path: Path) -> None:
    bundle = f"# Autoridade Certificação\n{CERTIFICATE}\n\n# another\n{CERTIFICATE}\n"
    assert properties(tmp_path, ca_file=bundle)["ssl.truststore.certificates"] == f"{CERTIFICATE}\n{CERTIFICATE}"


def test_certificate_and_key_may_be_in_one_file(tmp_path: Path) -> None:
    found = properties(tmp_path, cert_file=f"{KEY}\n{CERTIFICATE}\n{CERTIFICATE}\n")
    assert found["ssl.keystore.key"] == KEY
    assert found["ssl.keystore.certificate.chain"] == f"{CERTIFICATE}\n{CERTIFICATE}"


def test_a_password_goes_only_with_a_key_that_has_one(tmp_path: Path) -> None:
    """As for OpenSSL, which looks at the password only then."""
    assert "ssl.key.password" not in properties(tmp_path, "hush", cert_file=CERTIFICATE, key_file=KEY)
    assert properties(tmp_path, "hush", cert_file=CERTIFICATE, key_file=ENCRYPTED)["ssl.key.password"] == "hush"


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"ca_file": CERTIFICATE.replace("CERT", "TRUSTED CERT")}, "flink.ca_file: holds no certificate"),
        ({"cert_file": CERTIFICATE, "key_file": KEY.replace("PRIV", "RSA PRIV")}, "flink.key_file: Java takes keys as"),
        ({"cert_file": CERTIFICATE + KEY.replace("PRIV", "EC PRIV")}, "flink.cert_file: Java takes keys as PKCS #8"),
    ],
)
def test_what_java_does_not_take_is_refused(tmp_path: Path, files: dict[str, str], told: str) -> None:
    with pytest.raises(FlinkRefused) as raised:
        properties(tmp_path, **files)
    assert told in str(raised.value)


def test_a_password_of_any_characters_stays_one_value() -> None:
    settings = Kafka(bootstrap_servers=("a:1",), username='a"b', password='p\\q";\nr', sasl_mechanism="PLAIN")
    said = kafka_properties(settings)["sasl.jaas.config"]
    assert said.endswith(r'PlainLoginModule required username="a\"b" password="p\\q\";\nr";')
