"""A checkpoint's image processor settings, read into a recipe that plait's image modality executes."""

from pathlib import Path
from typing import Any

from plait.data.modalities.base import State
from plait.data.modalities.image_recipe import FILTERS, check_recipe
from plait.errors import CheckpointError, unknown
from plait.model.pretrained.contents import read_json_if_there

_HALF = [0.5, 0.5, 0.5]
_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
_STANDARD = {"image_mean": _HALF, "image_std": _HALF}
_CLIP = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
_SQUARE = {"height": 224, "width": 224}
_BICUBIC, _BILINEAR = 3, 2
_CUT = {"size": {"shortest_edge": 224}, "crop_size": _SQUARE, "do_center_crop": True}
_PLAIN = {"do_resize": True, "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255}

PROCESSORS: dict[str, dict[str, Any]] = {
    "BitImageProcessor": {**_PLAIN, **_CLIP, **_CUT, "resample": _BICUBIC},
    "BlipImageProcessor": {
        **_PLAIN, **_CLIP, "size": {"height": 384, "width": 384}, "resample": _BICUBIC,
    },
    "CLIPImageProcessor": {**_PLAIN, **_CLIP, **_CUT, "resample": _BICUBIC},
    "ConvNextImageProcessor": {
        **_PLAIN, **_STANDARD, "size": {"shortest_edge": 384}, "resample": _BICUBIC,
        "crop_pct": 224 / 256,
    },
    "DeiTImageProcessor": {
        **_PLAIN, **_STANDARD, "size": {"height": 256, "width": 256}, "crop_size": _SQUARE,
        "do_center_crop": True, "resample": _BICUBIC,
    },
    "DINOv3ViTImageProcessor": {**_PLAIN, **_IMAGENET, "size": _SQUARE, "resample": _BILINEAR},
    "SiglipImageProcessor": {**_PLAIN, **_STANDARD, "size": _SQUARE, "resample": _BICUBIC},
    "ViTImageProcessor": {**_PLAIN, **_STANDARD, "size": _SQUARE, "resample": _BILINEAR},
}  # fmt: skip
"""What each of transformers' processors does where a checkpoint's file is silent."""

_EDGES = frozenset({"BitImageProcessor", "CLIPImageProcessor", "ConvNextImageProcessor"})
"""Processors that read a size of one number as the shorter side; the others as a square."""

_PILLOW = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}


def image_state(folder: Path) -> State:
    """The state with which `ImageModality` prepares a column as a checkpoint wants its pictures.

    Read from ``preprocessor_config.json`` or ``processor_config.json`` (and, for a timm model, from
    ``config.json``). Agrees with the checkpoint's own processor, as transformers has it without
    torchvision, to float precision; see `plait.data.modalities.image_recipe` for what differs on
    purpose. DINOv3's processor resizes numbers that it does not round to bytes afterwards; plait
    rounds, so each pixel agrees to one part in 255.

    Raises:
        CheckpointError: there are no settings, or they ask for something plait cannot do.
    """
    config = read_json_if_there(folder / "config.json") or {}
    if "pretrained_cfg" in config:
        return _timm_state(config["pretrained_cfg"])
    settings = read_json_if_there(folder / "preprocessor_config.json")
    if settings is None:
        whole = read_json_if_there(folder / "processor_config.json") or {}
        settings = whole.get("image_processor")
    if not isinstance(settings, dict):
        raise CheckpointError(
            f"{folder} does not say how pictures are prepared for this model: it has neither a "
            "preprocessor_config.json nor a processor_config.json with an image_processor. Copy the "
            "file from where the checkpoint comes from."
        )
    return _state(settings)


def _state(settings: dict[str, Any]) -> State:
    name = _processor(settings)
    asked = {
        **PROCESSORS[name],
        **{key: value for key, value in settings.items() if value is not None},
    }
    recipe: dict[str, Any] = {
        "resize": None,
        "resample": _resample(asked["resample"]),
        "crop": None,
        "rounds": "down",
        "pad": None,
        "fill": [0, 0, 0],
    }
    scale = float(asked["rescale_factor"]) if asked["do_rescale"] else 1.0
    mean, std = [0.0] * 3, [1.0] * 3
    if asked["do_normalize"]:
        mean, std = _three(asked, "image_mean"), _three(asked, "image_std")
    if asked["do_resize"]:
        recipe["resize"] = _resize(asked["size"], name)
    if asked.get("do_center_crop"):
        recipe["crop"] = list(_pair(asked.get("crop_size"), "crop_size"))
    if name == "ConvNextImageProcessor" and asked["do_resize"]:
        _convnext(recipe, asked)
    elif asked.get("do_pad"):
        recipe["pad"] = list(_pair(asked.get("pad_size"), "pad_size"))
        recipe["fill"] = _fill(mean, std, scale)
    return _made(recipe, scale, mean, std)


def _made(recipe: dict[str, Any], scale: float, mean: list[float], std: list[float]) -> State:
    size = check_recipe(recipe)
    return {
        "size": size,
        "channels": 3,
        "fit": "recipe",
        "recipe": recipe,
        "scale": scale,
        "mean": mean,
        "std": std,
    }


