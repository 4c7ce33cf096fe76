"""The web page: an input for each column, the answer, what each stream gave, switches to leave one out.

Gradio inside the server. It sends nothing to anywhere: no analytics, no fonts from elsewhere, and a
request that would make Gradio fetch an address is refused before Gradio sees it.
"""

import asyncio
import atexit
import json
import os
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from plait.data.media import is_url
from plait.data.modalities import registry
from plait.errors import MissingExtra
from plait.insight.explain.occlusion import occluded
from plait.insight.explain.shapley import MAX_EXACT
from plait.serve import replies
from plait.serve.body import Gone
from plait.serve.cells import Cells
from plait.serve.engine import Kind
from plait.serve.models import Model
from plait.serve.page_inputs import component
from plait.serve.page_parts import bars, marks
from plait.serve.problem import Problem, busy
from plait.serve.service import FULL, Service

PATH = "/page"
EXAMPLES = 3
_MAX_JSON_BYTES = 2_000_000
"""Bytes of a request to Gradio that is no file."""

_WORDS = {
    "en": {
        "answer": "Prediction",
        "ask": "Predict",
        "streams": "Streams to use",
        "why": "Contribution of each input",
        "where": "What counts for the answer (orange) and against it (blue)",
        "notes": "Notes",
        "examples": "Examples",
    },
    "zh": {
        "answer": "预测结果",
        "ask": "预测",
        "streams": "使用的输入",
        "why": "各输入的贡献",
        "where": "支持（橙色）与反对（蓝色）该结果的部分",
        "notes": "说明",
        "examples": "示例",
    },
}


