"""Pictures prepared as the checkpoint's own processor does, and encoded as its own model does."""

import json
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from checkpoints_image_text import IMAGES, SQUARE, change, config_for, model_of, save_image
from PIL import Image

from plait.data.modalities.base import Settings, State
from plait.data.modalities.image import ImageModality
from plait.data.modalities.image_recipe import check_recipe, execute
from plait.errors import CheckpointError
from plait.model.pretrained import configure
from plait.model.pretrained.configure import silence
from plait.model.pretrained.image import make
from plait.model.pretrained.image_settings import PROCESSORS, image_state
from plait.model.tokens import ColumnBatch

Checkpoint = Callable[[str, str], Path]
SHAPES = [(33, 51), (32, 32), (91, 37), (17, 23), (36, 36), (5, 200), (301, 40), (45, 39)]


def scene(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth colours with some noise: resampling filters differ on both."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [127 + 100 * np.sin(x / (3 + k) + y / (5 - k)) for k in range(3)]
    return np.clip(np.stack(waves, 2) + random.normal(0, 20, (height, width, 3)), 0, 255).astype(
        np.uint8
    )


def png(image: Image.Image, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def pictures() -> list[bytes]:
    made = [Image.fromarray(scene(*shape, seed)) for seed, shape in enumerate(SHAPES)]
    return [*map(png, made), png(made[0].convert("L")), png(made[2].convert("L"))]


def prepared(cells: list[bytes], state: State, settings: Settings) -> torch.Tensor:
    """What the backbone gives its model: ``[rows, 3, size, size]``."""
    found = ImageModality().prepare(cells, state, settings)
    assert found.present.all() and found.values.dtype == np.uint8
    assert found.values.shape == (len(cells), state["size"], state["size"], 3)
    image = torch.from_numpy(found.values).double().permute(0, 3, 1, 2) * state["scale"]
    mean, std = (torch.tensor(state[key]).double().view(3, 1, 1) for key in ("mean", "std"))
    return ((image - mean) / std).float()


def own(folder: Path, cells: list[bytes]) -> torch.Tensor:
    """What the checkpoint's own processor makes of the pictures."""
    with silence():
        processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    assert type(processor).__name__.endswith("Pil")
    made = [Image.open(BytesIO(cell)).convert("RGB") for cell in cells]
    return torch.cat([processor(image, return_tensors="pt")["pixel_values"] for image in made])


@pytest.mark.parametrize("kind", IMAGES)
def test_prepares_as_its_own_processor(
    checkpoint: Checkpoint, kind: str, settings: Settings
) -> None:
    folder = checkpoint("image", kind)
    state = image_state(folder)
    assert state["size"] == 32 and state["channels"] == 3
    mine, theirs = prepared(pictures(), state, settings), own(folder, pictures())
    torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", IMAGES)
def test_encodes_as_its_own_model(checkpoint: Checkpoint, kind: str, settings: Settings) -> None:
    folder = checkpoint("image", kind)
    name = {
        "siglip": "SiglipVisionModel",
        "clip": "CLIPVisionModel",
        "siglip_vision_model": "SiglipVisionModel",
        "clip_vision_model": "CLIPVisionModel",
    }.get(kind, "AutoModel")
    with silence():
        model = getattr(transformers, name).from_pretrained(folder).eval()
    with torch.no_grad():
        expected = model(own(folder, pictures())).last_hidden_state
    if expected.ndim == 4:
        rows, hidden, high, wide = expected.shape
        expected = expected.permute(0, 2, 3, 1).reshape(rows, high * wide, hidden)
    state = image_state(folder)
    values = ImageModality().prepare(pictures(), state, settings).values
    backbone = make(json.loads((folder / "config.json").read_text()), state, folder).eval()
    tokens = backbone(
        ColumnBatch(torch.from_numpy(values), torch.ones(len(values), dtype=torch.bool))
    )
    torch.testing.assert_close(tokens.values, expected, atol=1e-5, rtol=1e-4)
    assert tokens.mask.all() and backbone.hidden == 32


VARIANTS: list[dict[str, Any]] = [
    {"size": 32, "crop_size": 32},
    {"size": {"shortest_edge": 24}},
    {"size": SQUARE, "do_center_crop": False, "resample": 1},
    {"size": SQUARE, "do_center_crop": False, "resample": 0},
    {"resample": 2, "do_normalize": False},
    {"resample": 4, "do_rescale": False},
    {"do_resize": False, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.3, 0.2, 0.1]},
    {"resample": 5, "rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": [1.0] * 3},
    {"size": {"max_height": 32, "max_width": 32}, "do_center_crop": False, "do_pad": True, "pad_size": SQUARE,
     "image_mean": [0.6, 0.2, 0.4]},
    {"do_pad": True, "pad_size": {"height": 40, "width": 40}, "do_normalize": False},
    {"size": SQUARE, "do_center_crop": False, "do_pad": True, "pad_size": 40, "do_normalize": False},
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(VARIANTS)))
def test_each_setting(tmp_path: Path, settings: Settings, number: int) -> None:
    folder = save_image(tmp_path, "clip_vision_model", **VARIANTS[number])
    state, cells = image_state(folder), pictures()
    if state["recipe"]["pad"] and state["recipe"]["resize"][0] == "within":
        del cells[5]  # the processor raises where a side becomes 0
    mine = prepared(cells, state, settings)
    torch.testing.assert_close(mine, own(folder, cells), atol=1e-3, rtol=1e-6)


