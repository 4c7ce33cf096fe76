"""`plait serve`: exported models over HTTP."""

from typing import Annotated, Literal

import typer

from plait.cli.app import app, err, say
from plait.errors import MissingExtra

LISTEN, ACCESS, LIMITS, SPEED = "Listening", "Access", "Limits", "Throughput"

Apps = Annotated[
    list[str],
    typer.Argument(
        help="Folders of exported models, each as FOLDER or NAME=FOLDER; requests that name no model "
        "go to the first."
    ),
]


Host = Annotated[
    str,
    typer.Option(
        help="Address to listen on; any other than loopback needs --token-file.",
        rich_help_panel=LISTEN,
    ),
]
Port = Annotated[
    int, typer.Option(help="Port to listen on; 0 takes a free one.", rich_help_panel=LISTEN)
]
TokenFile = Annotated[
    str | None,
    typer.Option(
        help="File holding the token that every request must send, on its only line.",
        rich_help_panel=ACCESS,
    ),
]
AllowHost = Annotated[
    list[str],
    typer.Option(
        help="Host name that requests may use for this server, besides its address; repeatable.",
        rich_help_panel=ACCESS,
    ),
]
MaxBody = Annotated[
    float, typer.Option(help="Largest request body, in MB.", rich_help_panel=LIMITS)
]
MaxRows = Annotated[int, typer.Option(help="Most rows per request.", rich_help_panel=LIMITS)]
Queue = Annotated[
    int,
    typer.Option(
        help="Most requests in progress or waiting; further ones get 503. 0: 8 per core.",
        rich_help_panel=LIMITS,
    ),
]
Timeout = Annotated[
    float, typer.Option(help="Longest time for an answer, in seconds.", rich_help_panel=LIMITS)
]
WaitMs = Annotated[
    float,
    typer.Option(
        help="Longest time that a row waits for others to share its batch, in ms.",
        rich_help_panel=SPEED,
    ),
]
Batch = Annotated[
    int, typer.Option(help="Batch size: most rows computed together.", rich_help_panel=SPEED)
]
Workers = Annotated[int, typer.Option(help="Batches in parallel.", rich_help_panel=SPEED)]
Threads = Annotated[int, typer.Option(help="CPU threads per batch.", rich_help_panel=SPEED)]
Drain = Annotated[
    float,
    typer.Option(
        help="Time for accepted requests to finish after SIGTERM, in seconds.",
        rich_help_panel=LIMITS,
    ),
]
Page = Annotated[
    bool, typer.Option("--page", help="Also serve a web page, at /page.", rich_help_panel=LISTEN)
]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"],
    typer.Option(
        help="Least severe messages to log: debug, info, warning or error.",
        metavar="<level>",
        rich_help_panel=LISTEN,
    ),
]


@app.command(rich_help_panel="Ship")
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
    """Serve exported models over HTTP, to this machine only by default.

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
