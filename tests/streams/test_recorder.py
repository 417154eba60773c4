"""The library's own suites on our recorders, and an application of the library on our storage."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID, uuid4

import pytest
from eventsourcing import persistence
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.tests import persistence as suites
from eventsourcing.utils import Environment

from taskscheduler.streams.codec import decode_record
from taskscheduler.streams.rocksdb import recorder as recorders
from taskscheduler.streams.rocksdb.database import Database
from taskscheduler.streams.rocksdb.datastore import RocksDatastore
from taskscheduler.streams.rocksdb.event_log import DECISION_TOPIC, RocksEventLog
from taskscheduler.streams.rocksdb.rows import LOG_FAMILIES
from taskscheduler.streams.rocksdb.verify import verify
from tests.streams.conformance.log import decision


class InADirectory:
    """Gives each test a datastore of its own."""

    def setUp(self) -> None:
        self.directory = TemporaryDirectory()
        self.datastore = RocksDatastore(Path(self.directory.name) / "data", count(1).__next__)

    def tearDown(self) -> None:
        assert verify(self.datastore.database).damage == ()
        self.datastore.database.close()
        self.directory.cleanup()


class TestAggregateRecorder(InADirectory, suites.AggregateRecorderTestCase):
    def create_recorder(self) -> persistence.AggregateRecorder:
        return recorders.RocksAggregateRecorder(self.datastore)


class TestAggregateRecorderOfText(TestAggregateRecorder):
    def new_originator_id(self) -> str:
        return f"task/{uuid4()}"


class TestApplicationRecorder(InADirectory, suites.ApplicationRecorderTestCase[recorders.RocksApplicationRecorder]):
    def create_recorder(self) -> recorders.RocksApplicationRecorder:
        return recorders.RocksApplicationRecorder(self.datastore)

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestApplicationRecorderOfText(TestApplicationRecorder):
    def new_originator_id(self) -> str:
        return f"task/{uuid4()}"


class TestTrackingRecorder(InADirectory, suites.TrackingRecorderTestCase):
    def create_recorder(self) -> persistence.TrackingRecorder:
        return recorders.RocksTrackingRecorder(self.datastore)


class TestProcessRecorder(InADirectory, suites.ProcessRecorderTestCase):
    def create_recorder(self) -> persistence.ProcessRecorder:
        return recorders.RocksProcessRecorder(self.datastore)


class TestNonInterleavingNotificationIDs(InADirectory, suites.NonInterleavingNotificationIDsBaseCase):
    def create_recorder(self) -> persistence.ApplicationRecorder:
        return recorders.RocksApplicationRecorder(self.datastore)


class Counted(recorders.RocksTrackingRecorder):
    """A subclass as an application with views of its own would write it."""


class TestInfrastructureFactory(suites.InfrastructureFactoryTestCase[recorders.RocksFactory]):
    def setUp(self) -> None:
        self.directory = TemporaryDirectory()
        self.env = Environment("App")
        self.env["PERSISTENCE_MODULE"] = recorders.__name__
        self.env["APP_ROCKSDB_PATH"] = self.directory.name
        super().setUp()

    def tearDown(self) -> None:
        super().tearDown()
        self.directory.cleanup()

    def expected_factory_class(self) -> type[recorders.RocksFactory]:
        return recorders.RocksFactory

    def expected_aggregate_recorder_class(self) -> type[persistence.AggregateRecorder]:
        return recorders.RocksAggregateRecorder

    def expected_application_recorder_class(self) -> type[persistence.ApplicationRecorder]:
        return recorders.RocksApplicationRecorder

    def expected_tracking_recorder_class(self) -> type[persistence.TrackingRecorder]:
        return recorders.RocksTrackingRecorder

    def tracking_recorder_subclass(self) -> type[persistence.TrackingRecorder]:
        return Counted

    def expected_process_recorder_class(self) -> type[persistence.ProcessRecorder]:
        return recorders.RocksProcessRecorder


def test_the_factory_asks_for_a_path() -> None:
    with pytest.raises(OSError, match="ROCKSDB_PATH"):
        recorders.RocksFactory(Environment("App"))


class Dog(Aggregate):
    @event("Named")
    def __init__(self, name: str) -> None:
        self.name = name
        self.tricks: list[str] = []

    @event("Learnt")
    def learn(self, trick: str) -> None:
        self.tricks.append(trick)


class Kennel(Application[UUID]):
    snapshotting_intervals = {Dog: 3}  # noqa: RUF012

    def register(self, name: str) -> UUID:
        dog = Dog(name)
        self.save(dog)
        return dog.id

    def teach(self, dog_id: UUID, trick: str) -> None:
        dog: Dog = self.repository.get(dog_id)
        dog.learn(trick)
        self.save(dog)


@pytest.fixture
def kennel_env(tmp_path: Path) -> dict[str, str]:
    return {"PERSISTENCE_MODULE": recorders.__name__, "ROCKSDB_PATH": str(tmp_path / "kennel")}


@pytest.fixture
def kennel(kennel_env: dict[str, str]) -> Iterator[Kennel]:
    kennel = Kennel(kennel_env)
    yield kennel
    kennel.close()


def test_an_application_of_the_library_is_the_same_after_reopening(kennel: Kennel, kennel_env: dict[str, str]) -> None:
    rex = kennel.register("Rex")
    for number in range(7):
        kennel.teach(rex, f"trick {number}")
    snapshots = kennel.snapshots
    assert snapshots is not None
    assert len(list(snapshots.get(rex))) == 2
    kennel.close()
    again = Kennel(kennel_env)
    try:
        found: Dog = again.repository.get(rex)
        assert (found.name, found.tricks) == ("Rex", [f"trick {number}" for number in range(7)])
        assert [item.id for item in again.notification_log.select(start=1, limit=10)] == list(range(1, 9))
        again.teach(rex, "one more")
        assert again.recorder.max_notification_id() == 9
    finally:
        again.close()


async def test_decisions_of_the_log_are_stored_events(tmp_path: Path) -> None:
    records = [decision("task/a", 0), decision("task/b", 0), decision("task/a", 1)]
    with Database(tmp_path, LOG_FAMILIES) as database:
        log = RocksEventLog(database, lambda: 5)
        await log.append(records)
        await log.close()
    datastore = RocksDatastore(tmp_path, lambda: 6)
    recorder = recorders.RocksApplicationRecorder(datastore)
    found = recorder.select_notifications(1, 10)
    assert [decode_record(item.state) for item in found] == records
    assert [(item.id, item.originator_id, item.originator_version) for item in found] == [
        (1, "task/a", 1),
        (2, "task/b", 1),
        (3, "task/a", 2),
    ]
    assert {item.topic for item in found} == {DECISION_TOPIC}
    assert [decode_record(item.state) for item in recorder.select_events("task/a")] == [records[0], records[2]]
    assert [item.originator_version for item in recorder.select_events("task/a", desc=True, limit=1)] == [2]
    datastore.database.close()


def test_a_failed_write_is_an_error_of_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datastore = RocksDatastore(tmp_path, lambda: 6)
    recorder = recorders.RocksApplicationRecorder(datastore)

    def broken() -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(datastore.database, "_flush_wal", broken)
    with pytest.raises(persistence.OperationalError, match="the disk is gone"):
        recorder.insert_events([persistence.StoredEvent(uuid4(), 1, "topic", b"state")])
    assert recorder.max_notification_id() is None
    assert recorder.select_notifications(None, 10) == []
    datastore.database.close()