@pytest.mark.parametrize("edge", [224, 384])
def test_convnext_cuts_below_384_only(tmp_path: Path, settings: Settings, edge: int) -> None:
    folder = save_image(tmp_path, "convnext", size={"shortest_edge": edge})
    state = image_state(folder)
    assert state["size"] == edge
    assert state["recipe"]["crop"] == ([224, 224] if edge == 224 else None)
    torch.testing.assert_close(
        prepared(pictures()[:3], state, settings), own(folder, pictures()[:3]), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("name", PROCESSORS)
def test_silent_settings_are_the_processors(tmp_path: Path, name: str) -> None:
    """A file that names its processor and says nothing else, as old checkpoints have it."""
    change_file(tmp_path, {"image_processor_type": name})
    state = image_state(tmp_path)
    cls = getattr(transformers, name + "Pil", None)
    if cls is None:
        assert name == "DINOv3ViTImageProcessor"  # needs torchvision, even to be looked at
        assert state["recipe"]["resize"] == ["exact", 224, 224]
        return
    processor = cls()
    np.testing.assert_allclose(state["mean"], processor.image_mean)
    np.testing.assert_allclose(state["std"], processor.image_std)
    assert state["scale"] == processor.rescale_factor
    picture = scene(301, 420)
    theirs = processor(Image.fromarray(picture), do_normalize=False, do_rescale=False)[
        "pixel_values"
    ][0]
    np.testing.assert_array_equal(
        execute(Image.fromarray(picture), state["recipe"]).transpose(2, 0, 1), theirs
    )


def change_file(folder: Path, told: dict[str, Any], name: str = "preprocessor_config.json") -> None:
    (folder / name).write_text(json.dumps(told))


@pytest.mark.parametrize(
    "name", ["ViTFeatureExtractor", "ViTImageProcessorFast", "ViTImageProcessorPil"]
)
def test_older_and_newer_names(tmp_path: Path, name: str) -> None:
    key = "feature_extractor_type" if "Feature" in name else "image_processor_type"
    change_file(tmp_path, {key: name, "size": 64, "image_mean": 0.5})
    state = image_state(tmp_path)
    assert state["recipe"]["resize"] == ["exact", 64, 64] and state["mean"] == [0.5] * 3


def test_size_as_a_list_and_processor_config(tmp_path: Path) -> None:
    inner = {"image_processor_type": "SiglipImageProcessor", "size": [48, 48]}
    change_file(
        tmp_path,
        {"processor_class": "SiglipProcessor", "image_processor": inner},
        "processor_config.json",
    )
    state = image_state(tmp_path)
    assert state["size"] == 48
    assert ImageModality().describe(state) == "48x48 colour, resized to 48x48 (bicubic)"


def test_describes_each_step(checkpoint: Checkpoint, tmp_path: Path) -> None:
    told = ImageModality().describe(image_state(checkpoint("image", "dinov2")))
    assert told == "32x32 colour, shorter side to 36 (bicubic), cut from the middle"
    save_image(tmp_path, "clip_vision_model", **VARIANTS[8])
    told = ImageModality().describe(image_state(tmp_path))
    assert told == "32x32 colour, longer side to 32 (bicubic), padded to a square"
    bare = {"size": 8, "channels": 3, "recipe": {"resize": None, "crop": None, "pad": None}}
    assert ImageModality().describe(bare) == "8x8 colour"


def test_what_differs_on_purpose(checkpoint: Checkpoint, settings: Settings) -> None:
    """Transparency lies on white, turned photographs stand upright, deep grey uses its whole range."""
    state = image_state(checkpoint("image", "vit"))
    clear = np.zeros((40, 50, 4), np.uint8)
    turned = Image.fromarray(scene(40, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(np.full((30, 30), 65535, np.uint16))
    cells = [
        png(Image.fromarray(clear)),
        png(turned, exif=exif),
        png(turned.transpose(Image.Transpose.ROTATE_270)),
        png(deep),
    ]
    white, lying, upright, bright = ImageModality().prepare(cells, state, settings).values
    assert (white == 255).all() and (bright == 255).all()
    np.testing.assert_array_equal(lying, upright)


def test_no_draft_of_a_jpeg(checkpoint: Checkpoint, settings: Settings) -> None:
    file = BytesIO()
    Image.fromarray(scene(900, 700)).save(file, "JPEG", quality=95)
    folder = checkpoint("image", "clip")
    mine = prepared([file.getvalue()], image_state(folder), settings)
    torch.testing.assert_close(mine, own(folder, [file.getvalue()]), atol=1e-3, rtol=0)


def test_a_broken_picture_is_a_problem(checkpoint: Checkpoint, settings: Settings) -> None:
    state = image_state(checkpoint("image", "vit"))
    found = ImageModality().prepare([b"<html>", None, pictures()[0]], state, settings)
    assert found.present.tolist() == [False, False, True] and not found.values[:2].any()
    assert [problem.reason for problem in found.problems] == ["is HTML or XML, not an image"]


def test_batch_norm_keeps_its_statistics(checkpoint: Checkpoint) -> None:
    folder = checkpoint("image", "resnet")
    described = json.loads((folder / "config.json").read_text())
    backbone = make(described, image_state(folder), folder).train()
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    batch = ColumnBatch(torch.randint(0, 256, (2, 32, 32, 3)).byte(), torch.tensor([True, False]))
    backbone(batch).values.sum().backward()
    assert any("running_mean" in name for name in before)
    assert all(torch.equal(before[name], value) for name, value in backbone.named_buffers())
    assert backbone.training and backbone.model.training


def test_positions_are_stretched_to_other_sizes(tmp_path: Path, settings: Settings) -> None:
    folder = save_image(tmp_path, "vit", size={"height": 48, "width": 48})
    described, state = json.loads((folder / "config.json").read_text()), image_state(folder)
    backbone = make(described, state, folder).eval()
    values = torch.from_numpy(ImageModality().prepare(pictures()[:2], state, settings).values)
    tokens = backbone(ColumnBatch(values, torch.ones(2, dtype=torch.bool))).values
    with silence():
        model = transformers.ViTModel.from_pretrained(folder).eval()
    expected = model(own(folder, pictures()[:2]), interpolate_pos_encoding=True).last_hidden_state
    torch.testing.assert_close(tokens, expected, atol=1e-5, rtol=1e-4)
    assert tokens.shape[1] == 37


def refuse(call: Callable[[], object]) -> str:
    with pytest.raises(CheckpointError) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({}, "names no image_processor_type, so its settings cannot be read. Add one: BitImageProcessor, "),
        ({"image_processor_type": "BeitImageProcessor"}, "prepares its pictures with 'BeitImageProcessor', which plait cannot do; it can do what these do: BitImage"),
        ({"image_processor_type": "Siglip2ImageProcessor"}, "prepares its pictures with 'Siglip2ImageProcessor'"),
        ({"resample": 9}, "asks for resample 9; Pillow has 0 (nearest), 1 (lanczos)"),
        ({"resample": "bicubic"}, "asks for resample 'bicubic'; Pillow has"),
        ({"size": {"shortest_edge": 32, "longest_edge": 64}}, "asks for the size {'shortest_edge': 32, 'longest_edge': 64}; plait can do height and width, shortest_edge alone, or max_height and max_width."),
        ({"size": "large"}, "asks for the size 'large'"),
        ({"size": {"shortest_edge": 32}}, "leaves pictures in different sizes (it neither crops nor pads them, nor resizes them to one size); plait needs one size for a column. Set do_center_crop and crop_size"),
        ({"do_resize": False}, "leaves pictures in different sizes"),
        ({"size": {"height": 32, "width": 48}}, "makes pictures 32 high and 48 wide; plait expects squares."),
        ({"do_center_crop": True}, "asks for the crop_size None; expected a number, or height and width."),
        ({"do_center_crop": True, "crop_size": {"shortest_edge": 3}}, "asks for the crop_size {'shortest_edge': 3}"),
        ({"image_mean": [0.5]}, "image_mean has 1 numbers; three were expected, for red, green and blue."),
        ({"do_pad": True, "pad_size": 300}, "pads pictures with its mean colour [127.5, 127.5, 127.5], which is between two colours"),
        ({"do_pad": True, "pad_size": 300, "image_mean": [1.2] * 3}, "mean colour [306.0, 306.0, 306.0]"),
        ({"do_pad": True, "pad_size": 40, "do_normalize": False}, "pads to 40x40 pictures that may be larger"),
        ({"do_pad": True, "pad_size": 40, "do_normalize": False, "size": {"shortest_edge": 20}}, "pads to 40x40 pictures that may be larger"),
        ({"image_processor_type": "ConvNextImageProcessor", "size": SQUARE}, "ConvNextImageProcessor should have a size of shortest_edge alone, and no do_center_crop; it has size {'height': 32, 'width': 32}."),
        ({"image_processor_type": "ConvNextImageProcessor", "do_center_crop": True, "crop_size": 32}, "ConvNextImageProcessor should have"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_kept(tmp_path: Path, told: dict[str, Any], words: str) -> None:
    change_file(tmp_path, ({"image_processor_type": "ViTImageProcessor"} | told) if told else {})
    assert words in refuse(lambda: image_state(tmp_path))


def test_recipes_that_are_none() -> None:
    good = {
        "resize": ["exact", 8, 8],
        "resample": "box",
        "crop": None,
        "rounds": "down",
        "pad": None,
    }
    assert check_recipe(good) == 8
    assert refuse(lambda: check_recipe(good | {"resample": "bicubc"})) == (
        "unknown resampling 'bicubc'. Did you mean 'bicubic'? "
        "Choose from: bicubic, bilinear, box, hamming, lanczos, nearest."
    )
    assert refuse(lambda: check_recipe(good | {"resize": ["longest", 8, 8]})) == (
        "unknown resize 'longest'. Choose from: exact, shortest, within."
    )
    assert refuse(lambda: check_recipe(good | {"rounds": "up"})) == (
        "unknown rounding of a crop 'up'. Choose from: down, even."
    )


def test_no_settings_at_all(tmp_path: Path) -> None:
    assert refuse(lambda: image_state(tmp_path)) == (
        f"{tmp_path} does not say how pictures are prepared for this model: it has neither a "
        "preprocessor_config.json nor a processor_config.json with an image_processor. Copy the file "
        "from where the checkpoint comes from."
    )
    (tmp_path / "preprocessor_config.json").write_text("{")
    assert "preprocessor_config.json cannot be read as JSON (Expecting" in refuse(
        lambda: image_state(tmp_path)
    )
    (tmp_path / "preprocessor_config.json").write_text("[]")
    assert refuse(lambda: image_state(tmp_path)).endswith(
        "holds a list, expected a JSON object. Fetch the checkpoint again."
    )


STATE: State = {
    "size": 32,
    "channels": 3,
    "fit": "recipe",
    "recipe": {"resize": ["exact", 32, 32], "resample": "bicubic", "crop": None, "rounds": "down", "pad": None},
    "scale": 1 / 255,
    "mean": [0.5] * 3,
    "std": [0.5] * 3,
}  # fmt: skip


@pytest.mark.parametrize(
    ("described", "words"),
    [
        ({}, "config.json has no model_type, so it is not a transformers model"),
        ({"model_type": "vit", "auto_map": {"AutoModel": "x.Y"}}, "the checkpoint (model_type 'vit') brings code of its own, named by auto_map in its config.json, and plait never runs code from a checkpoint. Use a checkpoint of a kind that transformers has built in, or convert this one to such a kind."),
        ({"model_type": "vitt"}, "model_type is 'vitt', which the installed transformers does not have. Update it with: pip install -U transformers"),
        ({"model_type": "vit", "hidden_size": "wide"}, "config.json does not describe a 'vit' model: "),
        ({"model_type": "bert"}, "is a 'bert' model, which takes text (input_ids); the column is image, so a model that takes image alone (pixel_values) was expected."),
        ({"model_type": "wav2vec2"}, "is a 'wav2vec2' model, which takes audio (input_values); the column is image"),
        ({"model_type": "videomae"}, "is a 'videomae' model, which takes video (pixel_values); the column is image"),
        ({"model_type": "t5"}, "is a 't5' model, which takes text (input_ids); the column is image"),
        ({"model_type": "siglip2"}, "is a 'siglip2' model, which reads pictures in their own sizes (NaFlex); take a SigLIP 2 checkpoint of a fixed resolution, such as google/siglip2-base-patch16-224 (model_type 'siglip')."),
        ({"model_type": "siglip2_vision_model"}, "(NaFlex)"),
        ({"model_type": "vit_mae"}, "is a 'vit_mae' model, which hides three quarters of each picture at random; take a ViT or DINOv2 checkpoint."),
        ({"model_type": "trocr"}, "is a 'trocr' model, of which transformers makes no plain encoder; an encoder of image was expected."),
        ({"model_type": "vit", "num_channels": 1}, "is a 'vit' model for pictures of 1 channels; plait gives it three."),
        ({"model_type": "blip"}, "is a 'blip' model, which takes"),
    ],
)  # fmt: skip
def test_models_that_cannot_be_made(described: dict[str, Any], words: str) -> None:
    assert words in refuse(lambda: make(described, STATE, None))


def test_pictures_too_small_for_the_model() -> None:
    described = {
        "model_type": "convnext",
        "hidden_sizes": [8, 8],
        "depths": [1, 1],
        "num_stages": 2,
    }
    small = STATE | {"size": 2}
    assert refuse(lambda: make(described, small, None)).startswith(
        "the 'convnext' model cannot read the pictures of 2 x 2 that its own preprocessor_config.json makes: "
    )


def test_weights_that_lack_some(tmp_path: Path) -> None:
    folder = save_image(tmp_path, "vit")
    change(folder, "config.json", num_hidden_layers=3)
    described = json.loads((folder / "config.json").read_text())
    told = refuse(lambda: make(described, image_state(folder), folder))
    assert told.startswith(
        f"the weights in {folder} lack 16 that the 'vit' model of its config.json needs, for instance "
    )
    assert told.endswith(". Both files should be of one checkpoint.")


def test_weights_of_another_width(tmp_path: Path) -> None:
    folder = save_image(tmp_path, "vit")
    change(folder, "config.json", intermediate_size=48)
    described = json.loads((folder / "config.json").read_text())
    told = refuse(lambda: make(described, image_state(folder), folder))
    assert told == (
        f"the weights in {folder} have other shapes than its config.json says. The two files should be of "
        "one checkpoint; fetch both again."
    )


def test_a_missing_pooler_is_no_matter(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save_image(tmp_path, "vit")
    weights = {
        name: value
        for name, value in load_file(folder / "model.safetensors").items()
        if "pooler" not in name
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    backbone = make(json.loads((folder / "config.json").read_text()), image_state(folder), folder)
    assert not any("pooler" in name for name, _ in backbone.named_parameters())


@pytest.mark.parametrize("damage", ["gone", "cut", "pickle"])
def test_weights_that_cannot_be_read(tmp_path: Path, damage: str) -> None:
    folder = save_image(tmp_path, "vit")
    described, file = json.loads((folder / "config.json").read_text()), folder / "model.safetensors"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:1000])
    else:
        file.unlink()
    if damage == "pickle":
        torch.save({}, folder / "pytorch_model.bin")
    told = refuse(lambda: make(described, image_state(folder), folder))
    assert told.startswith(f"the weights in {folder} cannot be loaded (")
    assert told.endswith("). plait reads model.safetensors only.")


def test_a_fine_tuned_checkpoint_is_its_body(tmp_path: Path) -> None:
    config = config_for("ViTConfig", IMAGES["vit"][1])
    model = model_of(config, "ViTForImageClassification")
    with silence():
        model.save_pretrained(tmp_path)
    backbone = make(json.loads((tmp_path / "config.json").read_text()), STATE, tmp_path).eval()
    values = torch.randint(0, 256, (1, 32, 32, 3)).byte()
    tokens = backbone(ColumnBatch(values, torch.ones(1, dtype=torch.bool))).values
    expected = model.vit((values.permute(0, 3, 1, 2) / 255 - 0.5) / 0.5).last_hidden_state
    torch.testing.assert_close(tokens, expected, atol=1e-5, rtol=1e-4)


TIMM = {"architecture": "resnet18", "pretrained_cfg": {"input_size": [3, 32, 32], "crop_pct": 0.9, "interpolation": "bilinear"}}  # fmt: skip


def test_a_timm_checkpoint_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    change_file(tmp_path, TIMM, "config.json")
    state = image_state(tmp_path)
    assert state["recipe"]["resize"] == ["shortest", 35, 35] and state["recipe"]["crop"] == [32, 32]
    assert state["recipe"]["resample"] == "bilinear" and state["mean"] == [0.485, 0.456, 0.406]
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    assert refuse(lambda: make(TIMM, state, None)) == (
        "the checkpoint is a timm model, and timm is not installed. "
        "Install both with: pip install timm torchvision"
    )

    def broken(name: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(configure, "import_module", broken)
    assert refuse(lambda: make(TIMM, state, None)) == (
        "the checkpoint is a timm model, and torchvision cannot be imported (operator torchvision::nms "
        "does not exist). Install both with: pip install timm torchvision"
    )


def test_timm_settings(tmp_path: Path) -> None:
    def state(**told: Any) -> State:
        change_file(tmp_path, {"pretrained_cfg": TIMM["pretrained_cfg"] | told}, "config.json")
        return image_state(tmp_path)

    assert state(crop_mode="squash")["recipe"]["resize"] == ["exact", 35, 35]
    told = refuse(lambda: state(crop_mode="border"))
    assert told == (
        "the timm checkpoint asks for input_size [3, 32, 32] and crop_mode 'border'; plait can do "
        "squares of three colours, and crop_mode center or squash."
    )
    assert refuse(lambda: state(interpolation="random")).startswith(
        "unknown interpolation 'random'."
    )
    # Between two pixels torchvision rounds to even, and pads an odd line below and to the right.
    recipe = state()["recipe"]
    small = execute(Image.fromarray(np.full((5, 9, 3), 255, np.uint8)), recipe | {"resize": None})
    assert (small[13:18, 11:20] == 255).all() and small.sum() == 5 * 9 * 3 * 255
    tall = execute(Image.fromarray(scene(35, 37)), recipe | {"resize": None})
    np.testing.assert_array_equal(tall, scene(35, 37)[2:34, 2:34])


def test_timm_itself(tmp_path: Path, settings: Settings) -> None:
    pytest.importorskip("torchvision", exc_type=(ImportError, RuntimeError))
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=0).eval()
    from timm.data import create_transform, resolve_data_config

    config = {**TIMM, "num_classes": 0, "num_features": 512}
    change_file(tmp_path, config, "config.json")
    from safetensors.torch import save_file

    save_file(model.state_dict(), tmp_path / "model.safetensors", metadata={"format": "pt"})
    state = image_state(tmp_path)
    transform = create_transform(**resolve_data_config(config["pretrained_cfg"]), is_training=False)
    theirs = torch.stack(
        [transform(Image.open(BytesIO(cell)).convert("RGB")) for cell in pictures()]
    )
    torch.testing.assert_close(prepared(pictures(), state, settings), theirs, atol=1e-3, rtol=0)
    backbone = make(config, state, tmp_path).eval()
    values = torch.from_numpy(ImageModality().prepare(pictures(), state, settings).values)
    tokens = backbone(ColumnBatch(values, torch.ones(len(values), dtype=torch.bool))).values
    expected = model.forward_features(theirs).flatten(2).transpose(1, 2)
    torch.testing.assert_close(tokens, expected, atol=1e-4, rtol=1e-4)
    held = [id(weight) for block in backbone.blocks() for weight in block.parameters()]
    assert len(held) == len(set(held)) and set(held) == {id(one) for one in backbone.parameters()}
    assert len(backbone.blocks()) == 6
