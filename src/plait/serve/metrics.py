"""What a server counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.process_collector import ProcessCollector

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """Counters of one server, in a registry of their own."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "plait_requests",
            "Requests by route and status.",
            ["route", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "plait_request_seconds",
            "Seconds from the head of a request to its response.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.rows = Counter("plait_rows", "Rows predicted.", ["model"], registry=registry)
        self.unreadable = Counter(
            "plait_unreadable_cells",
            "Cells that were unreadable and counted as missing.",
            ["model", "column"],
            registry=registry,
        )
        self.refused = Counter(
            "plait_refused", "Requests refused because the server was busy.", registry=registry
        )
        self.dropped = Counter(
            "plait_dropped",
            "Requests whose client disconnected before the response.",
            registry=registry,
        )
        self.admitted = Gauge(
            "plait_admitted", "Requests in progress or waiting.", registry=registry
        )
        self.body_bytes = Gauge(
            "plait_body_bytes", "Bytes of request bodies in memory.", registry=registry
        )
        self.decode_seconds = Histogram(
            "plait_decode_seconds",
            "Seconds to decode the cells of a group of rows, including waiting.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch_rows = Histogram(
            "plait_batch_rows",
            "Rows per batch (one run of the graphs).",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=registry,
        )
        self.reloads = Counter(
            "plait_reloads",
            "Model reloads by outcome.",
            ["model", "outcome"],
            registry=registry,
        )

    def text(self) -> bytes:
        """The exposition."""
        return generate_latest(self.registry)
