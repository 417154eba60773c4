"""Beat schedules as tasks, held to what Celery's user guide says of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cli_stub import Run, StubServer

from taskscheduler.api.migration.celery import tasks_of
from taskscheduler.api.migration.celery_source import from_json, from_python
from taskscheduler.api.migration.entries import Options, Reading, Unreadable
from taskscheduler.domain.cron import compile_cron

OPTIONS = Options(queue="commands", kind=None, timezone=None, timeout="1d")
NOW = 1_893_456_000_000

# Of docs.celeryq.dev/en/stable/userguide/periodic-tasks.html
GUIDE = """\
from celery.schedules import crontab

app.conf.timezone = 'Europe/London'
app.conf.beat_schedule = {
    'add-every-30-seconds': {
        'task': 'tasks.add',
        'schedule': 30.0,
        'args': (16, 16)
    },
    # Executes every Monday morning at 7:30 a.m.
    'add-every-monday-morning': {
        'task': 'tasks.add',
        'schedule': crontab(hour=7, minute=30, day_of_week=1),
        'args': (16, 16),
    },
}
"""


def python(text: str) -> Reading:
    return tasks_of(from_python(text), OPTIONS, NOW)


def of(schedule: str, more: str = "") -> Reading:
    return python(f"beat_schedule = {{\n  'x': {{'task': 'a.b', 'schedule': {schedule}, {more}}}}}")


def schedule_of(text: str) -> dict[str, Any]:
    reading = of(text)
    assert reading.refused == []
    found: dict[str, Any] = reading.entries[0].task["schedule"]
    return found


def test_the_example_of_the_guide() -> None:
    reading = python(GUIDE)
    assert reading.refused == []
    often, monday = reading.entries
    assert (often.line, monday.line) == (5, 11)
    assert often.task["name"] == "add-every-30-seconds"
    assert often.task["schedule"] == {"every": 30}
    assert often.task["target"] == {"type": "queue", "queue": "commands", "kind": "tasks.add"}
    assert often.task["payload"] == {"task": "tasks.add", "args": [16, 16], "kwargs": {}}
    assert monday.task["schedule"] == {"cron": "30 7 * * 1", "timezone": "Europe/London"}


@pytest.mark.parametrize(
    ("written", "cron"),
    [
        # The table of the guide.
        ("crontab()", "* * * * *"),
        ("crontab(minute=0, hour=0)", "0 0 * * *"),
        ("crontab(minute=0, hour='*/3')", "0 */3 * * *"),
        ("crontab(minute=0, hour='0,3,6,9,12,15,18,21')", "0 0,3,6,9,12,15,18,21 * * *"),
        ("crontab(minute='*/15')", "*/15 * * * *"),
        ("crontab(day_of_week='sunday')", "* * * * sun"),
        ("crontab(minute='*/10', hour='3,17,22', day_of_week='thu,fri')", "*/10 3,17,22 * * thu,fri"),
        ("crontab(minute=0, hour='*/2,*/3')", "0 */2,*/3 * * *"),
        ("crontab(minute=0, hour='*/3,8-17')", "0 */3,8-17 * * *"),
        ("crontab(0, 0, day_of_month='2')", "0 0 2 * *"),
        ("crontab(0, 0, day_of_month='1-7,15-21')", "0 0 1-7,15-21 * *"),
        ("crontab(0, 0, day_of_month='11', month_of_year='5')", "0 0 11 5 *"),
        ("crontab(0, 0, month_of_year='*/3')", "0 0 * */3 *"),
        # Other ways to write them.
        ("crontab(minute=[30, 0], hour={7})", "0,30 7 * * *"),
        ("crontab(minute=(0, 30), hour=range(9, 12))", "0,30 9,10,11 * * *"),
        ("celery.schedules.crontab(month_of_year='January')", "* * * Jan *"),
    ],
)
def test_crontabs(written: str, cron: str) -> None:
    assert schedule_of(written) == {"cron": cron, "timezone": "UTC"}


def test_all_fields_have_to_match_days_included() -> None:
    cron = compile_cron(schedule_of("crontab(0, 0, day_of_month='1-7', day_of_week='mon')")["cron"])
    found, at = [], NOW - 1
    while (fire := cron.next_after(at, "UTC")) is not None and fire < NOW + 120 * 86_400_000:
        found.append(datetime.fromtimestamp(fire / 1000, UTC))
        at = fire
    begin = datetime.fromtimestamp(NOW / 1000, UTC)
    days = (begin + timedelta(days=n) for n in range(120))
    assert found == [day for day in days if day.day <= 7 and day.isoweekday() == 1]


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("10", 10),
        ("0.5", 0.5),
        ("60 * 5", 300),
        ("timedelta(minutes=5)", 300),
        ("datetime.timedelta(1, 30)", 86_430),
        ("timedelta(hours=1, seconds=60 * 2)", 3_720),
        ("schedule(run_every=timedelta(seconds=7))", 7),
        ("schedule(7)", 7),
    ],
)
def test_intervals(written: str, seconds: float) -> None:
    assert schedule_of(written) == {"every": seconds}


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("solar('sunset', -37.8, 144.9)", ["solar", "crontab"]),
        ("EVERY", ["EVERY"]),
        ("get_schedule()", ["get_schedule"]),
        ("crontab(minute=MINUTE)", ["minute", "MINUTE", "executed"]),
        ("crontab(nowfun=now)", ["nowfun"]),
        ("crontab(0, 0, 1)", ["order"]),
        ("crontab(**kwargs)", ["written out"]),
        ("crontab(*args)", ["written out"]),
        ("crontab(minute='61')", ["minute", "61"]),
        ("crontab(minute=[])", ["crontab cannot be given"]),
        ("crontab(minute=1.5)", ["1.5"]),
        ("crontab(minute=range(10 ** 9))", ["number"]),
        ("crontab(minute=range(1000000000))", ["more than there are"]),
        ("timedelta(minutes=m)", ["m is not a number"]),
        ("timedelta(fortnights=1)", ["fortnights"]),
        ("timedelta(days=1e99)", ["timedelta"]),
        ("-5", ["schedule"]),
        ("0", ["every"]),
        ("1 / 0", ["1 / 0"]),
        ("True", ["True"]),
        ("__import__('os').system('touch executed')", ["system"]),
    ],
)
def test_what_cannot_be_read_is_named_with_the_reason(written: str, words: list[str]) -> None:
    reading = of(written)
    assert reading.entries == []
    [refusal] = reading.refused
    assert (refusal.line, refusal.entry) == (2, "x")
    for word in words:
        assert word in refusal.reason


def test_nothing_of_the_file_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch = "__import__('pathlib').Path('executed').touch()"
    python(f"{touch}\nbeat_schedule = {{'x': {{'task': {touch}, 'schedule': 5, 'args': ({touch},)}}, {touch}: 1}}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("'args': (now(),)", ["args", "now()"]),
        ("'args': 5", ["args"]),
        ("**more", ["written out"]),
        ("'options': [1]", ["options"]),
        ("'options': {'queue': 5}", ["options.queue"]),
        ("'options': {'queue': 'no queue'}", ["target.queue"]),
    ],
)
def test_other_members_have_to_be_literals(more: str, words: list[str]) -> None:
    [refusal] = of("5", more).refused
    for word in words:
        assert word in refusal.reason


def test_options_are_carried_over_or_told() -> None:
    more = "'kwargs': {'a': [1, None]}, 'options': {'queue': 'mail', 'time_limit': 90, 'expires': 5}, 'relative': True"
    [entry] = of("5", more).entries
    assert entry.task["target"]["queue"] == "mail"
    assert entry.task["timeout"] == 90
    assert entry.task["payload"]["kwargs"] == {"a": [1, None]}
    assert entry.notes == ("not carried over: options.expires, relative",)


@pytest.mark.parametrize(
    "text",
    [
        "CELERY_BEAT_SCHEDULE = {ENTRY}",
        "CELERYBEAT_SCHEDULE: dict = {ENTRY}",
        "class Config:\n    beat_schedule = {ENTRY}",
        "app.conf.update(beat_schedule={ENTRY})",
        "app.conf.update({'beat_schedule': {ENTRY}})",
        "app.conf['beat_schedule'] = {ENTRY}",
        "app.conf.beat_schedule.update({ENTRY})",
        "app.conf.beat_schedule['x'] = {'task': 'a.b', 'schedule': 5}",
        "def make():\n    app.conf.beat_schedule = {ENTRY}",
    ],
)
def test_wherever_it_is_written_out(text: str) -> None:
    reading = python(text.replace("ENTRY", "'x': {'task': 'a.b', 'schedule': 5}"))
    assert [entry.task["name"] for entry in reading.entries] == ["x"]
    assert reading.refused == []


def test_what_is_made_at_run_time_is_told() -> None:
    text = "beat_schedule = make()\nbeat_schedule = {**BASE, NAME: {}, 'x': y}\n"
    text += "@app.on_after_configure.connect\ndef setup(sender, **kwargs):\n"
    text += "    sender.add_periodic_task(10.0, test.s('hello'))"
    reading = python(text)
    assert [(refusal.line, refusal.entry) for refusal in reading.refused] == [
        (1, "make()"),
        (2, "**BASE"),
        (2, "NAME"),
        (2, "x"),
        (5, "sender.add_periodic_task(10.0, test.s('hello'))"),
    ]


def test_the_zone_of_the_file_is_not_that_of_an_argument() -> None:
    entry = "'x': {'task': 'a.b', 'schedule': crontab(), 'kwargs': {'timezone': 'Asia/Tokyo'}}"

    def zone(text: str) -> str:
        found: str = python(text).entries[0].task["schedule"]["timezone"]
        return found

    assert zone(f"beat_schedule = {{{entry}}}") == "UTC"
    assert zone(f"beat_schedule = {{{entry}}}\nCELERY_TIMEZONE = 'Asia/Seoul'") == "Asia/Seoul"
    assert zone(f"app.conf.update(beat_schedule={{{entry}}}, timezone='Asia/Seoul')") == "Asia/Seoul"


@pytest.mark.parametrize("text", ["x = 1", "def f(:", "1+" * 100_000 + "1", "(" * 500, "\0"])
def test_a_file_without_a_schedule_is_told(text: str) -> None:
    with pytest.raises(Unreadable):
        from_python(text)


def test_json_in_the_forms_that_there_are() -> None:
    entries = {
        "seconds": {"task": "a.b", "schedule": 30, "args": [1]},
        "fields": {"task": "a.b", "schedule": {"minute": "0", "hour": [1, 2]}},
        "redbeat": {"task": "a.b", "schedule": {"__type__": "crontab", "minute": "5", "hour": "*", "day_of_week": "*"}},
        "interval": {"task": "a.b", "schedule": {"__type__": "interval", "every": 60.0, "relative": False}},
        "span": {"task": "a.b", "schedule": {"minutes": 5}},
        "cron": {"task": "a.b", "schedule": "0 1 * * *"},
        "none": {"task": "a.b"},
        "text": "a.b",
    }
    for whole in (entries, {"beat_schedule": entries}, {"CELERY_BEAT_SCHEDULE": entries}):
        reading = tasks_of(from_json(json.dumps(whole)), OPTIONS, NOW)
        assert [entry.task["schedule"] for entry in reading.entries] == [
            {"every": 30},
            {"cron": "0 1,2 * * *", "timezone": "UTC"},
            {"cron": "5 * * * *", "timezone": "UTC"},
            {"every": 60},
            {"every": 300},
        ]
        assert [refusal.entry for refusal in reading.refused] == ["cron", "none", "text"]
    zoned = {"timezone": "Asia/Tokyo", "beat_schedule": {"fields": entries["fields"]}}
    [entry] = tasks_of(from_json(json.dumps(zoned)), OPTIONS, NOW).entries
    assert entry.task["schedule"]["timezone"] == "Asia/Tokyo"
    for text in ("[]", "{", '{"beat_schedule": 5}'):
        with pytest.raises(Unreadable):
            from_json(text)


def test_an_id_is_of_the_name() -> None:
    def id_of(text: str) -> str:
        found: str = python(text).entries[0].task["id"]
        return found

    one = "beat_schedule = {'x y': {'task': 'a.b', 'schedule': 5}}"
    assert id_of(one) == id_of(one.replace("5", "6").replace("a.b", "c.d"))
    assert id_of(one) != id_of(one.replace("x y", "x-y"))


def test_the_command_reads_both_kinds_of_file(stub: StubServer, cli: Run, tmp_path: Path) -> None:
    source, config = tmp_path / "celeryconfig.py", tmp_path / "beat.json"
    source.write_text(GUIDE)
    config.write_text('{"x": {"task": "name with spaces", "schedule": 5}}')
    code, out, _ = cli(
        "import", "celery", str(source), "--timezone", "Asia/Tokyo", "--kind", "beat", "--queue", "celery"
    )
    rows = json.loads(out)["tasks"]
    assert (code, [row["state"] for row in rows]) == (0, ["new", "new"])
    assert rows[1]["task"]["schedule"]["timezone"] == "Asia/Tokyo"
    assert rows[1]["task"]["target"] == {"type": "queue", "queue": "celery", "kind": "beat"}
    code, out, err = cli("import", "celery", str(config))
    assert code == 1
    assert "--kind" in json.loads(out)["refused"][0]["reason"]
    assert f"{config}: not taken: x" in err
    assert cli("import", "celery", str(config), "--kind", "k")[0] == 0
    source.write_text("nothing = 1")
    code, out, err = cli("import", "celery", str(source))
    assert (code, out) == (2, "")
    assert "beat_schedule" in err
