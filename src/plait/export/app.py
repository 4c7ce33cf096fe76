"""`plait export`: a fitted model as a folder that `plait.runtime` answers with.

app.json             format version, plait version, the model's stamp, the SHA-256 of every other file
graphs.json          streams in the order of the fusion's inputs, their encoders' graphs, their columns
encoder_0.onnx ...   prepared cells of one stream to tokens; streams that share an encoder share one
fusion.onnx          tokens of all streams to each target's scores
model.onnx           all of it in one graph, where that was asked for
config.json, schema.json, preprocessing.json, targets.json, golden.json
                     as in the bundle
README.md            what it is and how to use it
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, Unpack
from uuid import uuid4

import torch
from torch import Tensor

from plait.answers import golden
from plait.data.store import PreparedColumn
from plait.display.progress import Reporter, Silent
from plait.errors import BundleError, ConfigError, ExportError, check_keywords, error_line
from plait.export.check import check_golden, check_random
from plait.export.convert import check_extra, stamped, to_onnx
from plait.export.int8 import Cost, check_drop, cost, noted, quantise, stamp_of
from plait.export.over_http import check_http
from plait.export.parts import EncoderPart, FusionPart
from plait.export.samples import id_counts, random_columns
from plait.export.single import SINGLE, check_single, single_graph
from plait.model.loader import collate
from plait.predictor.bundle import holds_bundle
from plait.predictor.card import model_card
from plait.predictor.predictor import Predictor
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

MAX_DROP = 0.01
"""Of the metric, that int8 may cost: one point."""

RANDOM_ROWS = 24
"""Random rows of the numeric check."""

ELSE_ENCODER = (
    "Fit with another encoder for it (`plait encoders` lists them), or predict with the bundle."
)
ELSE_FUSION = "Fit with another fusion (`plait fusions` lists them), or predict with the bundle."


class Quantisation(TypedDict, total=False):
    """What an export in 8-bit whole numbers needs and allows.

    Attributes:
        table: with answers, to measure on what int8 costs; must be there with it.
        calibrate: a table whose rows fix the scales of int8; None: they are dynamic.
        root: the folder media paths of both tables are relative to; None: their own.
        max_drop: of the metric that fits are judged by, which int8 may cost at most; None: `MAX_DROP`.
    """

    table: Any
    calibrate: Any
    root: Path | str | None
    max_drop: float | None


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Attributes:
        folder: where it is.
        megabytes: of all of its files.
        golden: the largest difference between fitted and exported scores on the golden rows, in float32.
        random: the same on random prepared arrays.
        http: the same on the golden rows through a server; None where ``plait[serve]`` is not installed.
        int8: ``dynamic`` or ``static`` where that was asked for.
        whole: megabytes in float32, then.
        costs: what int8 costs each target, then.
    """

    folder: str
    megabytes: float
    golden: float
    random: float
    http: float | None = None
    int8: str | None = None
    whole: float | None = None
    costs: list[Cost] = field(default_factory=list)