def _processor(settings: dict[str, Any]) -> str:
    """The processor's name, whatever transformers called it over the years."""
    processor = settings.get("image_processor_type") or settings.get("feature_extractor_type")
    if processor is None:
        raise CheckpointError(
            "the checkpoint's preprocessor_config.json names no image_processor_type, so its settings "
            f"cannot be read. Add one: {', '.join(sorted(PROCESSORS))}."
        )
    name = str(processor).removesuffix("Fast").removesuffix("Pil")
    name = name.replace("FeatureExtractor", "ImageProcessor")
    if name not in PROCESSORS:
        raise CheckpointError(
            f"the checkpoint prepares its pictures with '{processor}', which plait cannot do; it can do "
            f"what these do: {', '.join(sorted(PROCESSORS))}."
        )
    return name


def _resample(asked: object) -> str:
    name = _PILLOW.get(asked) if isinstance(asked, int) else None
    if name is None:
        known = ", ".join(f"{number} ({word})" for number, word in _PILLOW.items())
        raise CheckpointError(f"the checkpoint asks for resample {asked!r}; Pillow has {known}.")
    return name


def _resize(size: Any, name: str) -> list[Any]:
    if isinstance(size, int):
        size = {"shortest_edge": size} if name in _EDGES else {"height": size, "width": size}
    if isinstance(size, list) and len(size) == 2:
        size = {"height": size[0], "width": size[1]}
    if isinstance(size, dict):
        given = {key for key, value in size.items() if value is not None}
        if given == {"shortest_edge"}:
            edge = int(size["shortest_edge"])
            return ["shortest", edge, edge]
        if given == {"height", "width"}:
            return ["exact", int(size["height"]), int(size["width"])]
        if given == {"max_height", "max_width"}:
            return ["within", int(size["max_height"]), int(size["max_width"])]
    raise CheckpointError(
        f"the checkpoint asks for the size {size!r}; plait can do height and width, shortest_edge "
        "alone, or max_height and max_width."
    )


def _pair(size: Any, key: str) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if isinstance(size, dict) and {"height", "width"} <= size.keys():
        return int(size["height"]), int(size["width"])
    raise CheckpointError(
        f"the checkpoint asks for the {key} {size!r}; expected a number, or height and width."
    )


def _three(asked: dict[str, Any], key: str) -> list[float]:
    value = asked[key]
    numbers = (
        [float(value)] * 3
        if isinstance(value, int | float)
        else [float(number) for number in value]
    )
    if len(numbers) != 3:
        raise CheckpointError(
            f"the checkpoint's {key} has {len(numbers)} numbers; three were expected, for red, green "
            "and blue."
        )
    return numbers


def _convnext(recipe: dict[str, Any], asked: dict[str, Any]) -> None:
    """Below 384 pixels cut out the middle share ``crop_pct``, from there on squeeze to a square."""
    how, edge, _ = recipe["resize"]
    if how != "shortest" or asked.get("do_center_crop"):
        raise CheckpointError(
            "the checkpoint's ConvNextImageProcessor should have a size of shortest_edge alone, and "
            f"no do_center_crop; it has size {asked['size']!r}."
        )
    if edge >= 384:
        recipe["resize"] = ["exact", edge, edge]
        return
    larger = int(edge / float(asked["crop_pct"]))
    recipe["resize"], recipe["crop"] = ["shortest", larger, larger], [edge, edge]


def _fill(mean: list[float], std: list[float], scale: float) -> list[int]:
    """The colour that scaling turns into the zeros which the processors pad with, afterwards."""
    colour = [value / scale for value in mean]
    whole = [round(value) for value in colour]
    off = max(
        abs(near - value) * scale / spread
        for near, value, spread in zip(whole, colour, std, strict=True)
    )
    if off > 1e-3 or min(whole) < 0 or max(whole) > 255:
        raise CheckpointError(
            f"the checkpoint pads pictures with its mean colour {[round(part, 2) for part in colour]}, "
            "which is between two colours that bytes can hold, so plait cannot do as it does."
        )
    return whole


def _timm_state(asked: dict[str, Any]) -> State:
    """From timm's ``pretrained_cfg``: its evaluation transform (resize, then cut from the middle)."""
    channels, height, width = asked.get("input_size") or (3, 224, 224)
    resample, mode = asked.get("interpolation") or "bicubic", asked.get("crop_mode") or "center"
    share = float(asked.get("crop_pct") or 0.875)
    if channels != 3 or mode not in ("center", "squash") or height != width:
        raise CheckpointError(
            f"the timm checkpoint asks for input_size {[channels, height, width]} and crop_mode "
            f"'{mode}'; plait can do squares of three colours, and crop_mode center or squash."
        )
    if resample not in FILTERS:
        raise CheckpointError(unknown("interpolation", str(resample), FILTERS))
    larger = int(height / share)
    recipe = {
        "resize": ["shortest" if mode == "center" else "exact", larger, larger],
        "resample": resample,
        "crop": [height, width],
        "rounds": "even",
        "pad": None,
        "fill": [0, 0, 0],
    }
    mean = [float(number) for number in asked.get("mean") or _IMAGENET["image_mean"]]
    std = [float(number) for number in asked.get("std") or _IMAGENET["image_std"]]
    return _made(recipe, 1 / 255, mean, std)
