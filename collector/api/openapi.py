"""The OpenAPI document, made from the route table and the very types that requests are checked with."""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from collector.api.routing import JSON, Route
from shared.codes import Code
from shared.problems import CONTENT_TYPE, Problem

VERSION = "3.1.0"
"""Source: OpenAPI Specification 3.1.0; its schemas are JSON Schema 2020-12, which is what msgspec writes."""


def document(routes: Iterable[Route], version: str) -> dict[str, Any]:
    """
    Return the OpenAPI document of these routes.

    Args:
        routes: The API.
        version: The program's.
    """
    table = list(routes)
    kinds = [Problem, *(route.body for route in table), *(route.answers for route in table)]
    _, components = msgspec.json.schema_components(
        [kind for kind in kinds if kind is not None], ref_template="#/components/schemas/{name}"
    )
    paths: dict[str, dict[str, Any]] = {}
    for route in table:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": VERSION,
        "info": {
            "title": "Rackproof collector",
            "version": version,
            "description": "Machines, their health, benchmarks and wipes. Stable error codes: "
            + ", ".join(sorted(Code)),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "An API token, rps_…"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    name = re.sub(r"[^a-z0-9]+", "_", f"{route.method} {route.path}".lower()).strip("_")
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": route.summary,
        "responses": {
            str(route.success): {"description": "Done.", **_content(route.answers, route.content_type)},
            "default": {"description": "A problem.", "content": {CONTENT_TYPE: {"schema": _schema(Problem)}}},
        },
    }
    if route.method == "PUT":
        operation["responses"]["201"] = {"description": "Made.", **_content(route.answers)}
    if route.roles is not None:
        operation["security"] = [{"token": []}]
        operation["description"] = f"Roles: {', '.join(sorted(route.roles))}."
    if route.body is not None:
        operation["requestBody"] = {"required": True, **_content(route.body)}
    parameters = [
        {"name": one, "in": "path", "required": True, "schema": {"type": "string"}}
        for one in re.findall(r"\{(\w+)\}", route.path)
    ]
    parameters += [
        {"name": one, "in": "query", "required": False, "description": words, "schema": {"type": "string"}}
        for one, words in route.query.items()
    ]
    if route.keyed:
        words = "A repeat with the same key gets the first answer again."
        key = {"name": "Idempotency-Key", "in": "header", "required": False, "description": words}
        parameters.append({**key, "schema": {"type": "string", "maxLength": 200}})
    if parameters:
        operation["parameters"] = parameters
    return operation


def _content(kind: Any, content_type: str = JSON) -> dict[str, Any]:
    if content_type != JSON:
        return {"content": {content_type: {"schema": {"type": "string"}}}}
    return {"content": {JSON: {"schema": _schema(kind) if kind is not None else {"type": "object"}}}}


def _schema(kind: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([kind], ref_template="#/components/schemas/{name}")
    return schema
