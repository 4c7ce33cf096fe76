"""The OpenAPI document: every route, with the model's own golden rows for examples that work."""

import json
from importlib.metadata import version
from typing import Any

from plait.data.modalities import registry
from plait.data.modalities.base import Modality
from plait.serve.models import Model, Models
from plait.serve.options import Options

MAX_EXAMPLE_CHARACTERS = 100_000
"""Characters of an example; cells that make it larger are left out, and so are missing."""

_TEXT = {"type": "string"}
_STRINGS = {"type": "array", "items": _TEXT}
_MEDIA: dict[str, Any] = {
    "type": "object",
    "properties": {"base64": {"type": "string", "contentEncoding": "base64"}, "name": _TEXT},
    "required": ["base64"],
    "additionalProperties": False,
}
_PLAIN = {"type": ["string", "number", "boolean", "null"]}
_REPLY = {
    "type": "object",
    "properties": {
        "model": _TEXT,
        "answers": {"type": "array"},
        "unreadable": {"type": "array", "items": {"type": "object"}},
        "absent": _STRINGS,
    },
    "required": ["model", "answers", "unreadable", "absent"],
}
_ABOUT = {
    "predict": "Predict rows.",
    "embed": "Embed rows: the fused vector of each.",
    "explain": "Explain rows: the contribution of each stream to the answer, as exact Shapley values.",
}
_WRONG = {
    "400": "The body is not valid JSON, or not a valid form.",
    "401": "No token, or a wrong one.",
    "403": "The request came from a page of another origin.",
    "404": "There is no such model.",
    "408": "The body arrived too slowly.",
    "409": "The model cannot do this.",
    "413": "Too many bytes, values or rows.",
    "415": "Unsupported content type.",
    "421": "Unknown host name.",
    "422": "A column or value that the model cannot read.",
    "503": "The server is busy or stopping; Retry-After gives the seconds to wait.",
    "504": "The answer took too long.",
}


def describe(models: Models, options: Options) -> dict[str, Any]:
    """The document."""
    first = models.get(None)
    paths: dict[str, Any] = {}
    for kind, about in _ABOUT.items():
        if kind == "embed" and not first.runtime.graphs.embeds:
            continue
        paths[f"/v1/{kind}"] = {"post": _work(kind, about, first)}
        named = _work(f"{kind}_by_model", f"{about} With the named model.", first)
        paths[f"/v1/models/{{model}}/{kind}"] = {"post": named, "parameters": [_model(first)]}
    model_schema = {"type": "object", "required": ["name", "columns", "streams", "targets"]}
    listed = {"type": "object", "required": ["models"]}
    paths["/v1/model"] = {
        "get": _get("model", "The model: columns, streams, targets.", model_schema)
    }
    paths["/v1/models"] = {"get": _get("models", "All models.", listed)}
    paths["/v1/models/{model}"] = {
        "get": _get("model_by_name", "One model: its columns, streams and targets.", model_schema),
        "parameters": [_model(first)],
    }
    reload = _get("reload", "Reload a model's folder, without losing a request.", model_schema)
    paths["/v1/models/{model}/reload"] = {"post": reload, "parameters": [_model(first)]}
    for path, about in (
        ("/healthz", "Liveness: the server runs."),
        ("/readyz", "Readiness: the server accepts requests."),
        ("/metrics", "Metrics for Prometheus."),
    ):
        paths[path] = {"get": _get(path[1:], about, None)}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "plait",
            "version": version("plait"),
            "description": "Predictions of the models "
            + ", ".join(f"'{model.name}'" for model in models)
            + ". Media are sent as bytes; paths and URLs are not followed.",
        },
        "paths": paths,
    }
    if options.token is not None:
        scheme = {"type": "http", "scheme": "bearer"}
        document["components"] = {"securitySchemes": {"token": scheme}}
        document["security"] = [{"token": []}]
    return document


def example_row(model: Model) -> dict[str, Any]:
    """A golden row as a request has it; empty where the model was saved without any."""
    row = {}
    left = MAX_EXAMPLE_CHARACTERS
    stored = model.runtime.golden[0].stored if model.runtime.golden else {}
    for name, kind in model.modalities.items():
        value = stored.get(name)
        if isinstance(value, dict) and "base64" in value:
            value = {"base64": value["base64"]} | (
                {"name": value["path"]} if "path" in value else {}
            )
        elif registry.get(kind).media and not isinstance(value, list | str):
            continue
        size = len(json.dumps(value))
        if value is not None and size <= left:
            row[name] = value
            left -= size
    return row


def _work(name: str, about: str, model: Model) -> dict[str, Any]:
    body, parts = _bodies(model)
    row = example_row(model)
    line = json.dumps(row, ensure_ascii=False)
    content = {
        "application/json": {"schema": body, "example": {"rows": [row]}},
        "application/x-ndjson": {"schema": _TEXT, "example": f"{line}\n{{}}\n"},
        "multipart/form-data": {"schema": {"type": "object", "properties": parts}},
    }
    only = {
        "name": "streams",
        "in": "query",
        "description": "Streams to use, separated by commas. Default: all.",
        "schema": _TEXT,
    }
    answers = {"application/json": {"schema": _REPLY}, "application/x-ndjson": {"schema": _TEXT}}
    return {
        "operationId": name,
        "summary": about,
        "parameters": [only],
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {"description": "One answer per row, in order.", "content": answers},
            **_problems(*_WRONG),
        },
    }


def _bodies(model: Model) -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema of a JSON body, and of the parts of a form."""
    kinds = {column: registry.get(kind) for column, kind in model.modalities.items()}
    columns = {column: _cell(kind) for column, kind in kinds.items()}
    body = {
        "type": "object",
        "properties": {
            "rows": {
                "type": "array",
                "minItems": 1,
                "items": {"type": "object", "properties": columns, "additionalProperties": False},
            },
            "streams": {"type": "array", "items": {"enum": model.streams}},
        },
        "required": ["rows"],
        "additionalProperties": False,
    }
    parts = {
        column: {"type": "string", "format": "binary"} if kind.media else _TEXT
        for column, kind in kinds.items()
    }
    return body, parts


def _cell(modality: Modality) -> dict[str, Any]:
    """The schema of a cell."""
    if not modality.media:
        return _PLAIN
    numbers = [{"type": "array"}, _TEXT] if modality.listed else []
    return {"anyOf": [_MEDIA, *numbers, {"type": "null"}]}


def _get(name: str, about: str, schema: dict[str, Any] | None) -> dict[str, Any]:
    content = (
        {"text/plain": {"schema": _TEXT}}
        if schema is None
        else {"application/json": {"schema": schema}}
    )
    return {
        "operationId": name,
        "summary": about,
        "responses": {
            "200": {"description": about, "content": content},
            **_problems("401", "403", "404", "409", "421", "503"),
        },
    }


def _problems(*statuses: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {
            "error": {
                "type": "object",
                "properties": {"kind": _TEXT, "message": _TEXT, "request": _TEXT},
                "required": ["kind", "message", "request"],
            }
        },
        "required": ["error"],
    }
    return {
        status: {
            "description": _WRONG[status],
            "content": {"application/json": {"schema": schema}},
        }
        for status in statuses
    }


def _model(first: Model) -> dict[str, Any]:
    return {
        "name": "model",
        "in": "path",
        "required": True,
        "schema": _TEXT,
        "example": first.name,
    }
