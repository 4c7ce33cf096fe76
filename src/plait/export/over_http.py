"""Whether a server of the exported model answers as the fitted one does."""

import secrets
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from plait.answers.evaluation import ALL
from plait.answers.golden import TOLERANCE
from plait.client import Client
from plait.data.table.source import open_table
from plait.data.targets.target import Target
from plait.errors import ConfigError, ExportError, PlaitWarning
from plait.export.check import patterns
from plait.predictor.predictor import Predictor

TIMEOUT_SECONDS = 60.0
"""Time that a request of the check gets."""

MAX_ROW_MEGABYTES = 256.0
"""Megabytes of a row as JSON; what is served afterwards has the cap that its user sets."""


def check_http(model: Predictor, folder: Path) -> float | None:
    """Golden rows from their raw cells through a real server, under every pattern of missing streams.

    Args:
        folder: the exported model. It is served on a free loopback port, behind a token of its own.

    Returns:
        the largest difference between two probabilities, or two numbers in units of their target's
        spread; None where the extra ``serve`` is not installed, or the machine lends no port.

    Raises:
        ExportError: it is over 1e-4; names target, row and pattern.
    """
    if not model.golden or any(find_spec(name) is None for name in ("fastapi", "uvicorn")):
        return None
    rows = [row.cells() for row in model.golden]
    worst = 0.0
    with _served(folder) as client:
        if client is None:
            return None
        for pattern in patterns(list(model.blueprint.streams)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PlaitWarning)
                table = open_table(rows, empty=True)
                want = model.scores(table, {ALL: pattern})[ALL]  # the pattern may be empty
            replies = [
                answer for row in rows for answer in client.predict([row], streams=pattern).answers
            ]
            for target in model.targets:
                wanted = target.in_units(want[target.name])
                gaps = _gaps(target, wanted, [answer[target.name] for answer in replies])
                worst = max(worst, float(gaps.max()))
                if not worst <= TOLERANCE:
                    raise ExportError(
                        f"the exported model, served over HTTP, differs from the fitted one: "
                        f"'{target.name}' of golden row {int(gaps.argmax())} with the streams {pattern} "
                        f"differs by {worst:.2g}, more than {TOLERANCE}. Nothing was exported. Please "
                        "report it with the fusion and encoders of the model."
                    )
    return worst


def _gaps(target: Target, want: np.ndarray, replies: list[dict[str, Any]]) -> np.ndarray:
    """The largest difference of each row."""
    gaps = np.abs(target.replied(replies) - want).reshape(len(replies), -1)
    target_gaps: np.ndarray = gaps.max(axis=1) / target.scale
    return target_gaps


@contextmanager
def _served(folder: Path) -> Iterator[Client | None]:
    """A client of a server in a thread of this process; None where there is no port."""
    from plait.serve.models import Models
    from plait.serve.options import Options
    from plait.serve.server import Server, bind
    from plait.serve.service import Service

    # A token of its own: other users of this machine reach the loopback port, too.
    options = Options(
        port=0,
        token=secrets.token_urlsafe(32),
        timeout=TIMEOUT_SECONDS,
        max_body_mb=MAX_ROW_MEGABYTES,
    )
    try:
        listening = bind(options)
    except ConfigError:
        yield None
        return
    server = Server(Service(options, Models([f"app={folder}"])), listening)
    ready = threading.Event()
    thread = threading.Thread(target=server.run, args=(ready.set,), daemon=True)
    thread.start()
    ready.wait(TIMEOUT_SECONDS)
    try:
        place = f"http://127.0.0.1:{server.port}"
        with Client(place, token=options.token, timeout=TIMEOUT_SECONDS) as client:
            yield client
    finally:
        server.drain()
        thread.join(TIMEOUT_SECONDS)