def export(
    model: Predictor,
    out: Path | str,
    *,
    single: bool = False,
    int8: bool = False,
    reporter: Reporter | None = None,
    **quantisation: Unpack[Quantisation],
) -> Exported:
    """Write a model's graphs and all that the runtime needs, after checking that both answer alike.

    Args:
        out: a folder; an exported model in it is replaced.
        single: write everything as one more graph too (`plait.export.single`).
        int8: in 8-bit whole numbers (`plait.export.int8`), after the check in float32.
        quantisation: what int8 needs and allows: ``table=``, ``calibrate=``, ``root=``, ``max_drop=``;
            see `Quantisation`.

    Raises:
        ConfigError: int8 without a table, or options of int8 without it.
        ExportError: the golden rows no longer match, a part does not export, the exported model answers
            otherwise, int8 costs too much, or the folder cannot be written. An earlier export there
            stays as it was.
        MissingExtra: a package that export needs is not installed.
    """
    check_extra()
    # Refused before anything is traced: the graphs take a minute.
    _check_dense(model)
    _check_options(int8, quantisation)
    folder, reporter = Path(out), reporter or Silent()
    _check_free(folder)
    try:
        # A bundle that no longer answers its golden rows here would be exported with the fault.
        model.verify()
    except BundleError as error:
        raise ExportError(f"{error} Nothing was exported; fit the model again.") from None
    draft = folder.parent / f".{folder.name}-{uuid4().hex}"
    try:
        draft.mkdir(parents=True)  # now, since the graphs take a minute
        files, about, single_note = _whole(model, draft / "whole", single, reporter)
        costs, whole = list[Cost](), None
        if int8:
            whole = _megabytes(files)
            files, about, costs = _small(draft, quantisation)
        EXPORTED.write(folder, files, **about)
        # After the new manifest: until then the old export still needs its graphs.
        _remove_others(folder, files)
    except OSError as error:
        raise ExportError(
            f"the model could not be exported to {folder}: {error_line(error)}. No part of it was "
            "kept. Free some space or name another folder."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Exported(str(folder), _megabytes(files), *single_note, about.get("int8"), whole, costs)


def _whole(
    model: Predictor, folder: Path, single: bool, reporter: Reporter
) -> tuple[dict[str, bytes], dict[str, Any], tuple[float, float, float | None]]:
    """Write the model in float32 and check it: files, what app.json says, the largest differences."""
    columns = _random(model, seed=1, missing=0.3)
    files = _documents(model) | _graphs(model, reporter)
    if single:
        files[SINGLE] = single_graph(files, _streams(model))
    about = {"model": stamp_of(files)}
    files = {
        name: stamped(data, about["model"]) if name.endswith(".onnx") else data
        for name, data in files.items()
    }
    EXPORTED.write(folder, files, **about)
    with reporter.stage("check", 3, "ways") as stage:
        runtime = Runtime(folder)
        on_golden = check_golden(model, runtime)
        stage.advance()
        on_random = check_random(model, runtime, columns, RANDOM_ROWS)
        if single:
            joined = check_single(files[SINGLE], runtime, columns, RANDOM_ROWS)
            on_random = max(on_random, joined)
        stage.advance()
        over_http = check_http(model, folder)
        stage.advance()
    return files, about, (on_golden, on_random, over_http)


def _small(draft: Path, asked: Quantisation) -> tuple[dict[str, bytes], dict[str, Any], list[Cost]]:
    """The same in int8, unless it costs too much: files, what app.json says of them, what it costs."""
    root, limit = asked.get("root"), asked.get("max_drop")
    kind = quantise(draft / "whole", draft / "int8", calibrate=asked.get("calibrate"), root=root)
    costs = cost(Runtime(draft / "whole"), Runtime(draft / "int8"), asked["table"], root=root)
    check_drop(costs, MAX_DROP if limit is None else limit)
    manifest, files = EXPORTED.read(draft / "int8")
    return files, {"model": manifest["model"], "int8": kind, "cost": noted(costs)}, costs


def _megabytes(files: Mapping[str, bytes]) -> float:
    return round(sum(len(data) for data in files.values()) / 1e6, 3)


def _check_dense(model: Predictor) -> None:
    """Refuse targets whose answers are sequences."""
    for target in model.targets:
        if target.ragged:
            raise ExportError(
                f"'{target.name}' is {target.noun}: a graph gives as many numbers for every row, and a "
                "sequence has a length of its own. Nothing was exported."
            )


def _check_options(int8: bool, asked: Quantisation) -> None:
    """Options that there are not, and those that need each other."""
    check_keywords(asked, Quantisation.__annotations__)
    wrong, max_drop = [], asked.get("max_drop")
    if int8 and asked.get("table") is None:
        wrong.append("int8: name a labelled table to measure the cost on: --table test.csv")
    needing = ("calibrate", "table", "max_drop")
    named = " and ".join(name for name in needing if asked.get(name) is not None)
    if named and not int8:
        wrong.append(f"{named}: only used with int8; add --int8")
    if max_drop is not None and not max_drop >= 0:
        wrong.append(
            f"max_drop={max_drop}: a number from 0, for example 0.01 for one percentage point"
        )
    if wrong:
        raise ConfigError(wrong)


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
        name: json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        for name, value in values.items()
    }
    card = model_card(model.targets, model.features, model.blueprint, model.metrics)
    return {**files, "README.md": (_HOW + card).encode()}


_HOW = """\
# An exported plait model

It needs no torch: `pip install "plait[runtime]"`, then `plait predict FOLDER new.csv`, or in
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
    ids = id_counts(model.model, model.blueprint, model.frozen)
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
    # Three rows: torch.export specialises an axis of length 0 or 1.
    batch = collate(_random(model, seed=0, missing=0.0), torch.arange(3).numpy())
    graphs: dict[str, bytes] = {}
    with reporter.stage("export", len(owners) + 1, "graphs") as stage:
        for name, stream in owners.items():
            cells = [part for column in stream.columns for part in batch[column]]
            axes = [batch[column].mask.ndim for column in stream.columns for _ in range(2)]
            encoder: Any = encoders[stream.name]
            graphs[name] = to_onnx(
                EncoderPart(encoder, model.frozen.encoder(stream.columns[0])).eval(),
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
        # Lengths differ, so that a trace cannot take the axes of two streams for one.
        tokens = 3 + index % 3
        example.append(torch.randn(3, tokens, width, generator=generator))
        example.append(torch.rand(3, tokens, generator=generator) > 0.3)
    return example
