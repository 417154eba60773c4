"""What the actuator replies, for OpenAPI; its routes carry the same operation ids."""

from __future__ import annotations

from taskscheduler.api.operations import Operation, Response, path_parameter
from taskscheduler.api.schemas.query import parameter
from taskscheduler.api.schemas.shapes import TEXT, Schema, array, ref, response, words

_TYPES = ("application/vnd.spring-boot.actuator.v3+json", "application/json")
_PROMETHEUS = (
    "text/plain; version=0.0.4; charset=utf-8",
    "text/plain; version=1.0.0; charset=utf-8",
    "application/openmetrics-text; version=1.0.0; charset=utf-8",
)
_STATUS = words("UP", "DOWN", "OUT_OF_SERVICE", "UNKNOWN")
_NUMBER: Schema = {"type": "number"}

COMPONENTS: dict[str, Schema] = {
    "ActuatorLinks": response(
        {
            "_links": {
                "type": "object",
                "additionalProperties": response({"href": TEXT, "templated": {"type": "boolean"}}),
            }
        }
    ),
    "HealthComponent": response({"status": _STATUS}, {"details": {"type": "object"}}),
    "Health": response(
        {"status": _STATUS},
        {
            "components": {"type": "object", "additionalProperties": ref("HealthComponent")},
            "groups": array(TEXT),
        },
    ),
    "Info": {"type": "object", "additionalProperties": {"type": "object"}},
    "MetricNames": response({"names": array(TEXT)}),
    "Metric": response(
        {
            "name": TEXT,
            "description": TEXT,
            "measurements": array(response({"statistic": TEXT, "value": {"type": ["number", "null"]}})),
            "availableTags": array(response({"tag": TEXT, "values": array(TEXT)})),
        },
        {"baseUnit": TEXT},
    ),
}


def _health(id: str, summary: str) -> Operation:
    return Operation(
        id,
        "actuator",
        summary,
        {
            200: Response("Well.", ref("Health"), (), _TYPES),
            503: Response("Not well, or not ready.", ref("Health"), (), _TYPES),
        },
    )


def _reading(id: str, summary: str, schema: str) -> Operation:
    return Operation(id, "actuator", summary, {200: Response(summary + ".", ref(schema), (), _TYPES)})


_ALL = (
    _reading("actuator", "The endpoints of the actuator", "ActuatorLinks"),
    _health("health", "How the server and its parts are"),
    _health("liveness", "Whether the process is alive"),
    _health("readiness", "Whether the server takes requests"),
    Operation(
        "health_component",
        "actuator",
        "How one part of the server is",
        {
            200: Response("Well.", ref("HealthComponent"), (), _TYPES),
            503: Response("Not well.", ref("HealthComponent"), (), _TYPES),
        },
        parameters=(path_parameter("component", "Such as `log`.", TEXT),),
        problems=("not-found",),
    ),
    _reading("info", "What is running, and where", "Info"),
    _reading("metrics", "The names of all metrics", "MetricNames"),
    Operation(
        "metric",
        "actuator",
        "One metric",
        {200: Response("Its values, summed over everything that the tags leave.", ref("Metric"), (), _TYPES)},
        parameters=(
            path_parameter("name", "Such as `taskscheduler.commands`.", TEXT),
            parameter("tag", array(TEXT), "Narrows it down: `type:create`; repeatable.", style="form", explode=True),
        ),
        problems=("not-found",),
    ),
    Operation(
        "prometheus",
        "actuator",
        "All metrics for Prometheus",
        {200: Response("In the text format of Prometheus, or as OpenMetrics.", {"type": "string"}, (), _PROMETHEUS)},
    ),
)

OPERATIONS = {operation.id: operation for operation in _ALL}
