"""The API reference as one HTML page: no script, nothing loaded from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from typing import Any

import msgspec

from taskscheduler.api.problems import KINDS

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --accent: #2563eb; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
code, pre { font: 13px/1.45 ui-monospace, monospace; }
pre { background: var(--soft); padding: .75rem; overflow-x: auto; border-radius: 6px; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; padding: 0 .75rem; }
summary { cursor: pointer; padding: .5rem 0; }
details > :last-child { margin-bottom: .75rem; }
.method { display: inline-block; min-width: 4rem; font-weight: 700; color: var(--accent); }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-top: 1px solid var(--line); }
nav a { margin-right: 1rem; }
a { color: var(--accent); }
"""

_METHODS = ("get", "post", "put", "patch", "delete")


def render(document: dict[str, Any]) -> bytes:
    """The page for an OpenAPI document."""
    return "".join(_page(document)).encode()


def _page(document: dict[str, Any]) -> Iterator[str]:
    info, tags = document["info"], document["tags"]
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(info["title"])} API</title>'
    yield f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
    yield f"<h1>{escape(info['title'])} API <small>{escape(info['version'])}</small></h1>"
    yield f"<p>{_text(info['description'])}"
    yield '<p>The same for machines: <a href="/openapi.json">openapi.json</a> (OpenAPI 3.1).<nav>'
    yield "".join(f'<a href="#{tag["name"]}">{tag["name"]}</a>' for tag in tags)
    yield '<a href="#errors">errors</a><a href="#schemas">schemas</a></nav>'
    for tag in tags:
        yield f'<h2 id="{tag["name"]}">{tag["name"]}</h2><p>{_text(tag["description"])}'
        for path, methods in document["paths"].items():
            for method in _METHODS:
                operation = methods.get(method)
                if operation is not None and tag["name"] in operation["tags"]:
                    yield from _operation(path, method, operation, document["components"]["responses"])
    yield '<h2 id="errors">errors</h2><p>All are <code>application/problem+json</code> (RFC 9457). <code>type</code> '
    yield "names one of these.<table><tr><th>Status<th>Title<th>Meaning"
    for name, kind in KINDS.items():
        yield f'<tr id="{name}"><td>{kind.status}<td>{escape(kind.title)}<td>{_text(kind.meaning)}'
    yield '</table><h2 id="schemas">schemas</h2>'
    for name, schema in document["components"]["schemas"].items():
        yield f'<details id="schema-{name}"><summary><code>{name}</code></summary>{_json(schema)}</details>'


def _operation(path: str, method: str, operation: dict[str, Any], shared: dict[str, Any]) -> Iterator[str]:
    yield f'<details id="{operation["operationId"]}"><summary><span class="method">{method.upper()}</span>'
    yield f"<code>{escape(path)}</code> · {escape(operation['summary'])}</summary>"
    if "description" in operation:
        yield f"<p>{_text(operation['description'])}"
    if "parameters" in operation:
        yield "<table><tr><th>Parameter<th>In<th>Values<th>"
        for parameter in operation["parameters"]:
            yield f"<tr><td><code>{escape(parameter['name'])}</code><td>{parameter['in']}"
            yield f"<td>{_short(parameter['schema'])}<td>{_text(parameter.get('description', ''))}"
        yield "</table>"
    if "requestBody" in operation:
        content = next(iter(operation["requestBody"]["content"].values()))
        yield f"<p>Body: {_short(content['schema'])}"
        for example in content.get("examples", {}).values():
            yield _json(example["value"])
    yield "<table><tr><th>Status<th>Body<th>"
    for status, response in operation["responses"].items():
        if "$ref" in response:
            response = shared[response["$ref"].rsplit("/", 1)[-1]]
        content = next(iter(response.get("content", {}).values()), None)
        body = "" if content is None else _short(content["schema"])
        yield f"<tr><td>{status}<td>{body}<td>{_text(response['description'])}"
    yield "</table></details>"


def _short(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return f'<a href="#schema-{name}"><code>{name}</code></a>'
    if "enum" in schema:
        return " · ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    if schema.get("type") == "array":
        return "several: " + _short(schema["items"])
    kind = schema.get("format") or schema.get("type", "")
    bounds = [schema[name] for name in ("minimum", "maximum") if name in schema]
    return escape(str(kind)) + (f" {bounds[0]} to {bounds[1]}" if len(bounds) == 2 else "")


def _text(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _json(value: Any) -> str:
    text = escape(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
    linked = re.sub(r"#/components/schemas/(\w+)", r'<a href="#schema-\1">\1</a>', text)
    return f"<pre>{linked}</pre>"
