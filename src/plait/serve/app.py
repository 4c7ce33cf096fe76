"""The routes. Each takes the request as it came: what is in a body is read by `plait.serve.service`."""

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException

from plait.errors import printable
from plait.serve.docs_page import page
from plait.serve.engine import Kind
from plait.serve.logs import log
from plait.serve.middleware import App, Gate, as_response
from plait.serve.openapi import describe
from plait.serve.problem import Problem, wrong
from plait.serve.service import Service
from plait.serve.traces import telemetry

_PAGE = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"}
KINDS: tuple[Kind, ...] = ("predict", "embed", "explain")


def build(service: Service) -> App:
    """The ASGI application of a service."""
    app = FastAPI(
        title="plait",
        version=version("plait"),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        telemetry=telemetry(),
    )
    app.state.service = service
    _add_work(app, service)
    _add_models(app, service)
    _add_state(app, service)
    _add_docs(app, service)

    if service.options.page:
        from plait.serve import page as web  # gradio takes seconds to import

        web.mount(app, service)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(Exception, _failed)
    return Gate(app, service)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return as_response(error, request.scope)


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {404: "there is no such route.", 405: "this route does not accept that method."}
    text = words.get(error.status_code, "the request cannot be read.")
    return as_response(
        Problem(error.status_code, "no_such_route", text, error.headers), request.scope
    )


async def _failed(request: Request, error: Exception) -> Response:
    name = request.scope.get("plait.request", "")
    text = f"the server failed to answer; see its log under {name}."
    return as_response(Problem(500, "failed", text), request.scope)


def _shown(request: Request) -> str | None:
    """The streams that a query names.

    Raises:
        Problem: it holds anything else, or names them twice.
    """
    query = request.query_params
    for name in query:
        if name != "streams":
            raise wrong(f"the query has '{printable(name)}', but only 'streams' is allowed.")
    if len(query.multi_items()) > 1:
        raise wrong("the query has 'streams' twice; write  ?streams=a,b")
    return query.get("streams")


def _add_work(app: FastAPI, service: Service) -> None:
    def route(kind: Kind) -> Any:
        async def answer(request: Request) -> Response:
            content, content_type = await service.work(
                kind,
                request.path_params.get("model"),
                dict(request.scope["headers"]),
                request.receive,
                _shown(request),
                request.scope["plait.request"],
            )
            return Response(content, media_type=content_type.decode())

        answer.__name__ = kind
        return answer

    for kind in KINDS:
        handler = route(kind)
        # Plain routes: a FastAPI one would look for parameters to check, and there are none.
        app.add_route(f"/v1/{kind}", handler, methods=["POST"])
        app.add_route(f"/v1/models/{{model}}/{kind}", handler, methods=["POST"])


def _add_models(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models")
    async def list_models(request: Request) -> Response:
        return JSONResponse({"models": [model.about() for model in service.models]})

    @app.get("/v1/model")
    async def show_model(request: Request) -> Response:
        return JSONResponse(service.models.get(None).about())

    @app.get("/v1/models/{model}")
    async def show_named_model(request: Request) -> Response:
        return JSONResponse(service.models.get(request.path_params["model"]).about())

    @app.post("/v1/models/{model}/reload")
    async def reload_model(request: Request) -> Response:
        name = request.path_params["model"]
        return JSONResponse((await reload(service, name)).about())


async def reload(service: Service, name: str) -> Any:
    """Load a model anew, beside the requests that are at work on the old one.

    Raises:
        Problem: it cannot be; the old one goes on.
    """
    service.models.get(name)  # so that a name that there is not counts nowhere
    counter = service.metrics.reloads
    try:
        model = await service.engine.aside(service.models.reload, name)
    except Problem as problem:
        counter.labels(name, "failed").inc()
        log.error("reload", extra={"fields": {"model": name, "reason": problem.message}})
        raise
    counter.labels(name, "done").inc()
    log.info("reload", extra={"fields": {"model": name, "stamp": model.runtime.stamp[:16]}})
    return model


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/healthz")
    async def alive(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    @app.get("/readyz")
    async def ready(request: Request) -> Response:
        if service.draining:
            return PlainTextResponse("stopping\n", 503)
        return PlainTextResponse("ready\n")

    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        return Response(service.metrics.text(), media_type=service.metrics.content_type)


def _add_docs(app: FastAPI, service: Service) -> None:
    @app.get("/openapi.json")
    async def openapi(request: Request) -> Response:
        return JSONResponse(describe(service.models, service.options))

    @app.get("/docs")
    async def docs(request: Request) -> Response:
        return HTMLResponse(page(describe(service.models, service.options)), headers=_PAGE)
