"""Every measurement by name: where its code is, what it is about, how long it takes."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Measurement:
    """One function that measures.

    Attributes:
        home: module and function; imported when it runs, so that `--list` is quick.
        minutes: about how long, on two quiet cores.
        asked: runs only when named by `--only`.
    """

    home: str
    about: str
    minutes: float
    asked: bool = False

    def load(self) -> Callable[..., Any]:
        module, function = self.home.split(":")
        found: Callable[..., Any] = getattr(import_module(f"benchmarks.{module}"), function)
        return found


MEASUREMENTS: dict[str, Measurement] = {
    "startup": Measurement("startup:measure", "import plait; plait --help", 0.3),
    "single_row": Measurement("single_row:measure", "one row through a loaded Predictor", 0.5),
    "runtime": Measurement("runtime:measure", "an exported model against bare sessions", 4),
    "int8": Measurement("int8:measure", "exported models in 8-bit numbers", 12),
    "contributions": Measurement(
        "contributions:measure", "what each stream adds, against one plain pass", 1
    ),
    "html_report": Measurement("html_report:measure", "the HTML report: seconds and megabytes", 1),
    "trust": Measurement("trust:measure", "coverage of sets, deletion of what is marked", 8),
    "serve": Measurement("serve:measure", "plait serve: throughput, overload, stops", 4),
    "training": Measurement("training:measure", "the Trainer against a bare PyTorch loop", 2),
    "fusion_speed": Measurement(
        "fusion_speed:measure", "each fusion against its formula by hand", 6
    ),
    "preparing": Measurement("preparing:measure", "files to arrays against a bare decode loop", 1),
    "encoding": Measurement(
        "pretrained:measure_encoding", "frozen encoders against a bare loop", 6
    ),
    "frozen_epochs": Measurement(
        "pretrained:measure_epochs", "epochs from stored tokens against running the encoders", 6
    ),
    "encoding_memory": Measurement(
        "pretrained:measure_memory", "memory with ten times the pictures encoded", 5
    ),
    "time_to_accuracy": Measurement("whole_fit:measure_race", "seconds to Ludwig's .890", 3),
    "whole_fit": Measurement("whole_fit:measure", "plait fit with defaults: time and memory", 8),
    "memory": Measurement("whole_fit:measure_memory", "memory with ten times the table", 4),
    "time_to_scratch": Measurement(
        "transfer:measure_time_to", "packaged encoders to from-scratch's best score", 15
    ),
    "compress": Measurement(
        "compress:measure", "students at a quarter of the weights, two data sets", 20
    ),
    "avdigits": Measurement("accuracy:measure_avdigits", "four modalities, each blank, alone", 35),
    "clipart": Measurement("accuracy:measure_clipart", "image and title against each alone", 25),
    "heartbeat": Measurement("accuracy:measure_heartbeat", "signal and table against RR only", 10),
    "transfer": Measurement(
        "transfer:measure_transfer", "packaged encoders against from scratch, two data sets", 60
    ),
    "install": Measurement("startup:measure_install", "a new environment (package index)", 4, True),
    "serve_long": Measurement(
        "serve:measure_long", "the same: 2 min of overload, 50 stops, 10,000 bent files", 12, True
    ),
    "fusions": Measurement("fusions:measure", "every fusion on two data sets", 120, True),
}
"""Name → measurement, in the order of the table; speed comes first, while the machine is cool."""
