"""Records keep their verdicts wherever a log is brought: what came too late stays behind, all else is accepted."""

from __future__ import annotations

import asyncio
import time
import uuid
from pathlib import Path

import msgspec
import pytest

from taskscheduler.api.bootstrap import FAMILIES
from taskscheduler.api.local_cluster.preparation import settings_of
from taskscheduler.api.settings import Settings
from taskscheduler.streams.replay.refold import refolded_digest
from taskscheduler.streams.rocksdb.database import Database
from taskscheduler.streams.rocksdb.event_log import RocksEventLog
from tests.streams.kafka_kit import now
from tests.streams.replay_command import flags_of, replay
from tests.streams.replay_kit import a_history, as_decided
from tests.support.engines import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]


def test_verdicts_stay_wherever_a_log_goes(cluster: Cluster, tmp_path: Path) -> None:
    """Records that came too late stand on the log, and others that came in time after them, as the same version."""
    shared = settings_of(cluster.plan)

    def elsewhere() -> Settings:
        kafka = msgspec.structs.replace(shared.kafka, topic_prefix=f"r{uuid.uuid4().hex[:12]}", partitions=1)
        return msgspec.structs.replace(shared, data_dir=tmp_path / "none", kafka=kafka)

    here, there, back = elsewhere(), elsewhere(), tmp_path / "back"
    expired, last = asyncio.run(_fill(here))
    digest = asyncio.run(_digest_on_kafka(here, tmp_path / "here"))
    file = str(tmp_path / "log.gz")
    code, told, said = replay("export", file, *flags_of(here))
    assert (code, told["positions"]["0"] - told["records"]) == (0, expired), said
    while now() <= last:  # from then on each of them would be too late
        time.sleep(0.05)
    for flags in (flags_of(there), ["--data-dir", str(back)]):
        code, _, said = replay("import", file, *flags, "--execute")
        assert code == 0, said
    assert asyncio.run(_digest_on_kafka(there, tmp_path / "there")) == digest
    with Database(back, FAMILIES) as database:
        assert asyncio.run(refolded_digest(RocksEventLog(database, now), tmp_path / "rocks"))[1] == digest


async def _fill(settings: Settings) -> tuple[int, int]:
    """A history, each third record of which came too late first; how many did, and until when the last was valid."""
    from taskscheduler.streams.kafka.event_log import KafkaEventLog

    log = await KafkaEventLog.open(settings.kafka, clock=now)
    expired = last = 0
    for change in a_history().accepted:
        last = now() + 10_000
        record = msgspec.structs.replace(as_decided(change), valid_until=last)
        late = msgspec.structs.replace(record, record_id=f"late-{change.position}", valid_until=1)
        comes_late = change.position % 3 == 0
        await log.append([late, record] if comes_late else [record])
        expired += comes_late
    await log.close()
    return expired, last


async def _digest_on_kafka(settings: Settings, scratch: Path) -> str:
    """Of the state that the whole log folds to, with the hash over the ids of accepted records."""
    from taskscheduler.streams.kafka.event_log import KafkaEventLog

    log = await KafkaEventLog.open(settings.kafka, clock=now)
    try:
        return (await refolded_digest(log, scratch))[1]
    finally:
        await log.close()
