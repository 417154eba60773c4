"""A small server that speaks the part of the API that clients and workers use, and misbehaves when told to."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from aiohttp import web

NOW = "2030-01-01T00:00:00.000Z"


@dataclass
class Seen:
    """A request as it came in."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: Any


@dataclass
class Fault:
    """What to do to the next requests whose method and path contain `part`."""

    part: str
    times: int
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    lose_reply: bool = False
    hold: bool = False


@dataclass
class Held:
    """A claim that was given."""

    run: dict[str, Any]
    attempt: int
    worker: str
    lost: bool = False
    cancel: bool = False
    progress: Any = None


class Stub:
    """The server's state, open to tests."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.faults: list[Fault] = []
        self.tasks: dict[str, dict[str, Any]] = {}
        self.calendars: dict[str, dict[str, Any]] = {}
        self.limits: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.due: list[str] = []
        self.held: dict[str, Held] = {}
        self.polls: dict[str, dict[str, Any]] = {}
        self.replays: dict[str, web.Response] = {}
        self.feeds: list[list[bytes]] = []
        self.url = ""
        self.drain = False
        self._numbers = count(1)
        self._changed = asyncio.Condition()

    async def changed(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def until(self, holds: Callable[[], Any]) -> None:
        """Wait until something holds, looking again after every request."""
        async with self._changed:
            await self._changed.wait_for(holds)

    def fault(self, part: str, status: int | None = None, times: int = 1, **more: Any) -> None:
        """Answer the next requests with a status, or drop or `hold` them; `lose_reply` carries them out first."""
        self.faults.append(Fault(part, times, status, **more))

    def asked(self, part: str) -> list[Seen]:
        """Give the requests whose method and path contain `part`."""
        return [seen for seen in self.seen if part in f"{seen.method} {seen.path}"]

    def outcomes(self) -> list[dict[str, Any]]:
        """Give all outcomes that were reported, in order."""
        return [outcome for seen in self.asked("/api/claims/report") for outcome in seen.body["outcomes"]]

    def take_back(self, token: str) -> None:
        """Let the lease of a claim run out; the run waits for its next attempt."""
        held = self.held[token]
        held.lost = True
        held.run["attempts"][-1]["outcome"] = "lost"
        held.run["status"] = "retrying"
        self.due.append(held.run["id"])

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._misbehave], client_max_size=32 * 1024 * 1024)
        app.add_routes(
            [
                web.post("/api/tasks", self.create),
                web.post("/api/tasks/batch", self.create_batch),
                web.get("/api/tasks", self.list_tasks),
                web.get("/api/tasks/{id}", self.get_task),
                web.patch("/api/tasks/{id}", self.update),
                web.delete("/api/tasks/{id}", self.delete),
                web.post("/api/tasks/{id}/{verb:cancel|pause|resume}", self.change),
                web.post("/api/tasks/{id}/{verb:owed/purge|backfill/[^/]+/cancel}", self.settle),
                web.post("/api/tasks/{id}/backfill", self.backfill),
                web.post("/api/tasks/{id}/{verb:trigger|retry}", self.start),
                web.get("/api/tasks/{id}/runs", self.list_runs),
                web.get("/api/tasks/{id}/runs/{run}", self.get_run),
                web.get("/api/tasks/{id}/events", self.list_events),
                web.get("/api/tasks/{id}/ledger", self.ledger),
                web.get("/api/tasks/{id}/why", self.why),
                web.get("/api/dead-letters", self.dead_letters),
                web.post("/api/schedules/preview", self.preview),
                web.put("/api/calendars/{name}", self.calendar),
                web.get("/api/calendars/{name}", self.calendar),
                web.delete("/api/calendars/{name}", self.calendar),
                web.get("/api/calendars", self.list_calendars),
                web.route("*", "/api/limits/{name}", self.limit),
                web.get("/api/limits", self.list_limits),
                web.get("/actuator/health", self.health),
                web.get("/api/events", self.live),
                web.post("/api/queues/{queue}/claims", self.claim),
                web.post("/api/workers/{name}/announce", self.announce),
                web.post("/api/workers/{name}/leave", self.announce),
                web.post("/api/claims/report", self.report),
                web.post("/api/claims/{token}/heartbeat", self.heartbeat),
            ]
        )
        return app

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["Stub"]:
        runner = web.AppRunner(self.app(), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    @web.middleware
    async def _misbehave(self, request: web.Request, handler: Any) -> web.StreamResponse:
        text = await request.text()
        body = json.loads(text) if text else None
        name = f"{request.method} {request.path}"
        fault = next((fault for fault in self.faults if fault.part in name and fault.times > 0), None)
        self.seen.append(Seen(request.method, request.path, list(request.query.items()), dict(request.headers), body))
        await self.changed()
        try:
            if fault is None:
                return await self._answer(request, handler)
            fault.times -= 1
            if fault.hold:
                await asyncio.Event().wait()
            response = await self._answer(request, handler) if fault.lose_reply else self._fault(fault)
            if fault.status is None and request.transport is not None:
                request.transport.abort()
            return response
        finally:
            await self.changed()

    def _fault(self, fault: Fault) -> web.StreamResponse:
        status = fault.status or 500
        body = {"title": "made to fail", "status": status} if fault.body is None else fault.body
        return web.json_response(body, status=status, headers=fault.headers)

    async def _answer(self, request: web.Request, handler: Any) -> web.StreamResponse:
        key = request.headers.get("Idempotency-Key")
        if key in self.replays:
            kept = self.replays[key]
            return web.Response(body=kept.body, status=kept.status, content_type="application/json")
        response: web.StreamResponse = await handler(request)
        if key is not None and isinstance(response, web.Response):
            self.replays[key] = response
        return response

    def problem(self, status: int, title: str, **more: Any) -> web.Response:
        return web.json_response(
            {"type": "about:blank", "title": title, "status": status, **more},
            status=status,
            content_type="application/problem+json",
        )

    def _written(self, task: dict[str, Any], status: int = 200, **more: Any) -> web.Response:
        headers = {"ETag": f'"r{task["revision"]}"', "Consistency-Token": f"{task['id']}@{task['version']}"}
        return web.json_response({**task, **more}, status=status, headers=headers)

    def make(self, fields: dict[str, Any]) -> dict[str, Any]:
        task = {
            "id": f"task-{next(self._numbers)}",
            "payload": None,
            "schedule": None,
            "timeout": "PT5M",
            "queue_timeout": None,
            "catch_up": {"policy": "latest", "window": "PT1H", "limit": 100},
            "overlap": "skip",
            "priority": 5,
            "tags": {},
            "status": "scheduled",
            "revision": 1,
            "version": 1,
            "created_at": NOW,
            "updated_at": NOW,
            "next_fire_at": None,
            "last_run": None,
            "counts": {"fired": 0, "succeeded": 0, "failed": 0, "cancelled": 0, "skipped": 0},
            "pause": None,
            "a_field_of_the_future": {"nested": [1]},
            **fields,
            "retry": {"max_attempts": 3, "initial": "PT1S", "max": "PT1H", "give_up_on": []},
        }
        self.tasks[task["id"]] = task
        if task["schedule"] is None and task["target"]["type"] in ("queue", "exec"):
            self.fire(task)
        return task

    def fire(self, task: dict[str, Any], cause: str = "schedule") -> dict[str, Any]:
        run = {
            "id": f"run-{next(self._numbers)}",
            "task_id": task["id"],
            "nominal_at": NOW,
            "scheduled_for": NOW,
            "cause": cause,
            "status": "queued",
            "reason": None,
            "attempts": [],
            "result": None,
        }
        self.runs[run["id"]] = run
        self.due.append(run["id"])
        task.update(status="running", last_run={key: value for key, value in run.items() if key != "result"})
        return run

    async def create(self, request: web.Request) -> web.Response:
        fields = await request.json()
        if not fields.get("name"):
            errors = [{"pointer": "/name", "detail": "is missing"}, {"pointer": "/target", "detail": "is odd"}]
            return self.problem(422, "invalid", detail="2 fields are wrong", errors=errors)
        if fields.get("id") in self.tasks:
            return self.problem(409, "exists", detail=f"there is a task {fields['id']}")
        return self._written(self.make(fields), 201)

    async def create_batch(self, request: web.Request) -> web.Response:
        results: list[dict[str, Any]] = []
        for fields in (await request.json())["tasks"]:
            key = fields.pop("idempotency_key")
            if not fields["name"]:
                results.append({"status": 422, "error": {"title": "invalid", "status": 422}})
            elif key in self.replays:
                results.append({"status": 201, "task": json.loads(self.replays[key].text or "")})
            else:
                self.replays[key] = web.json_response(self.make(fields))
                results.append({"status": 201, "task": json.loads(self.replays[key].text or "")})
        return web.json_response({"results": results}, headers={"Consistency-Token": "batch@1"})

    def _found(self, request: web.Request) -> dict[str, Any]:
        task = self.tasks.get(request.match_info["id"])
        if task is None:
            raise Refused(self.problem(404, "no such task"))
        if task["status"] == "deleted":
            raise Refused(self.problem(410, "deleted"))
        return task

    async def get_task(self, request: web.Request) -> web.Response:
        return web.json_response(self._found(request))

    async def list_tasks(self, request: web.Request) -> web.Response:
        name, limit = request.query.get("name", ""), int(request.query.get("limit", 50))
        first = int(request.query.get("cursor", 0))
        found = [task for task in self.tasks.values() if name in task["name"]]
        more = str(first + limit) if len(found) > first + limit else None
        return web.json_response({"items": found[first : first + limit], "next_cursor": more})

    async def update(self, request: web.Request) -> web.Response:
        task = self._found(request)
        if request.headers.get("If-Match", f'"r{task["revision"]}"') != f'"r{task["revision"]}"':
            return self.problem(412, "changed meanwhile")
        task.update(await request.json())
        task["revision"] += 1
        task["version"] += 1
        return self._written(task)

    async def delete(self, request: web.Request) -> web.Response:
        self._found(request)["status"] = "deleted"
        return web.Response(status=204)

    async def change(self, request: web.Request) -> web.Response:
        task, verb = self._found(request), request.match_info["verb"]
        if verb == "cancel" and task["status"] == "cancelled":
            return self.problem(409, "nothing to cancel")
        note = (await request.json()).get("note")
        task["status"] = {"cancel": "cancelled", "pause": "paused", "resume": "scheduled"}[verb]
        task["pause"] = {"note": note, "at": NOW, "by": "anonymous"} if verb == "pause" else None
        task["version"] += 1
        if verb == "cancel":
            for held in self.held.values():
                if held.run["task_id"] == task["id"]:
                    held.cancel = True
                    held.run["status"] = "cancelled"
        return self._written(task)

    async def settle(self, request: web.Request) -> web.Response:
        task = self._found(request)
        task["owed"] = None
        for backfill in task.get("backfills", []):
            backfill["status"] = "cancelled"
        return self._written(task)

    async def backfill(self, request: web.Request) -> web.Response:
        task, asked = self._found(request), await request.json()
        task["backfills"] = [{"id": "b1", "status": "running", "total": 3, "fired": 1, "remaining": 2, **asked}]
        return self._written(task, 202, backfill_id="b1")

    async def start(self, request: web.Request) -> web.Response:
        task, verb = self._found(request), request.match_info["verb"]
        run = self.fire(task, "manual" if verb == "trigger" else "retry")
        return self._written(task, 202, run_id=run["id"])

    async def list_runs(self, request: web.Request) -> web.Response:
        task = self._found(request)
        runs = [run for run in self.runs.values() if run["task_id"] == task["id"]]
        return web.json_response({"items": runs[::-1], "next_cursor": None})

    async def get_run(self, request: web.Request) -> web.Response:
        run = self.runs.get(request.match_info["run"])
        return self.problem(404, "no such run") if run is None else web.json_response(run)

    async def list_events(self, request: web.Request) -> web.Response:
        self._found(request)
        event = {"type": "task.created.v1", "version": 1, "time": NOW, "actor": "anonymous", "cause": None}
        return web.json_response({"items": [event], "next_cursor": None})

    async def ledger(self, request: web.Request) -> web.Response:
        task = self._found(request)
        asked = {"from": request.query.get("from", NOW), "to": request.query.get("to", NOW), "known_from": None}
        sums = {"nominal": 3, "fired": 1, "caught_up": 0, "skipped": {"overlap": 1}, "balanced": False, "differing": 1}
        different = {"from": NOW, "until": NOW, "nominal": 1, "accounted": 0, "detail": "no run"}
        return web.json_response({"task_id": task["id"], **asked, **sums, "to_come": 0, "differences": [different]})

    async def why(self, request: web.Request) -> web.Response:
        task = self._found(request)
        said = {"outcome": "not_a_fire_time", "answer": "There is no fire time then.", "run_id": None}
        return web.json_response({"task_id": task["id"], "at": request.query["at"], **said, "events": []})

    async def dead_letters(self, request: web.Request) -> web.Response:
        runs = [run for run in self.runs.values() if run["status"] == "failed"]
        return web.json_response({"items": runs[::-1], "next_cursor": None})

    async def calendar(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if request.method == "PUT":
            sent = await request.json()
            made = {"name": name, "version": self.calendars.get(name, {}).get("version", 0) + 1, "used_by": [], **sent}
            self.calendars[name] = made | {"days": sorted(sent["dates"]), "day_count": len(sent["dates"])}
        elif name not in self.calendars:
            return self.problem(404, "there is no such calendar")
        elif request.method == "DELETE":
            del self.calendars[name]
            return web.Response(status=204)
        first, last = request.query.get("from", ""), request.query.get("to", "9")
        found = self.calendars[name]
        return web.json_response({**found, "days": [day for day in found["days"] if first <= day <= last]})

    async def limit(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if request.method == "PUT":
            sent = await request.json()
            self.limits[name] = {"name": name, "version": self.limits.get(name, {}).get("version", 0) + 1, **sent}
        elif name not in self.limits:
            return self.problem(404, "there is no such limit")
        elif request.method == "DELETE":
            del self.limits[name]
            return web.Response(status=204)
        return web.json_response({**self.limits[name], "in_use": 1})

    async def list_limits(self, request: web.Request) -> web.Response:
        names = sorted(name for name in self.limits if name > request.query.get("cursor", ""))
        some = names[: int(request.query.get("limit", 50))]
        items = [self.limits[name] for name in some]
        return web.json_response({"items": items, "next_cursor": some[-1] if len(names) > len(some) else None})

    async def list_calendars(self, request: web.Request) -> web.Response:
        names = sorted(name for name in self.calendars if name > request.query.get("cursor", ""))
        some = names[: int(request.query.get("limit", 50))]
        items = [{"name": name, "day_count": self.calendars[name]["day_count"]} for name in some]
        return web.json_response({"items": items, "next_cursor": some[-1] if len(names) > len(some) else None})

    async def preview(self, request: web.Request) -> web.Response:
        times = [{"at": NOW, "local": "2030-01-01T01:00:00.000+01:00", "note": None}]
        return web.json_response({"fire_times": times, "description": "", "warnings": []})

    async def health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "UP", "components": {"log": {"status": "UP"}}})

    async def live(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for chunk in self.feeds.pop(0) if self.feeds else []:
            await response.write(chunk)
        return response

    async def announce(self, request: web.Request) -> web.Response:
        return web.json_response({"drain_requested": self.drain})

    async def claim(self, request: web.Request) -> web.Response:
        asked = await request.json()
        request_id, queue = asked["request_id"], request.match_info["queue"]
        if request_id not in self.polls and asked["wait"] != "1ms":
            await self.until(lambda: request_id in self.polls or self._ready(queue, asked["kinds"]))
        if request_id not in self.polls:
            runs = self._ready(queue, asked["kinds"])[: asked["max"]]
            claims = [self._give(run, asked["worker"]) for run in runs]
            self.polls[request_id] = {"claims": claims}
        return web.json_response(self.polls[request_id])

    def _ready(self, queue: str, kinds: list[str]) -> list[dict[str, Any]]:
        runs = [self.runs[run_id] for run_id in self.due]
        return [
            run
            for run in runs
            if (target := self.tasks[run["task_id"]]["target"])["queue"] == queue and target["kind"] in kinds
        ]

    def _give(self, run: dict[str, Any], worker: str) -> dict[str, Any]:
        self.due.remove(run["id"])
        token, task = f"token/{next(self._numbers)}", self.tasks[run["task_id"]]
        number = len(run["attempts"]) + 1
        run["attempts"].append({"number": number, "worker": worker, "started_at": NOW, "outcome": None, "error": None})
        run["status"] = "running"
        self.held[token] = Held(run, number, worker)
        return {
            "token": token,
            "task_id": task["id"],
            "run_id": run["id"],
            "attempt": number,
            "kind": task["target"]["kind"],
            "payload": task["payload"],
            "scheduled_for": NOW,
            "deadline": "2030-01-01T00:05:00.000Z",
            "timeout": task.get("timeout", "PT5M"),
            **({"exec": task["target"]} if task["target"]["type"] == "exec" else {}),
        }

    async def heartbeat(self, request: web.Request) -> web.Response:
        held = self.held.get(request.match_info["token"])
        if held is None or held.lost:
            return self.problem(404 if held is None else 409, "not yours")
        held.progress = (await request.json()).get("progress")
        return web.json_response({"cancel_requested": held.cancel, "lease_until": NOW})

    async def report(self, request: web.Request) -> web.Response:
        return web.json_response({"results": [self._end(outcome) for outcome in (await request.json())["outcomes"]]})

    def _end(self, outcome: dict[str, Any]) -> dict[str, Any]:
        held = self.held.get(outcome["token"])
        if held is None or held.lost:
            return {"status": 404 if held is None else 409}
        held.lost = True
        if outcome.get("release"):
            held.run["attempts"][-1]["outcome"] = "released"
            held.run["status"] = "queued"
            self.due.insert(0, held.run["id"])
            return {"status": 200}
        error, attempt, task = outcome.get("error"), held.run["attempts"][-1], self.tasks[held.run["task_id"]]
        attempt.update(outcome="succeeded" if error is None else "failed", error=error, finished_at=NOW)
        if held.cancel:
            return {"status": 200}
        if error is None:
            held.run.update(status="succeeded", result=outcome.get("result"))
            task.update(status="completed")
        elif outcome["retryable"] and held.attempt < 3:
            held.run.update(status="retrying")
            self.due.append(held.run["id"])
        else:
            held.run.update(status="failed", reason="attempts_exhausted" if outcome["retryable"] else "gave_up")
            task.update(status="failed")
        return {"status": 200}


class Refused(web.HTTPException):
    """Carries a problem out of a handler."""

    status_code = 500

    def __init__(self, response: web.Response) -> None:
        self.status_code = response.status
        super().__init__(text=response.text, content_type="application/problem+json")
