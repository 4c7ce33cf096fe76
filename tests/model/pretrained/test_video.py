"""Tiny random checkpoints, and the frames they are given beside those of their own processors."""

import json
import warnings
from io import BytesIO

import av
import numpy as np
import pytest
import torch
from clips import encode, square
from safetensors.torch import load_file, save_file

from plait.data.media import Media
from plait.data.modalities.base import Settings
from plait.data.modalities.video import VideoModality
from plait.errors import CheckpointError
from plait.model.pretrained.video import VIDEO, VideoBackbone
from plait.model.tokens import ColumnBatch

SIZE = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
KINDS = {
    "videomae": {"image_size": 16, "patch_size": 8, "num_frames": 4, "tubelet_size": 2},
    "timesformer": {"image_size": 16, "patch_size": 8, "num_frames": 4},
    "vivit": {"image_size": 16, "video_size": [4, 16, 16], "tubelet_size": [2, 8, 8], "num_frames": 4},
}  # fmt: skip
TOKENS = {"videomae": 8, "timesformer": 17, "vivit": 9}
SETTINGS = {
    "size": {"shortest_edge": 20},
    "crop_size": {"height": 16, "width": 16},
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


def processor(kind, **settings):
    """The checkpoint's own, on Pillow."""
    if kind == "vivit":
        from transformers.models.vivit.image_processing_vivit import VivitImageProcessor

        return VivitImageProcessor(**settings)
    from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil

    return VideoMAEImageProcessorPil(**settings)


def save(folder, kind, **settings):
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **SIZE, **KINDS[kind])
    model = AutoModel.from_config(config)
    for weight in model.parameters():  # biases too, so that none can be forgotten unseen
        weight.data = torch.randn_like(weight) * 0.1
    model.save_pretrained(folder)
    own = processor(kind, **(SETTINGS | settings))
    own.save_pretrained(folder)
    return model.eval(), own


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def made(kind, tmp_path):
    model, own = save(tmp_path, kind)
    return tmp_path, model, own


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


def prepared(cells, state):
    column = VideoModality().prepare(cells, state, Settings(Media(None)))
    assert column.problems == []
    return ColumnBatch(torch.from_numpy(column.values), torch.from_numpy(column.present))


def frames_of(data, count):
    """The frames in the middle of equal parts, by PyAV's own loop."""
    with av.open(BytesIO(data)) as container:
        whole = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return [whole[int((part + 0.5) * len(whole) / count)] for part in range(count)]


def noise(frames=12, size=(30, 44)):
    clip = np.random.default_rng(0).integers(0, 256, (frames, *size, 3)).astype(np.uint8)
    clip[:, :, :20] = square(frames, size=size)[:, :, :20]
    return clip


