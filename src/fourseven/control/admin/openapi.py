"""The API's own description: OpenAPI 3.1, made of the table by which the server routes."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, TypeAdapter

from fourseven import __version__
from fourseven.control.admin.access import Access
from fourseven.control.admin.refusals import KINDS, MEDIA_TYPE
from fourseven.control.admin.table import OPERATIONS, Operation

SCHEMAS = "#/components/schemas/"
PROBLEM = {
    "type": "object",
    "description": "RFC 9457.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"enum": [f"urn:fourseven:problem:{kind}" for kind in KINDS]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong, and what would be right."},
    },
}


def document() -> dict[str, Any]:
    """The whole description."""
    schemas: dict[str, Any] = {"Problem": PROBLEM}
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _one(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "fourseven admin API",
            "version": __version__,
            "description": "By the unix socket admin.sock nothing is asked for; by an address, a"
            " token.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _one(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [*_path(operation), *_query(operation, schemas)],
        "security": [] if operation.needs is Access.OPEN else [{"token": []}],
        "responses": {"200": _answer(operation, schemas), **_refusals(operation)},
    }
    if operation.needs is not Access.OPEN:
        said["x-needs"] = operation.needs.name.lower()
    if operation.body is not None:
        schema = _schema(operation.body, schemas)
        said["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    return said


def _path(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", operation.path)
    ]


def _query(operation: Operation, schemas: dict[str, Any]) -> list[dict[str, Any]]:
    if operation.query is None:
        return []
    properties = _made(operation.query, schemas)["properties"]
    return [
        {
            "name": name,
            "in": "query",
            "description": schema.pop("description", ""),
            "schema": schema,
        }
        for name, schema in properties.items()
    ]


def _answer(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    if isinstance(operation.returns, str):
        return {
            "description": "Text.",
            "content": {operation.returns: {"schema": {"type": "string"}}},
        }
    schema = _schema(operation.returns, schemas)
    return {"description": "As asked.", "content": {"application/json": {"schema": schema}}}


def _refusals(operation: Operation) -> dict[str, Any]:
    kinds = ["host", *operation.refusals]  # by the browser's check, whatever the call
    if operation.needs is not Access.OPEN:
        kinds += ["unauthorized", "not-ready"]
    if operation.method != "GET":
        kinds += ["malformed", "too-large", "media-type", "invalid"]
    kinds += ["fault", "timeout"]
    content = {MEDIA_TYPE: {"schema": {"$ref": f"{SCHEMAS}Problem"}}}
    statuses = dict.fromkeys(str(KINDS[kind][0]) for kind in kinds)
    titles = {str(KINDS[kind][0]): KINDS[kind][1] for kind in kinds}
    titles["403"] = "A host, a page or a token that may not do that"
    return {code: {"description": titles[code], "content": content} for code in statuses}


def _schema(kind: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    """The type's schema; what has a name stands among the components."""
    made = _made(kind, schemas)
    name = getattr(kind, "__name__", "")
    if "properties" in made and name != "dict":
        schemas[name] = made
        return {"$ref": f"{SCHEMAS}{name}"}
    return made


def _made(kind: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        made = kind.model_json_schema(ref_template=f"{SCHEMAS}{{model}}")
    else:
        made = TypeAdapter(kind).json_schema(ref_template=f"{SCHEMAS}{{model}}")
    schemas.update(made.pop("$defs", {}))
    return made
