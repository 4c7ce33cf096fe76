"""From a request's body to the bytes of its answer, and what all requests share."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from plait.errors import printable, unknown
from plait.insight.explain.shapley import MAX_EXACT
from plait.runtime.runtime import NO_VECTOR
from plait.serve import replies
from plait.serve.body import Gone, Pending, Receive, parse_form, parse_json, read_body
from plait.serve.cells import check_columns, columns_of, part_cell, row_cells
from plait.serve.engine import Engine, Kind, Result
from plait.serve.metrics import Metrics
from plait.serve.models import Model, Models
from plait.serve.options import Options
from plait.serve.problem import Problem, wrong

MAX_INLINE_BYTES = 50_000
"""Bytes of a body up to which it is parsed at once: handing it to a thread would take longer."""

MAX_RUNS_AT_ONCE = 2
"""Runs of rows of one request at work at one time, so that a large one leaves room for others."""

FULL = "the server has as many requests as it can answer in time; try again later."

JSON, LINES, FORM = b"application/json", b"application/x-ndjson", b"multipart/form-data"
_BLANK = b" \t\r\n"

Row = dict[str, object] | Problem
"""A row's cells, or what is wrong with them."""


class Service:
    """The models, the threads that answer, and what is at work."""

    def __init__(self, options: Options, models: Models) -> None:
        self.options = options
        self.models = models
        self.metrics = Metrics()
        # Bodies of all requests together: a cap per request alone lets many small ones fill memory.
        self.held = Pending(round(options.max_pending_mb * 1e6))
        self.admitted = 0
        self.draining = False
        self.engine = Engine(options, self.metrics)
        self.metrics.admitted.set_function(lambda: self.admitted)
        self.metrics.body_bytes.set_function(lambda: self.held.bytes)

    @property
    def full(self) -> bool:
        """Whether one more request has to be refused."""
        return self.admitted >= self.options.queue

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place among the admitted."""
        self.admitted += 1
        try:
            yield
        finally:
            self.admitted -= 1

    async def work(
        self,
        kind: Kind,
        name: str | None,
        headers: dict[bytes, bytes],
        receive: Receive,
        streams: str | None,
        request: str = "",
    ) -> tuple[bytes, bytes]:
        """Answer one request.

        Args:
            streams: the streams to look at, with commas between; None: all.
            request: the request's number, for the errors of single lines.

        Returns:
            The body and its content type.

        Raises:
            Problem: it gets no answer.
            Gone: its client has left.
        """
        options = self.options
        model = self.models.get(name)
        # Admitted before the body is read, so that uploads count towards a full server.
        with self.place(), self.held.share() as share:
            # Outside the timeout below: a slow upload has a limit of its own.
            body = await read_body(
                receive, headers, share, most=options.max_body, seconds=options.body_seconds
            )
            try:
                async with asyncio.timeout(options.timeout):
                    return await _unless_gone(
                        receive, self._answer(kind, model, headers, body, streams, request)
                    )
            except TimeoutError:
                raise Problem(
                    504, "too_slow", f"the answer took longer than {options.timeout:g} s."
                ) from None

    async def _answer(
        self,
        kind: Kind,
        model: Model,
        headers: Mapping[bytes, bytes],
        body: bytes,
        streams: str | None,
        request: str,
    ) -> tuple[bytes, bytes]:
        content = headers.get(b"content-type", b"")
        content_type = content.partition(b";")[0].strip().lower()
        reader = _READERS.get(content_type)
        if reader is None:
            known = ", ".join(kind.decode() for kind in _READERS)
            raise Problem(
                415,
                "wrong_type",
                f"the body is '{printable(content_type.decode('latin-1'))}', expected one of {known}.",
            )
        arguments = (body, content, model, self.options)
        if len(body) <= MAX_INLINE_BYTES:
            rows, asked = reader(*arguments)
        else:
            rows, asked = await self.engine.aside(reader, *arguments)
        # Megabytes of JSON are not kept in memory while the rows wait for their turn.
        del body, arguments
        if asked is not None and streams is not None:
            raise wrong("'streams' is in the body and in the query; send it in one of them.")
        chosen = _streams(asked if streams is None else streams.split(","), model)
        _check_kind(kind, model, chosen)
        if content_type == LINES:
            return await self._lines(kind, model, rows, chosen, request), LINES
        good = [row for row in rows if not isinstance(row, Problem)]
        parts = await self._run(kind, model, good, chosen)
        return replies.to_bytes(self._reply(kind, model, good, parts)), JSON

    async def _run(
        self,
        kind: Kind,
        model: Model,
        rows: Sequence[Mapping[str, object]],
        streams: tuple[str, ...] | None,
    ) -> list[tuple[int, Result]]:
        """Where each run of rows begins, and what came of it."""
        step = self.options.batch
        starts = list(range(0, len(rows), step))
        room = asyncio.Semaphore(MAX_RUNS_AT_ONCE)

        async def run(start: int) -> tuple[int, Result]:
            async with room:
                part = rows[start : start + step]
                result = await self.engine.answer(
                    model.runtime, kind, columns_of(part), len(part), streams
                )
                return start, result

        if len(starts) == 1:
            parts = [await run(0)]
        else:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(run(start)) for start in starts]
            parts = [task.result() for task in tasks]
        self.metrics.rows.labels(model.name).inc(len(rows))
        for _, result in parts:
            for entry in result.unreadable:
                self.metrics.unreadable.labels(model.name, entry.column).inc()
        return parts

    def _reply(
        self,
        kind: Kind,
        model: Model,
        rows: Sequence[Mapping[str, object]],
        parts: Sequence[tuple[int, Result]],
    ) -> dict[str, Any]:
        seen = {name for row in rows for name, cell in row.items() if cell is not None}
        return {
            "model": model.name,
            "answers": [entry for _, result in parts for entry in _entries(kind, model, result)],
            "unreadable": [
                entry for start, result in parts for entry in replies.unreadable(result, start)
            ],
            "absent": [name for name in model.modalities if name not in seen],
        }

    async def _lines(
        self,
        kind: Kind,
        model: Model,
        rows: Sequence[Row],
        streams: tuple[str, ...] | None,
        request: str,
    ) -> bytes:
        """A line for every line, in their order."""
        # Good rows run together; their answers go back to the lines they came from.
        places = [index for index, row in enumerate(rows) if not isinstance(row, Problem)]
        good = [row for row in rows if not isinstance(row, Problem)]
        lines = [row.body(request) if isinstance(row, Problem) else b"" for row in rows]
        for start, result in await self._run(kind, model, good, streams):
            bad: dict[int, list[Any]] = {}
            for entry in result.unreadable:
                problem = {"column": entry.column, "reason": entry.reason}
                bad.setdefault(entry.row, []).append(problem)
            for row, answer in enumerate(_entries(kind, model, result)):
                line = {"answer": answer, "unreadable": bad.get(row, [])}
                lines[places[start + row]] = replies.to_bytes(line)
        return b"\n".join(lines) + b"\n"


def _entries(kind: Kind, model: Model, result: Result) -> list[Any]:
    if kind == "embed":
        return replies.vectors(result)
    if kind == "explain":
        return replies.explanations(model.runtime.targets, result)
    return replies.answers(model.runtime.targets, result)


def _check_kind(kind: Kind, model: Model, streams: tuple[str, ...] | None) -> None:
    if kind == "embed" and not model.runtime.graphs.embeds:
        raise Problem(409, "cannot", NO_VECTOR)
    count = len(model.streams if streams is None else streams)
    if kind == "explain" and not 0 < count <= MAX_EXACT:
        raise wrong(
            f"an exact explanation needs one run per subset of streams, of 1 to {MAX_EXACT} streams; "
            f"these are {count}. Name some in 'streams'."
        )


def _streams(asked: Any, model: Model) -> tuple[str, ...] | None:
    if asked is None:
        return None
    if not isinstance(asked, list) or not all(isinstance(name, str) for name in asked):
        raise wrong("'streams' must be a list of names of streams.")
    for name in asked:
        if name not in model.streams:
            raise wrong(f"streams: {unknown('stream', printable(name), model.streams)}")
    # In the model's order, so that requests which name them in another order share one batch.
    return tuple(name for name in model.streams if name in asked)


async def _unless_gone(receive: Receive, work: Awaitable[Any]) -> Any:
    """The result of some work, which is dropped when the client leaves."""
    task = asyncio.ensure_future(work)

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        return await task
    except asyncio.CancelledError:
        if watcher.done():
            raise Gone from None
        task.cancel()
        raise
    finally:
        watcher.cancel()


def _from_json(
    body: bytes, content_type: bytes, model: Model, options: Options
) -> tuple[list[Row], Any]:
    value = parse_json(body, options.max_values)
    if not isinstance(value, dict) or not isinstance(value.get("rows"), list):
        raise wrong('the body must be an object with a list of rows: {"rows": [{...}]}.')
    for name in value:
        if name not in ("rows", "streams"):
            raise wrong(
                f"the body has '{printable(name)}', but only 'rows' and 'streams' are allowed."
            )
    _check_count(len(value["rows"]), options)
    rows: list[Row] = [
        row_cells(row, model.modalities, f"row {index}") for index, row in enumerate(value["rows"])
    ]
    return rows, value.get("streams")


def _from_lines(
    body: bytes, content_type: bytes, model: Model, options: Options
) -> tuple[list[Row], Any]:
    body = body.rstrip(_BLANK)
    # Counted before the split: a body of newlines alone would become a list of millions.
    _check_count(body.count(b"\n") + 1 if body else 0, options)
    rows: list[Row] = []
    left = options.max_values
    for number, line in enumerate(body.split(b"\n"), start=1):
        where = f"line {number}"
        try:
            if not line.strip(_BLANK):
                raise wrong(f"{where} is blank; send {{}} for a row without cells.")
            rows.append(row_cells(parse_json(line, left, where), model.modalities, where))
        except Problem as problem:
            rows.append(problem)
        # The cap on values is for the body as a whole, not for each of its lines.
        left = max(1, left - line.count(b","))
    return rows, None


def _from_form(
    body: bytes, content_type: bytes, model: Model, options: Options
) -> tuple[list[Row], Any]:
    row: dict[str, object] = {}
    for part in parse_form(body, content_type):
        where = f"part '{printable(part.name)}'"
        check_columns({part.name: part}, model.modalities, where)
        if part.name in row:
            raise wrong(f"{where} occurs twice; a form is one row.")
        row[part.name] = part_cell(part.data, part.filename, model.modalities[part.name], where)
    return [row], None


def _check_count(rows: int, options: Options) -> None:
    if rows > options.max_rows:
        raise Problem(
            413,
            "too_large",
            f"{rows} rows were sent, more than the {options.max_rows} of one request (--max-rows); send "
            "fewer at a time, or use `plait predict`.",
        )
    if not rows:
        raise wrong("there are no rows.")


_READERS: dict[bytes, Callable[[bytes, bytes, Model, Options], tuple[list[Row], Any]]] = {
    JSON: _from_json,
    LINES: _from_lines,
    FORM: _from_form,
}
