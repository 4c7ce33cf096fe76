"""`plait export`: a fitted model as a folder that `plait.runtime` answers with.

app.json             format version, plait version, the model's stamp, the SHA-256 of every other file
graphs.json          streams in the order of the fusion's inputs, their encoders' graphs, their columns
encoder_0.onnx ...   prepared cells of one stream to tokens; streams that share an encoder share one
fusion.onnx          tokens of all streams to each target's scores
config.json, schema.json, preprocessing.json, targets.json, golden.json
                     as in the bundle
README.md            what it is and how to use it
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from torch import Tensor

from plait import golden
from plait.bundle import holds_bundle
from plait.card import model_card
from plait.errors import BundleError, ExportError
from plait.export.check import check_golden, check_random
from plait.export.convert import check_extra, stamped, to_onnx
from plait.export.parts import EncoderPart, FusionPart
from plait.export.samples import id_counts, random_columns
from plait.loader import collate
from plait.predict import Predictor
from plait.progress import Reporter, Silent
from plait.runtime import Runtime
from plait.runtime.graphs import (
    ENCODER_OUTPUTS,
    FUSION,
    VECTOR,
    Stream,
    encoder_inputs,
    fusion_inputs,
    fusion_outputs,
)
from plait.sealed import EXPORTED
from plait.store import PreparedColumn

RANDOM_ROWS = 24
"""Random rows of the numeric check."""

ELSE_ENCODER = (
    "Fit with another encoder for it (`plait encoders` lists them), or answer with the bundle."
)
ELSE_FUSION = "Fit with another fusion (docs/fusion.md lists them), or answer with the bundle."


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Attributes:
        folder: where it is.
        megabytes: of all of its files.
        golden: the largest difference between fitted and exported scores on the golden rows.
        random: the same on random prepared arrays.
    """

    folder: str
    megabytes: float
    golden: float
    random: float


