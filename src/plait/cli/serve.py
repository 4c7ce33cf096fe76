"""`plait serve`: exported models over HTTP."""

from typing import Annotated, Literal

import typer

from plait.cli.app import app, err, say
from plait.errors import MissingExtra

Apps = Annotated[
    list[str],
    typer.Argument(
        help="Folders of exported models, each as folder or name=folder; the first one is meant where a "
        "request names none."
    ),
]


Host = Annotated[
    str, typer.Option(help="Address to listen on; other than loopback asks for a token.")
]
Port = Annotated[int, typer.Option(help="0 takes a free one.")]
TokenFile = Annotated[
    str | None, typer.Option(help="File whose only line every request has to bear.")
]
AllowHost = Annotated[
    list[str], typer.Option(help="Name that requests may call this server by; repeatable.")
]
MaxBody = Annotated[float, typer.Option(help="Megabytes of a request's body.")]
MaxRows = Annotated[int, typer.Option(help="Rows of a request.")]
Queue = Annotated[
    int, typer.Option(help="Requests at work or waiting; more are refused with 503. 0: 8 a core.")
]
Timeout = Annotated[float, typer.Option(help="Seconds for an answer.")]
WaitMs = Annotated[float, typer.Option(help="Milliseconds that a row may wait for others.")]
Batch = Annotated[int, typer.Option(help="Rows answered at one time.")]
Workers = Annotated[int, typer.Option(help="Batches answered at one time.")]
Threads = Annotated[int, typer.Option(help="Threads of each graph.")]
Drain = Annotated[float, typer.Option(help="Seconds that accepted requests get after SIGTERM.")]
Page = Annotated[bool, typer.Option("--page", help="Also a web page, under /page.")]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"], typer.Option(help="What is logged.")
]


@app.command()
def serve(
    apps: Apps,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    token_file: TokenFile = None,
    allow_host: AllowHost = [],  # noqa: B006 - typer copies it
    max_body_mb: MaxBody = 32.0,
    max_rows: MaxRows = 1024,
    queue: Queue = 0,
    timeout: Timeout = 30.0,
    wait_ms: WaitMs = 2.0,
    batch: Batch = 16,
    workers: Workers = 1,
    threads: Threads = 1,
    drain_seconds: Drain = 30.0,
    page: Page = False,
    log_level: LogLevel = "info",
) -> None:
    """Answer over HTTP with exported models, on this machine alone unless told otherwise.

    Example: [bold]plait serve app --port 8000 --token-file key.txt[/bold]
    """
    from plait.serve.options import Options, read_token

    options = Options(
        host=host,
        port=port,
        token=None if token_file is None else read_token(token_file),
        hosts=tuple(name.lower() for name in allow_host),
        max_body_mb=max_body_mb,
        max_rows=max_rows,
        queue=queue,
        timeout=timeout,
        wait_ms=wait_ms,
        batch=batch,
        workers=workers,
        drain_seconds=drain_seconds,
        page=page,
    )
    from plait.serve.models import Models

    models = Models(apps, threads=threads)
    try:
        from plait.serve.logs import set_up
        from plait.serve.server import Server, bind
        from plait.serve.service import Service
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        if package == "plait":
            raise
        raise MissingExtra("a server", "serve", package) from None
    set_up(log_level)
    listening = bind(options)
    where = f"[{host}]" if ":" in host else host
    server = Server(Service(options, models), listening)
    server.run(lambda: say(err, f"http://{where}:{server.port}  (docs: /docs; stop with Ctrl-C)"))