def mount(app: Any, service: Service) -> None:
    """Put the page under ``/page`` of a FastAPI application.

    Raises:
        MissingExtra: gradio is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import gradio
    except ImportError:
        raise MissingExtra("the web page", "ui", "gradio") from None
    i18n = gradio.I18n(**_WORDS, **{"zh-CN": _WORDS["zh"]})
    gradio.mount_gradio_app(
        app,
        _blocks(gradio, service, i18n),
        PATH,
        root_path=PATH,  # or the files of a chosen example are looked for outside of it
        show_error=True,
        max_file_size=service.options.max_body,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        run_history=False,
        footer_links=[],
        i18n=i18n,
        theme=gradio.themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
    )


def _blocks(gradio: Any, service: Service, word: Any) -> Any:
    """The page: a model, or a tab for each."""
    models = list(service.models)
    title = ", ".join(model.name for model in models)
    with gradio.Blocks(analytics_enabled=False, title=f"plait: {title}") as blocks:
        gradio.Markdown(f"# {title}")
        if len(models) == 1:
            _form(gradio, service, word, models[0], "")
        else:
            for model in models:
                with gradio.Tab(model.name):
                    _form(gradio, service, word, model, f"{model.name}-")
    return blocks


def _form(gradio: Any, service: Service, word: Any, model: Model, mark: str) -> None:
    """What one model is asked, and what it answers.

    Args:
        mark: what the ids of its elements begin with.
    """
    with gradio.Row():
        with gradio.Column(min_width=280):
            inputs = [component(gradio, name, model, mark) for name in model.modalities]
            streams = gradio.CheckboxGroup(
                model.streams, value=model.streams, label=word("streams"), elem_id=f"{mark}streams"
            )
            ask = gradio.Button(word("ask"), variant="primary", elem_id=f"{mark}ask")
        with gradio.Column(min_width=280):
            answers = [_output(gradio, target, mark) for target in model.runtime.targets]
            why, where = (
                gradio.HTML(
                    label=word(what), show_label=True, container=True, elem_id=f"{mark}{what}"
                )
                for what in ("why", "where")
            )
            notes = gradio.Markdown(label=word("notes"), elem_id=f"{mark}notes")
    examples = _examples(model)
    if examples:
        gradio.Examples(
            examples, inputs, cache_examples=False, label=word("examples"), examples_per_page=3
        )

    async def answer(*values: Any) -> list[Any]:
        try:
            return await _answer(service, model.name, values[:-1], values[-1])
        except Problem as problem:
            raise gradio.Error(problem.message) from None

    given, outputs = [*inputs, streams], [*answers, why, where, notes]
    for begin in (ask.click, streams.change):
        begin(answer, given, outputs, api_name=False, show_progress="minimal")


def _output(gradio: Any, target: Any, mark: str) -> Any:
    named = {"label": target.name, "elem_id": f"{mark}out-{target.name}"}
    if target.widget == "Label":
        return gradio.Label(num_top_classes=min(len(target.classes), 10), **named)
    return getattr(gradio, target.widget)(interactive=False, **named)


def _examples(model: Model) -> list[list[Any]]:
    """Golden rows, their media as files that go when the program ends."""
    folder = Path(tempfile.mkdtemp(prefix="plait-page-"))
    atexit.register(_remove, folder)
    rows = []
    for number, row in enumerate(model.runtime.golden[:EXAMPLES]):
        cells = row.cells()
        files = [folder / f"{number}-{place}" for place in range(len(model.modalities))]
        named = zip(model.modalities, files, strict=True)
        rows.append([_shown(cells.get(name), file) for name, file in named])
    return rows


def _shown(cell: Any, path: Path) -> Any:
    data = cell["bytes"] if isinstance(cell, dict) else cell
    if not isinstance(data, bytes):
        return None if isinstance(cell, list) else cell
    suffix = Path(cell["path"]).suffix if isinstance(cell, dict) and cell.get("path") else ""
    file = path.with_suffix(suffix)
    file.write_bytes(data)
    return str(file)


def _remove(folder: Path) -> None:
    for path in folder.glob("*"):
        path.unlink(missing_ok=True)
    folder.rmdir()


async def _answer(
    service: Service, name: str, values: Sequence[Any], streams: Sequence[str]
) -> list[Any]:
    """What every component of the right-hand side shows.

    Raises:
        Problem: the server is full or stopping, no stream is left, or it took too long.
    """
    model = service.models.get(name)
    if service.full or service.draining:
        raise busy(FULL)
    streams = tuple(stream for stream in model.streams if stream in streams)
    if not streams:
        raise Problem(422, "wrong_value", "choose at least one stream.")
    kind: Kind = "explain" if len(streams) <= MAX_EXACT else "predict"
    cells: dict[str, object] = {}
    for (column, modality), value in zip(model.modalities.items(), values, strict=True):
        if value is not None and value != "":
            cells[column] = await asyncio.to_thread(_cell, modality, value)
    limit = service.options.timeout
    with service.place():
        try:
            async with asyncio.timeout(limit):
                rows: Cells = {column: [cell] for column, cell in cells.items()}
                result = await service.engine.answer(model.runtime, kind, rows, 1, streams)
                marked = await service.engine.aside(occluded, model.runtime, cells, streams)
        except TimeoutError:
            raise Problem(504, "too_slow", f"the answer took longer than {limit:g} s.") from None
    service.metrics.rows.labels(model.name).inc()
    reply = replies.explanations if kind == "explain" else replies.answers
    (answer,) = reply(model.runtime.targets, result)
    answers = [_shown_answer(target, answer[target.name]) for target in model.runtime.targets]
    notes = [f"**{escape(entry.column)}**: {escape(entry.reason)}" for entry in result.unreadable]
    if kind == "predict":
        notes.append(f"Contributions are shown for up to {MAX_EXACT} streams; leave some out.")
    return [*answers, bars(answer), marks(marked), "\n\n".join(notes)]


def _shown_answer(target: Any, answer: dict[str, Any]) -> Any:
    return answer["probabilities"] if target.widget == "Label" else answer["answer"]


def _cell(kind: str, value: Any) -> object:
    """A component's value as a cell. Gradio has put what was sent into a file of its own."""
    if not registry.get(kind).media:
        return value
    path = Path(value)
    return {"bytes": path.read_bytes(), "path": path.name}


Receive = Callable[[], Awaitable[Any]]


async def without_addresses(scope: Any, receive: Receive, most: int) -> Receive:
    """What a request to Gradio brings, once it is sure that nothing in it names an address to fetch.

    Raises:
        Problem: it does, or is too large.
        Gone: the client left.
    """
    kind = dict(scope["headers"]).get(b"content-type", b"")
    if scope["method"] != "POST" or kind.startswith(b"multipart/"):
        return _counted(receive, most)
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > _MAX_JSON_BYTES:
            raise Problem(413, "too_large", "the request is too large.")
        if not message.get("more_body"):
            break
    body = b"".join(parts)
    try:
        value = json.loads(body) if body else None
    except (ValueError, RecursionError):
        raise Problem(400, "bad_json", "the request is not valid JSON.") from None
    if _names_address(value):
        raise Problem(
            422, "refused", "the request contains an address. Paths and URLs are not followed."
        )
    replayed = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def again() -> Any:
        return next(replayed, None) or await receive()

    return again


def _names_address(value: Any) -> bool:
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            path = part.get("path")
            if isinstance(path, str) and is_url(path):
                return True
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)
    return False


def _counted(receive: Receive, most: int) -> Receive:
    size = 0

    async def counted() -> Any:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > most:
            raise Problem(413, "too_large", f"the body is larger than {most / 1e6:g} MB.")
        return message

    return counted
