"""The OpenAPI 3.1 document, made from the operations and the models that check requests."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from ._operations import ERROR_STATUS, OPERATIONS, Header, Operation
from ._schemas import ErrorBody, NoBody, NoQuery

_REF = "#/components/schemas/{model}"

_ABOUT = """
A chat whose answers survive reloads, dropped connections, several viewers, deploys and crashes.

Send a message, then follow the thread's stream. Each event has an id; a client that comes back with the id it had gets
exactly what it missed. Errors have one form: `{"error": {"code", "message", "detail"}}`.
""".strip()

_EVENTS = """
: ka
retry: 1724
id: 1795452603816-1
event: chunk
data: Hello

id: 1795452603816-2
event: system
data: end

""".lstrip()


def build_document(*, server: str, version: str) -> dict[str, Any]:
    """Make the document.

    Args:
        server: where the API is mounted, such as ``/assistant``; empty for the root.
        version: the library's version.
    """
    schemas = _Schemas()
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for operation in OPERATIONS:
        paths[operation.path][operation.method.lower()] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "resumable_stream", "version": version, "description": _ABOUT},
        "servers": [{"url": server or "/"}],
        "tags": [
            {"name": "chat", "description": "Messages, streams, stop."},
            {"name": "threads", "description": "Conversations."},
            {"name": "health", "description": "For load balancers and orchestrators."},
        ],
        "paths": dict(paths),
        "components": {"schemas": schemas.found},
    }


class _Schemas:
    """Collects the models that are referred to."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}

    def of(self, kind: Any, mode: JsonSchemaMode) -> dict[str, Any]:
        schema = TypeAdapter(kind).json_schema(ref_template=_REF, mode=mode)
        self.found.update(schema.pop("$defs", {}))
        if schema.get("type") == "object" and "title" in schema:
            name = schema["title"]
            self.found[name] = schema
            return {"$ref": _REF.format(model=name)}
        return schema


def _operation(operation: Operation[Any, Any], schemas: _Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
    }
    parameters = _query_parameters(operation) + [_header_parameter(h) for h in operation.headers]
    if parameters:
        described["parameters"] = parameters
    if operation.body is not NoBody:
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schemas.of(operation.body, "validation")}},
        }
    described["responses"] = _responses(operation, schemas)
    return described


def _query_parameters(operation: Operation[Any, Any]) -> list[dict[str, Any]]:
    schema = TypeAdapter(operation.query).json_schema(ref_template=_REF)
    required = schema.get("required", [])
    parameters = []
    for name, found in schema.get("properties", {}).items():
        description = found.pop("description", None)
        found.pop("title", None)
        parameter = {"name": name, "in": "query", "required": name in required, "schema": found}
        if description is not None:
            parameter["description"] = description
        parameters.append(parameter)
    return parameters


def _header_parameter(header: Header) -> dict[str, Any]:
    schema = {"type": "string"} | ({} if header.pattern is None else {"pattern": header.pattern})
    return {
        "name": header.name,
        "in": "header",
        "required": False,
        "description": header.description,
        "schema": schema,
    }


def _responses(operation: Operation[Any, Any], schemas: _Schemas) -> dict[str, Any]:
    success: dict[str, Any] = {"description": operation.result_description}
    if operation.stream:
        success["content"] = {"text/event-stream": {"example": _EVENTS}}
    elif operation.result is not None:
        result = schemas.of(operation.result, "serialization")
        success["content"] = {"application/json": {"schema": result}}
    if operation.result_headers:
        success["headers"] = {
            header.name: {"description": header.description, "schema": {"type": "string"}}
            for header in operation.result_headers
        }
    responses = {str(operation.status): success}
    if operation.stream:
        responses["204"] = {"description": "There is nothing to send, and nothing to wait for."}
    if operation.id == "readyz":
        responses["503"] = {**success, "description": "Something is missing, or the server is about to stop."}
    meanings: dict[int, list[str]] = defaultdict(list)
    for code in _codes(operation):
        status, meaning = ERROR_STATUS[code]
        meanings[status].append(f"`{code}`: {meaning}")
    error = {"application/json": {"schema": schemas.of(ErrorBody, "serialization")}}
    for status in sorted(meanings):
        text = "\n".join(meanings[status])
        responses[str(status)] = {"description": text, "content": error}
        if status in (429, 503):
            responses[str(status)]["headers"] = {
                "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}
            }
    return dict(sorted(responses.items()))


def _codes(operation: Operation[Any, Any]) -> list[str]:
    codes = list(operation.errors)
    if operation.secured:
        codes += ["unknown_host", "unauthenticated", "redis_unavailable", "postgres_unavailable"]
    if operation.query is not NoQuery or operation.body is not NoBody:
        codes.append("invalid_request")
    if operation.method != "GET":
        codes.append("cross_site_request")
    if operation.body is not NoBody:
        codes += ["body_timeout", "body_too_large", "unsupported_media_type"]
    if operation.stream or operation.id in ("send_message", "resume_run"):
        codes.append("shutting_down")
    return [*codes, "uri_too_long", "headers_too_large"]
