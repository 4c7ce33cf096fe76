"""A line of JSON for everything that happens, on standard error."""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime

log = logging.getLogger("plait.serve")


class Lines(logging.Formatter):
    """Records as lines of JSON. What ``extra={"fields": {...}}`` holds is a part of the line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["trace"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(line, ensure_ascii=True, default=str)


def set_up(level: str) -> None:
    """Write to standard error from now on, the lines of uvicorn too.

    Args:
        level: debug, info, warning or error.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    for name in ("plait.serve", "uvicorn", "uvicorn.error", "opentelemetry"):
        logger = logging.getLogger(name)
        logger.handlers = [handler] if name != "uvicorn.error" else []
        logger.propagate = name == "uvicorn.error"
        logger.setLevel(level.upper() if name == "plait.serve" else "WARNING")