@pytest.mark.parametrize("codec", [("mkv", "ffv1"), ("mp4", "libx264")])
@pytest.mark.parametrize("size", [(30, 44), (44, 30), (24, 24)])
def test_pixels_are_those_of_the_checkpoints_own_processor(made, kind, codec, size):
    folder, _, own = made
    state = VIDEO.state(folder)
    data = encode(noise(size=size), *codec)
    given = list(frames_of(data, 4))
    want = torch.as_tensor(np.array(own(given, return_tensors="np")["pixel_values"]))
    backbone = VIDEO.make(config_of(folder), state, folder)
    got = backbone.pixels(prepared([data], state))
    assert got.shape == want.shape == (1, 4, 3, 16, 16)
    torch.testing.assert_close(got, want.float(), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    "settings",
    [
        {"resample": 3},
        {"size": {"height": 20, "width": 24}},
        {"do_center_crop": False, "size": {"height": 16, "width": 16}},
        {"do_resize": False},
        {"size": {"shortest_edge": 12}},
        {"do_normalize": False},
        {"rescale_factor": 1 / 127.5},
        {"do_rescale": False, "do_normalize": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["videomae", "vivit"], indirect=True)
def test_every_setting_is_followed(kind, settings, tmp_path):
    if kind == "vivit" and "do_rescale" in settings:
        settings = settings | {"offset": False}
    _, own = save(tmp_path, kind, **settings)
    state = VIDEO.state(tmp_path)
    data = encode(noise(size=(30, 40)), "mkv", "ffv1")
    want = torch.as_tensor(
        np.array(own(frames_of(data, 4), return_tensors="np")["pixel_values"])
    ).float()
    got = VIDEO.make(config_of(tmp_path), state, None).pixels(prepared([data], state))
    torch.testing.assert_close(got, want, atol=1e-3, rtol=1e-5)


def test_tokens_are_those_of_the_model(made, kind, capfd):
    folder, model, own = made
    state = VIDEO.state(folder)
    data = encode(noise(), "mkv", "ffv1")
    capfd.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backbone = VIDEO.make(config_of(folder), state, folder)
    assert capfd.readouterr() == ("", "")
    column = prepared([data, None], state)
    values, mask = backbone(column)
    assert backbone.hidden == 16 and not backbone.training
    assert values.shape == (2, TOKENS[kind], 16) and values.dtype == torch.float32
    assert mask[0].all() and not mask[1].any()
    given = torch.as_tensor(np.array(own(frames_of(data, 4), return_tensors="np")["pixel_values"]))
    with torch.no_grad():
        want = model(pixel_values=given.float()).last_hidden_state
    torch.testing.assert_close(values[:1], want, atol=1e-4, rtol=1e-4)


def test_blocks_hold_every_weight_that_is_used(made):
    folder, _, _ = made
    backbone = VIDEO.make(config_of(folder), VIDEO.state(folder), folder)
    blocks = backbone.blocks()
    assert len(blocks) == 4  # the embeddings and three layers
    held = {id(weight) for block in blocks for weight in block.parameters()}
    assert held == {id(weight) for weight in backbone.parameters()}
    column = prepared([encode(noise(), "mkv", "ffv1")], VIDEO.state(folder))
    backbone(column).values.square().sum().backward()
    for name, weight in backbone.named_parameters():
        assert weight.grad is not None, name


def test_fresh_weights_can_be_filled(made):
    folder, _, _ = made
    state = VIDEO.state(folder)
    loaded = VIDEO.make(config_of(folder), state, folder)
    fresh = VIDEO.make(config_of(folder), state, None)
    column = prepared([encode(noise(), "mkv", "ffv1")], state)
    assert not torch.allclose(fresh(column).values, loaded(column).values)
    fresh.load_state_dict(loaded.state_dict())
    assert torch.equal(fresh(column).values, loaded(column).values)


def test_pretraining_heads_are_left_out_in_silence(tmp_path, capfd):
    from transformers import VideoMAEConfig, VideoMAEForPreTraining

    save(tmp_path, "videomae")
    whole = VideoMAEForPreTraining(VideoMAEConfig(**SIZE, **KINDS["videomae"]))
    whole.save_pretrained(tmp_path)
    capfd.readouterr()
    backbone = VIDEO.make(config_of(tmp_path), VIDEO.state(tmp_path), tmp_path)
    assert capfd.readouterr() == ("", "")
    assert isinstance(backbone, VideoBackbone)
    weight = whole.videomae.embeddings.patch_embeddings.projection.weight
    assert torch.equal(backbone.model.embeddings.patch_embeddings.projection.weight, weight)


def test_transformers_is_as_talkative_as_before(tmp_path):
    from transformers.utils import logging

    save(tmp_path, "videomae")
    before = logging.get_verbosity()
    try:
        for bars in (True, False):
            logging.enable_progress_bar() if bars else logging.disable_progress_bar()
            logging.set_verbosity_info()
            VIDEO.make(config_of(tmp_path), VIDEO.state(tmp_path), None)
            assert logging.get_verbosity() == logging.INFO
            assert logging.is_progress_bar_enabled() == bars
    finally:
        logging.set_verbosity(before)
        logging.enable_progress_bar()


# What cannot be read.


def write(folder, name, content):
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, "config.json", {"model_type": "videomae", "image_size": 16, "num_frames": 4})
    write(tmp_path, "preprocessor_config.json", SETTINGS)
    return tmp_path


def refused(folder):
    with pytest.raises(CheckpointError) as caught:
        VIDEO.state(folder)
    return str(caught.value)


def test_older_and_newer_settings_are_read(folder):
    want = VIDEO.state(folder)
    assert want == {
        "fit": "crop", "frames": 4, "size": 16, "channels": 3, "resize": 20, "resample": 2,
        "scale": 1 / 255, "mean": SETTINGS["image_mean"], "std": SETTINGS["image_std"],
    }  # fmt: skip
    write(folder, "preprocessor_config.json", SETTINGS | {"size": 20, "crop_size": 16})
    assert VIDEO.state(folder) == want
    write(
        folder,
        "video_preprocessor_config.json",
        SETTINGS | {"resample": "Bicubic", "image_mean": 0.5},
    )
    assert VIDEO.state(folder) == want | {"resample": 3, "mean": [0.5] * 3}
    write(
        folder,
        "video_preprocessor_config.json",
        SETTINGS | {"video_processor_type": "VivitVideoProcessor"},
    )
    assert VIDEO.state(folder)["mean"] == [value + 1 for value in SETTINGS["image_mean"]]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"size": {"longest_edge": 20}}, "resizes to {'longest_edge': 20}; plait can resize by shortest_edge, or to height and width."),
        ({"crop_size": {"height": 16, "width": 12}}, "leaves frames of [16, 12], expected one square for all clips."),
        ({"crop_size": None}, "leaves frames of None, expected one square for all clips."),
        ({"do_center_crop": False}, "leaves frames of 20, expected one square for all clips."),
        ({"crop_size": 12}, "makes frames of 12 x 12 pixels, and the model takes 16 (image_size)."),
        ({"image_mean": [0.5]}, "has image_mean [0.5], expected a number for each of 3 colours."),
        ({"image_std": None}, "has image_std None, expected a number for each of 3 colours."),
        ({"resample": 9}, "resizes by the filter 9, expected one of nearest, lanczos, bilinear, bicubic, box, hamming (0 to 5)."),
        ({"resample": "sinc"}, "resizes by the filter 'sinc', expected one of nearest, lanczos, bilinear, bicubic, box, hamming (0 to 5)."),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_named(folder, settings, reason):
    write(folder, "preprocessor_config.json", SETTINGS | settings)
    assert refused(folder) == f"preprocessor_config.json in '{folder}' {reason}"


