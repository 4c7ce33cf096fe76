"""VideoMAE, TimeSformer and ViViT checkpoints: patches of a clip's frames as tokens."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from plait.data.modalities.base import State
from plait.errors import CheckpointError, error_line
from plait.model.pretrained.base import Backbone, Family
from plait.model.pretrained.configure import silence
from plait.model.tokens import ColumnBatch, Tokens

MODELS = ("videomae", "timesformer", "vivit")
"""What ``config.json`` may call itself in ``model_type``."""

SETTINGS = ("video_preprocessor_config.json", "preprocessor_config.json")
"""Where a checkpoint says how frames are prepared, the newer name first."""

_FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}


def video_state(folder: Path) -> State:
    """The state of `plait.data.modalities.video` that prepares clips as the checkpoint's processor does.

    Frames are resized by the shorter side (or to a fixed size), cut from the middle, and kept as bytes;
    scaling is left to the backbone: ``(scale x - mean) / std``, an offset being part of the mean.
    The processors leave it to the user which frames they are given; plait spreads as many as the model
    was trained with over the clip.

    Raises:
        CheckpointError: there are no settings, or they ask for what plait cannot do.
    """
    config = _json(folder, "config.json")
    name = next((name for name in SETTINGS if (folder / name).is_file()), None)
    if name is None:
        raise CheckpointError(
            f"'{folder}' does not say how its frames are prepared: it has neither "
            f"{' nor '.join(SETTINGS)}."
        )
    asked = _json(folder, name)
    where = f"{name} in '{folder}'"
    resize, size = _sizes(asked, where)
    scale = float(asked.get("rescale_factor", 1 / 255)) if asked.get("do_rescale", True) else 1.0
    mean, std = (
        _colours(asked, where) if asked.get("do_normalize", True) else ([0.0] * 3, [1.0] * 3)
    )
    kind = str(asked.get("video_processor_type") or asked.get("image_processor_type") or "")
    if asked.get("do_rescale", True) and asked.get("offset", kind.startswith("Vivit")):
        mean = [value + 1 for value in mean]
    wanted = config.get("image_size", 224)
    if wanted not in (size, [size, size]):
        raise CheckpointError(
            f"{where} makes frames of {size} x {size} pixels, and the model takes {wanted} (image_size)."
        )
    return {
        "fit": "crop",
        "frames": int(config.get("num_frames", 16)),
        "size": size,
        "channels": 3,
        "resize": resize,
        "resample": _filter(asked.get("resample", 2), where),
        "scale": scale,
        "mean": mean,
        "std": std,
    }


def _json(folder: Path, name: str) -> dict[str, Any]:
    try:
        settings = json.loads((folder / name).read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(
            f"'{folder}' is not a checkpoint: its {name} cannot be read ({error.strerror})."
        ) from None
    except ValueError:
        raise CheckpointError(f"{name} in '{folder}' is not valid JSON.") from None
    if not isinstance(settings, dict):
        raise CheckpointError(
            f"{name} in '{folder}' holds a {type(settings).__name__}, not settings."
        )
    return settings


def _sizes(asked: dict[str, Any], where: str) -> tuple[int | list[int] | None, int]:
    """What frames are resized to, and the side of the square that is left of them."""
    size = asked.get("size")
    resize: int | list[int] | None = None
    if asked.get("do_resize", True):
        if isinstance(size, int):
            resize = size
        elif isinstance(size, dict) and set(size) == {"shortest_edge"}:
            resize = int(size["shortest_edge"])
        elif isinstance(size, dict) and set(size) == {"height", "width"}:
            resize = [int(size["height"]), int(size["width"])]
        else:
            raise CheckpointError(
                f"{where} resizes to {size!r}; plait can resize by shortest_edge, or to height and "
                "width."
            )
    crop = asked.get("crop_size")
    if isinstance(crop, dict):
        crop = [crop.get("height"), crop.get("width")]
    cut: object = [crop, crop] if isinstance(crop, int) else crop
    if not asked.get("do_center_crop", True):
        cut = resize
    if not (
        isinstance(cut, list) and len(cut) == 2 and cut[0] == cut[1] and isinstance(cut[0], int)
    ):
        raise CheckpointError(
            f"{where} leaves frames of {cut!r}, expected one square for all clips."
        )
    return resize, cut[0]


def _colours(asked: dict[str, Any], where: str) -> tuple[list[float], list[float]]:
    colours = []
    for name in ("image_mean", "image_std"):
        value = asked.get(name)
        value = [value] * 3 if isinstance(value, int | float) else value
        if not isinstance(value, list) or len(value) != 3:
            raise CheckpointError(
                f"{where} has {name} {value!r}, expected a number for each of 3 colours."
            )
        colours.append([float(number) for number in value])
    return colours[0], colours[1]


def _filter(resample: object, where: str) -> int:
    number = _FILTERS.get(resample.lower(), -1) if isinstance(resample, str) else resample
    if not isinstance(number, int) or number not in _FILTERS.values():
        raise CheckpointError(
            f"{where} resizes by the filter {resample!r}, expected one of {', '.join(_FILTERS)} "
            "(0 to 5)."
        )
    return number


class VideoBackbone(Backbone):
    """Clips ``uint8 [batch, frames, size, size, 3]`` to the last hidden states.

    VideoMAE (Tong et al. 2022) gives a token to each tube of patches, TimeSformer (Bertasius et al.
    2021) and ViViT (Arnab et al. 2021) one to each patch or tube, and one more before them. All clips
    have as many tokens. Cost: that of the model, whether a row's cell is there or not.
    """

    def __init__(self, model: nn.Module, state: State) -> None:
        super().__init__()
        self.model = model
        self.hidden = int(model.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.scale = float(state["scale"])
        self.mean: Tensor
        self.std: Tensor
        for name in ("mean", "std"):
            numbers = torch.tensor(state[name], dtype=torch.float32)
            self.register_buffer(name, numbers, persistent=False)

    def pixels(self, column: ColumnBatch) -> Tensor:
        """What the model is given: ``float32 [batch, frames, channels, height, width]``."""
        values = (column.values.to(torch.float32) * self.scale - self.mean) / self.std
        return values.permute(0, 1, 4, 2, 3)

    def forward(self, column: ColumnBatch) -> Tokens:
        """Encode one batch to ``[batch, tokens, hidden]``."""
        values = self.model(pixel_values=self.pixels(column)).last_hidden_state
        return Tokens(values, column.mask[:, None].expand(values.shape[:2]))

    def blocks(self) -> list[nn.Module]:
        """Embeddings, then the layers; a last normalisation goes with the last layer."""
        model: Any = self.model
        layers = list(model.layers if hasattr(model, "layers") else model.encoder.layer)
        if model.layernorm is not None:
            layers[-1] = nn.ModuleList([layers[-1], model.layernorm])
        return [model.embeddings, *layers]


def make_video(config: dict[str, Any], state: State, folder: Path | None) -> VideoBackbone:
    """A checkpoint's backbone in float32 and ``eval`` mode; see `plait.model.pretrained.base.Family`.

    Raises:
        CheckpointError: it is of another kind, names code of its own, or its weights cannot be loaded.
    """
    kind = config.get("model_type")
    if kind not in MODELS:
        raise CheckpointError(
            f"this checkpoint is a '{kind}', which plait does not read as a video model; it reads "
            f"{', '.join(MODELS)}."
        )
    if "auto_map" in config:
        raise CheckpointError(
            f"this {kind} checkpoint names code of its own (auto_map), which plait never runs."
        )
    extra = {"add_pooling_layer": False} if kind == "vivit" else {}
    with silence():
        import transformers

        library: Any = transformers  # it has few annotations
        rest = {name: value for name, value in config.items() if name != "model_type"}
        built = library.AutoConfig.for_model(str(kind), **rest)
        if folder is None:
            model = library.AutoModel.from_config(built, dtype=torch.float32, **extra)
        else:
            model = _loaded(library.AutoModel, folder, built, extra)
    return VideoBackbone(model, state).eval()


def _loaded(auto: Any, folder: Path, config: Any, extra: dict[str, Any]) -> Any:
    try:
        model, loading = auto.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
            **extra,
        )
    except Exception as error:  # a damaged file raises anything
        raise CheckpointError(
            f"the weights in '{folder}' cannot be loaded: {error_line(error)}"
        ) from None
    if absent := sorted(loading["missing_keys"]):
        raise CheckpointError(
            f"the weights in '{folder}' lack {len(absent)} of the model's tensors, such as "
            f"'{absent[0]}'."
        )
    return model


VIDEO = Family(video_state, make_video)
"""How video checkpoints are read."""