def export(model: Predictor, out: Path | str, *, reporter: Reporter | None = None) -> Exported:
    """Write a model's graphs and all that the runtime needs, after checking that both answer alike.

    Args:
        out: a folder; an exported model in it is replaced.

    Raises:
        ExportError: the golden rows no longer match, a part does not export, the exported model answers
            otherwise, or the folder cannot be written. An earlier export there stays as it was.
        MissingExtra: a package that export needs is not installed.
    """
    check_extra()
    folder, reporter = Path(out), reporter or Silent()
    _check_free(folder)
    try:
        model.verify()
    except BundleError as error:
        raise ExportError(f"{error} Nothing was exported; fit the model again.") from None
    draft = folder.parent / f".{folder.name}-{uuid4().hex}"
    try:
        draft.mkdir(parents=True)  # now, since the graphs take a minute
        columns = _random(model, seed=1, missing=0.3)
        files = _documents(model) | _graphs(model, reporter)
        stamp = _stamp(files)
        files = {
            name: stamped(data, stamp) if name.endswith(".onnx") else data
            for name, data in files.items()
        }
        EXPORTED.write(draft, files, model=stamp)
        with reporter.stage("check", 2, "sets of rows") as stage:
            runtime = Runtime(draft)
            on_golden = check_golden(model, runtime)
            stage.advance()
            on_random = check_random(model, runtime, columns, RANDOM_ROWS)
            stage.advance()
        EXPORTED.write(folder, files, model=stamp)
        _remove_others(folder, files)
    except OSError as error:
        raise ExportError(
            f"the model could not be exported to {folder}: {error.strerror or error}. Nothing of it was "
            "kept. Free some space or name another folder."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    size = sum(len(data) for data in files.values()) / 1e6
    return Exported(str(folder), round(size, 3), on_golden, on_random)


def _check_free(folder: Path) -> None:
    """Refuse a place that holds something else."""
    if folder.exists() and not folder.is_dir():
        raise ExportError(f"'{folder}' is a file; name a folder to export to.")
    if holds_bundle(folder):
        raise ExportError(
            f"{folder} holds the bundle of a fitted model, some of whose files have the same names. "
            "Name another folder to export to."
        )
    if folder.is_dir() and any(folder.iterdir()) and not EXPORTED.is_in(folder):
        raise ExportError(
            f"{folder} is not empty and holds no exported model. Name another folder, or empty it first."
        )


def _remove_others(folder: Path, files: Mapping[str, Any]) -> None:
    """Remove the graphs of an earlier export that this one does not have."""
    for path in folder.glob("*.onnx"):
        if path.name not in files:
            path.unlink()


def _stamp(files: Mapping[str, bytes]) -> str:
    """A name for this very model, told by everything in it."""
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(name.encode() + b"\0" + hashlib.sha256(files[name]).digest())
    return whole.hexdigest()


def _documents(model: Predictor) -> dict[str, bytes]:
    """Everything but the graphs."""
    values = {
        "config.json": model.config.model_dump(mode="json"),
        "schema.json": model.schema.to_json(),
        "preprocessing.json": model.features.to_json(),
        "targets.json": [target.to_json() for target in model.targets],
        "golden.json": golden.to_json(model.golden),
        "graphs.json": {"streams": [stream.to_json() for stream in _streams(model)]},
    }
    files = {
        name: json.dumps(value, ensure_ascii=False, indent=1).encode()
        for name, value in values.items()
    }
    card = model_card(model.targets, model.features, model.blueprint, model.metrics)
    return {**files, "README.md": (_HOW + card).encode()}


_HOW = """\
# An exported plait model

Answers without torch: `pip install "plait[runtime]"`, then `plait predict FOLDER new.csv`, or in
Python `from plait.runtime import Runtime; Runtime("FOLDER").predict(rows)`. It is data: ONNX graphs that
hold all of their weights, and JSON. Its answers were compared with those of the fitted model when it was
exported. What follows is the card of that model.

"""


def _streams(model: Predictor) -> list[Stream]:
    """The streams with the files of their encoders' graphs."""
    plan = model.blueprint
    owners = list(dict.fromkeys(plan.shared[stream] for stream in plan.streams))
    return [
        Stream(stream, f"encoder_{owners.index(plan.shared[stream])}.onnx", tuple(columns))
        for stream, columns in plan.streams.items()
    ]


def _random(model: Predictor, *, seed: int, missing: float) -> dict[str, PreparedColumn]:
    backbones = {name: part.backbone for name, part in model.frozen.encoders.items()}
    ids = id_counts(model.model, model.blueprint, backbones)
    return random_columns(
        model.features, ids, model.config, rows=RANDOM_ROWS, seed=seed, missing=missing
    )


def _graphs(model: Predictor, reporter: Reporter) -> dict[str, bytes]:
    """Every ONNX graph, by file."""
    streams = _streams(model)
    encoders = dict(zip(model.blueprint.streams, model.model.encoders, strict=True))
    owners: dict[str, Stream] = {}
    for stream in streams:
        owners.setdefault(stream.encoder, stream)
    batch = collate(_random(model, seed=0, missing=0.0), torch.arange(3).numpy())
    graphs: dict[str, bytes] = {}
    with reporter.stage("export", len(owners) + 1, "graphs") as stage:
        for name, stream in owners.items():
            cells = [part for column in stream.columns for part in batch[column]]
            axes = [batch[column].mask.ndim for column in stream.columns for _ in range(2)]
            encoder: Any = encoders[stream.name]
            graphs[name] = to_onnx(
                EncoderPart(encoder, model.frozen.encoders.get(stream.columns[0])).eval(),
                cells,
                axes,
                inputs=encoder_inputs(len(stream.columns)),
                outputs=ENCODER_OUTPUTS,
                what=f"the encoder '{model.blueprint.encoders[stream.name]}' of '{stream.name}'",
                instead=ELSE_ENCODER,
            )
            stage.advance()
        graphs[FUSION] = fusion_graph(model)
        stage.advance()
    return graphs


def fusion_graph(model: Predictor) -> bytes:
    """Fusion and heads as one graph."""
    fusion = model.model.fusion
    return to_onnx(
        FusionPart(fusion, list(model.model.heads)).eval(),  # type: ignore[arg-type]
        fusion_example(list(fusion.widths.values())),
        [2] * (2 * len(fusion.widths)),
        inputs=fusion_inputs(len(fusion.widths)),
        outputs=[*fusion_outputs(len(model.targets)), VECTOR],
        what=f"the fusion '{model.blueprint.fusion}' with its heads",
        instead=ELSE_FUSION,
    )


def fusion_example(widths: list[int]) -> list[Tensor]:
    """Tokens and masks of three rows, in the order of the fusion's inputs."""
    generator = torch.Generator().manual_seed(0)
    example = []
    for index, width in enumerate(widths):
        tokens = 3 + index % 3
        example.append(torch.randn(3, tokens, width, generator=generator))
        example.append(torch.rand(3, tokens, generator=generator) > 0.3)
    return example
