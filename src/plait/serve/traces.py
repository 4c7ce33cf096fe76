"""Spans and figures for OpenTelemetry, which FastAPI takes of its routes where it is told to."""

import os
from importlib.util import find_spec

from fastapi.telemetry import TelemetryConfig

from plait.errors import ConfigError, MissingExtra
from plait.serve.middleware import OPEN

PROTOCOL = "http/protobuf"
_EXPORTER = "opentelemetry.exporter.otlp.proto.http"


def telemetry() -> TelemetryConfig:
    """What FastAPI is to trace: requests but probes, and nothing that is in them.

    They go where ``OTEL_EXPORTER_OTLP_ENDPOINT`` says, and to a provider that the program has set.

    Raises:
        MissingExtra: an endpoint is set, and no exporter is installed.
        ConfigError: it is to be spoken to in a way that is not known.
    """
    if any(
        name.startswith("OTEL_EXPORTER_OTLP") and name.endswith("ENDPOINT") for name in os.environ
    ):
        try:
            exporter = find_spec(_EXPORTER)
        except ImportError:
            exporter = None
        if exporter is None:
            package = "opentelemetry-exporter-otlp-proto-http"
            raise MissingExtra("OTEL_EXPORTER_OTLP_ENDPOINT", "traces", package)
        protocol = os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", PROTOCOL)
        if protocol != PROTOCOL:
            raise ConfigError(
                [f"OTEL_EXPORTER_OTLP_PROTOCOL='{protocol}': only {PROTOCOL} is supported."]
            )
    return TelemetryConfig(
        auto_configure=True,
        logs=False,  # they would hold messages and traces, which the server's own log has
        operation_spans=False,
        exclude=lambda scope: scope.get("path") in OPEN,
    )