def test_what_is_no_checkpoint_is_told(folder):
    (folder / "preprocessor_config.json").unlink()
    assert refused(folder) == (
        f"'{folder}' does not say how its frames are prepared: it has neither "
        "video_preprocessor_config.json nor preprocessor_config.json."
    )
    write(folder, "config.json", "{")
    assert refused(folder) == f"config.json in '{folder}' is not valid JSON."
    write(folder, "config.json", "[]")
    assert refused(folder) == f"config.json in '{folder}' holds a list, not settings."
    (folder / "config.json").unlink()
    assert refused(folder) == (
        f"'{folder}' is not a checkpoint: its config.json cannot be read (No such file or directory)."
    )


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"model_type": "bert"}, "this checkpoint is a 'bert', which plait does not read as a video model; it reads videomae, timesformer, vivit."),
        ({"model_type": "vivit", "auto_map": {"AutoModel": "x.Y"}}, "this vivit checkpoint names code of its own (auto_map), which plait never runs."),
    ],
)  # fmt: skip
def test_other_models_are_refused(config, reason, folder):
    with pytest.raises(CheckpointError) as caught:
        VIDEO.make(config, VIDEO.state(folder), folder)
    assert str(caught.value) == reason


def test_weights_that_are_not_all_there(tmp_path):
    save(tmp_path, "videomae")
    config, state, path = config_of(tmp_path), VIDEO.state(tmp_path), tmp_path / "model.safetensors"

    def told():
        with pytest.raises(CheckpointError) as caught:
            VIDEO.make(config, state, tmp_path)
        return str(caught.value)

    weights = load_file(path)
    name = next(name for name in sorted(weights) if name.startswith("encoder.layer.1"))
    save_file({key: value for key, value in weights.items() if key != name}, path, {"format": "pt"})
    assert told() == f"the weights in '{tmp_path}' lack 1 of the model's tensors, such as '{name}'."
    path.write_bytes(b"\0" * 40)
    assert told().startswith(f"the weights in '{tmp_path}' cannot be loaded: ")
    path.unlink()
    torch.save(weights, tmp_path / "pytorch_model.bin")
    assert told().startswith(f"the weights in '{tmp_path}' cannot be loaded: ")
