"""Sound checkpoints, tiny and random, against their own extractors and models."""

import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
import torch
from torch import Tensor, nn

from plait.data.media import Media
from plait.data.modalities.audio import AudioModality
from plait.data.modalities.audio_recipe import Mel, features, from_mels, to_mels
from plait.data.modalities.base import Prepared, Settings, State
from plait.data.store import PreparedColumn
from plait.errors import CheckpointError
from plait.model.pretrained.audio import AUDIO, KINDS
from plait.model.pretrained.audio_models import AudioBackbone
from plait.model.pretrained.audio_settings import audio_state
from plait.model.pretrained.configure import silence
from plait.model.tokens import ColumnBatch

transformers = pytest.importorskip("transformers")

RATES = (16_000, 11_025, 44_100)
SECONDS = {
    "short": 0.3,
    "less than a window": 300 / 16_000,
    "middle": 1.37,
    "nearly all": 1.999,
    "whole": 2.0,
    "long": 2.7,
}


@dataclass
class Checkpoint:
    """One on disk, with the model and the extractor that were saved."""

    folder: Path
    model: nn.Module
    extractor: Any

    @property
    def config(self) -> dict[str, Any]:
        return json.loads((self.folder / "config.json").read_text())

    def load(self) -> tuple[State, AudioBackbone]:
        state = AUDIO.state(self.folder)
        backbone = AUDIO.make(self.config, state, self.folder)
        assert isinstance(backbone, AudioBackbone)
        return state, backbone


def whisper(causal: bool = False) -> tuple[nn.Module, Any]:
    config = transformers.WhisperConfig(
        vocab_size=20, num_mel_bins=20, d_model=16, encoder_layers=2, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
        max_source_positions=100, max_target_positions=10, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, decoder_start_token_id=1, begin_suppress_tokens=None, suppress_tokens=None,
    )  # fmt: skip
    kind = transformers.WhisperForConditionalGeneration if causal else transformers.WhisperModel
    return kind(config), transformers.WhisperFeatureExtractor(feature_size=20, chunk_length=2)


def wave(kind: str, norm: str, **options: Any) -> tuple[nn.Module, Any]:
    stable = options.pop("stable", norm == "layer")
    normalise = options.pop("do_normalize", True)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=20, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        conv_dim=(8, 8, 8), conv_stride=(5, 8, 8), conv_kernel=(10, 8, 8), num_feat_extract_layers=3,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, feat_extract_norm=norm,
        do_stable_layer_norm=stable, layerdrop=0.5, num_buckets=16, max_bucket_distance=20, **options,
    )  # fmt: skip
    extractor = transformers.Wav2Vec2FeatureExtractor(
        return_attention_mask=norm == "layer", do_normalize=normalise
    )
    return getattr(transformers, f"{kind}Model")(config), extractor


def ast(**options: Any) -> tuple[nn.Module, Any]:
    config = transformers.ASTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, patch_size=8,
        time_stride=5, frequency_stride=4, max_length=198, num_mel_bins=24, num_labels=3,
    )  # fmt: skip
    extractor = transformers.ASTFeatureExtractor(num_mel_bins=24, max_length=198, **options)
    return transformers.ASTForAudioClassification(config), extractor


def clap(truncation: str, padding: str, tower: bool = False) -> tuple[nn.Module, Any]:
    config = transformers.ClapConfig(
        audio_config={
            "spec_size": 64, "num_mel_bins": 16, "patch_embeds_hidden_size": 8, "hidden_size": 16,
            "depths": [2, 2], "num_attention_heads": [2, 2], "window_size": 4, "num_hidden_layers": 2,
            "enable_fusion": truncation == "fusion", "fusion_type": None,
        },
        text_config={
            "vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 16, "max_position_embeddings": 16,
        },
        projection_dim=8,
    )  # fmt: skip
    model = transformers.ClapModel(config)
    for name, buffer in model.named_buffers():  # so that the batch norm does something
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(1, 2)
    extractor = transformers.ClapFeatureExtractor(
        feature_size=16, sampling_rate=16_000, hop_length=160, fft_window_size=512, max_length_s=2,
        frequency_min=50, frequency_max=7_000, truncation=truncation, padding=padding,
    )  # fmt: skip
    return (model.audio_model if tower else model), extractor


BUILDERS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "whisper": whisper,
    "whisper, with a head": lambda: whisper(causal=True),
    "wav2vec2, group": lambda: wave("Wav2Vec2", "group"),
    "wav2vec2, layer": lambda: wave("Wav2Vec2", "layer"),
    "wav2vec2, adapter": lambda: wave("Wav2Vec2", "layer", add_adapter=True, num_adapter_layers=1),
    "hubert, group": lambda: wave("Hubert", "group", do_normalize=False),
    "hubert, layer": lambda: wave("Hubert", "layer"),
    "hubert, batch norm": lambda: wave("Hubert", "layer", conv_pos_batch_norm=True),
    "wavlm, group": lambda: wave("WavLM", "group"),
    "wavlm, layer": lambda: wave("WavLM", "layer"),
    "wavlm, layer, not stable": lambda: wave("WavLM", "layer", stable=False),
    "ast": ast,
    "ast, as it is": lambda: ast(do_normalize=False),
    "clap, fusion": lambda: clap("fusion", "repeatpad"),
    "clap, cut": lambda: clap("rand_trunc", "repeat"),
    "clap, tower": lambda: clap("rand_trunc", "pad", tower=True),
}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Checkpoint]:
    """Checkpoints by name, each built once."""
    made: dict[str, Checkpoint] = {}

    def get(name: str) -> Checkpoint:
        if name not in made:
            torch.manual_seed(0)
            model, extractor = BUILDERS[name]()
            for weight in model.parameters():  # norms and biases too, so that none does nothing
                weight.data += 0.1 * torch.randn_like(weight)
            folder = tmp_path_factory.mktemp("checkpoint")
            with silence():
                model.eval().save_pretrained(folder)
                extractor.save_pretrained(folder)
            made[name] = Checkpoint(folder, model, extractor)
        return made[name]

    return get


@pytest.fixture(params=BUILDERS)
def checkpoint(request: pytest.FixtureRequest, shelf: Callable[[str], Checkpoint]) -> Checkpoint:
    return shelf(request.param)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(Media(tmp_path), "fast", 2)


def sound(seconds: float, rate: int = 16_000, seed: int = 0) -> bytes:
    """A WAV of some tones that come and go, a little noise, and an offset."""
    random = np.random.default_rng(seed)
    moments = np.arange(round(seconds * rate)) / rate
    tones = np.sin(2 * np.pi * 440 * moments) * np.sin(7 * moments) + np.sin(
        2 * np.pi * 1700 * moments
    )
    samples = 0.2 * tones + 0.02 * random.normal(size=len(moments)) + 0.01
    return encoded(samples, rate)


def encoded(samples: np.ndarray, rate: int = 16_000) -> bytes:
    stream = BytesIO()
    soundfile.write(stream, samples, rate, format="WAV")
    return stream.getvalue()


def decoded(data: bytes) -> np.ndarray:
    """Independently of plait, at the extractors' rate; what a model takes at most."""
    samples, rate = soundfile.read(BytesIO(data), dtype="float32")
    return samples if rate == 16_000 else soxr.resample(samples, rate, 16_000)


def prepared(cells: list[Any], state: State, settings: Settings) -> Prepared:
    found = AudioModality().prepare(cells, state, settings)
    assert found.problems == []
    return found


def batched(found: Prepared, more: int = 0) -> ColumnBatch:
    """All rows as the loader gives them, with some more padding."""
    values, mask = PreparedColumn.from_prepared(found).batch(np.arange(len(found.present)))
    values = np.pad(values, ((0, 0), (0, more), (0, 0)), constant_values=7.0)
    return ColumnBatch(
        torch.from_numpy(values), torch.from_numpy(np.pad(mask, ((0, 0), (0, more))))
    )


def reference(checkpoint: Checkpoint, samples: np.ndarray) -> tuple[Tensor, Tensor]:
    """What the checkpoint's extractor gives, and the tokens its model makes of it, in time's order."""
    name = checkpoint.config["model_type"]
    if name.startswith("clap"):  # the beginning, where the extractor would choose at random
        samples = samples[:32_000]
    inputs = checkpoint.extractor(samples, sampling_rate=16_000, return_tensors="pt")
    model = checkpoint.model
    with torch.no_grad():
        if name == "whisper":
            entering = inputs["input_features"]
            return entering, model.get_encoder()(entering).last_hidden_state[0]
        if name.startswith("clap"):
            tower = getattr(model, "audio_model", model)
            entering = inputs["input_features"].float()
            found = tower(input_features=entering, is_longer=torch.zeros(1, 1, dtype=torch.bool))
            return entering[:, :1], found.last_hidden_state[0].flatten(1).T.reshape(
                *found.last_hidden_state.shape[2:], -1
            ).transpose(0, 1).flatten(0, 1)
        entering = inputs["input_values"].float()
        if name == "audio-spectrogram-transformer":
            whole = model.audio_spectrogram_transformer(entering).last_hidden_state[0]
            patches = whole[2:].reshape(5, 39, -1).transpose(0, 1).flatten(0, 1)
            return entering, torch.cat([whole[:2], patches])
        return entering, model(entering).last_hidden_state[0]


def entered(backbone: AudioBackbone) -> list[Tensor]:
    """A list that what enters the transformers model is added to."""
    seen: list[Tensor] = []
    backbone.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    return seen


def close(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max().item() < 1e-3


@pytest.mark.parametrize("rate", RATES)
def test_inputs_and_tokens_are_the_checkpoints_own(
    checkpoint: Checkpoint, settings: Settings, rate: int
) -> None:
    state, backbone = checkpoint.load()
    seen = entered(backbone)
    for name, seconds in SECONDS.items():
        if rate != 16_000 and name not in ("middle", "long"):
            continue
        if state["features"] == "wave" and name == "less than a window":
            continue  # the checkpoint's own model has no answer; see the test of short clips
        data = sound(seconds, rate)
        inputs, tokens = reference(checkpoint, decoded(data))
        seen.clear()
        with torch.no_grad():
            found = backbone(batched(prepared([data], state, settings)))
        close(seen[0], inputs)
        assert found.mask.all()
        assert 0 < found.mask.shape[1] <= len(tokens)
        close(found.values[0], tokens[: found.values.shape[1]])


def test_silence_is_the_checkpoints_own(checkpoint: Checkpoint, settings: Settings) -> None:
    state, backbone = checkpoint.load()
    seen = entered(backbone)
    data = encoded(np.zeros(8_000))
    inputs, tokens = reference(checkpoint, decoded(data))
    with torch.no_grad():
        found = backbone(batched(prepared([data], state, settings)))
    close(seen[0], inputs)
    close(found.values[0], tokens[: found.values.shape[1]])


def usual(name: str) -> Any:
    """An extractor with nothing said; AST's has bands too narrow for its bins, and says so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "At least one mel filter has all zero values")
        return getattr(transformers, name)()


@pytest.mark.parametrize(
    ("name", "model_type"),
    [
        ("WhisperFeatureExtractor", "whisper"),
        ("ASTFeatureExtractor", ""),
        ("ClapFeatureExtractor", ""),
    ],
)
def test_usual_settings_give_what_the_extractor_gives(
    name: str, model_type: str, tmp_path: Path, settings: Settings
) -> None:
    extractor = usual(name)
    extractor.save_pretrained(tmp_path)
    state = audio_state(tmp_path)
    data = sound(3.21, state["rate"])
    samples = soundfile.read(BytesIO(data), dtype="float32")[0]
    found = extractor(samples, sampling_rate=state["rate"], return_tensors="np")
    whole = np.asarray(next(iter(found.values()))).squeeze()
    whole = whole[0] if whole.ndim == 3 else whole
    whole = whole.T if model_type == "whisper" else whole
    ours = prepared([data], state, settings).values
    assert ours.dtype == np.float32
    assert np.abs(ours - whole[: len(ours)]).max() < 1e-3
    rest = whole[len(ours) :]
    mel = Mel(**state["recipe"])
    silence = max(mel.silence, ours.max() - mel.span / mel.divide) if mel.span else mel.silence
    assert np.abs(rest - silence).max(initial=0) < 1e-3
    assert len(whole) == mel.frames


def test_states(shelf: Callable[[str], Checkpoint]) -> None:
    states = {name: audio_state(shelf(name).folder) for name in BUILDERS}
    for state in states.values():
        assert json.loads(json.dumps(state)) == state
    assert states["whisper"]["max_seconds"] == 2
    assert states["wavlm, group"] == {
        "rate": 16_000, "mels": 1, "max_seconds": 30, "features": "wave", "recipe": {"standardise": True},
    }  # fmt: skip
    assert states["ast"]["max_seconds"] == 31_920 / 16_000
    assert states["clap, fusion"]["recipe"]["scale"] == "htk"
    assert states["clap, cut"]["recipe"]["scale"] == "slaney"
    describe = AudioModality().describe
    assert describe(states["wavlm, group"]) == "the waveform at 16000 Hz, the first 30 s of a clip"
    assert describe(states["ast"]) == "log-mel, 24 bands at 16000 Hz, the first 1.995 s of a clip"


def test_settings_in_the_processors_file_read_the_same(
    shelf: Callable[[str], Checkpoint], tmp_path: Path
) -> None:
    source = shelf("ast").folder
    section = json.loads((source / "preprocessor_config.json").read_text())
    kind = section.pop("feature_extractor_type")
    (tmp_path / "processor_config.json").write_text(json.dumps({"feature_extractor": section}))
    (tmp_path / "config.json").write_text((source / "config.json").read_text())
    assert kind == "ASTFeatureExtractor"
    assert audio_state(tmp_path) == audio_state(source)


def test_usual_lengths(tmp_path: Path) -> None:
    for name, seconds, rate in (
        ("Whisper", 30, 16_000), ("Wav2Vec2", 30, 16_000), ("AST", 10.255, 16_000), ("Clap", 10, 48_000),
    ):  # fmt: skip
        usual(f"{name}FeatureExtractor").save_pretrained(tmp_path)
        state = audio_state(tmp_path)
        assert (state["max_seconds"], state["rate"]) == (seconds, rate)


# The contract of a backbone.


def four(state: State, settings: Settings) -> Prepared:
    cells = [sound(0.7, seed=1), None, sound(1.61, seed=2), sound(0.7, seed=3)]
    return prepared(cells, state, settings)


def test_more_padding_and_company_change_nothing(
    checkpoint: Checkpoint, settings: Settings
) -> None:
    state, backbone = checkpoint.load()
    found = four(state, settings)
    with torch.no_grad():
        tokens = backbone(batched(found))
        padded = backbone(batched(found, more=400))
        for row, cell in ((0, sound(0.7, seed=1)), (2, sound(1.61, seed=2))):
            alone = backbone(batched(prepared([cell], state, settings)))
            count = int(tokens.mask[row].sum())
            assert count == int(alone.mask.sum())
            close(tokens.values[row, :count], alone.values[0, :count])
    assert torch.equal(tokens.mask, padded.mask)
    torch.testing.assert_close(tokens.values, padded.values, rtol=0, atol=1e-5)
    assert tokens.values.shape[2] == backbone.hidden
    assert tokens.mask.any(dim=1).tolist() == [True, False, True, True]
    longer = state["recipe"].get("extend") != "repeat"  # which fills the model whatever the clip
    assert (int(tokens.mask[0].sum()) < int(tokens.mask[2].sum())) == longer
    assert torch.isfinite(tokens.values).all()
    assert not tokens.values[~tokens.mask].any()


def test_a_batch_without_cells(checkpoint: Checkpoint, settings: Settings) -> None:
    state, backbone = checkpoint.load()
    tokens = backbone(batched(prepared([None, None], state, settings)))
    assert tokens.values.shape == (2, 1, backbone.hidden)
    assert not tokens.mask.any()
    assert not tokens.values.any()


def test_blocks_hold_every_weight_once_and_each_learns(
    checkpoint: Checkpoint, settings: Settings
) -> None:
    state, backbone = checkpoint.load()
    blocks = backbone.blocks()
    held = [id(weight) for block in blocks for weight in block.parameters()]
    assert len(held) == len(set(held))
    assert set(held) == {id(weight) for weight in backbone.parameters()}
    assert len(blocks) >= 3
    torch.manual_seed(0)
    backbone.train()
    tokens = backbone(batched(four(state, settings)))
    (tokens.values * torch.randn_like(tokens.values)).sum().backward()
    fixed = []
    for name, weight in backbone.named_parameters():
        if not weight.requires_grad:
            fixed.append(name)
            continue
        assert weight.grad is not None, name
        assert torch.isfinite(weight.grad).all(), name
        # what a softmax cannot see, a bias of its keys, gets a gradient of rounding errors only
        assert weight.grad.any(), name
    assert fixed in ([], ["model.embed_positions.weight"])


def test_training_leaves_batch_norms_alone(
    shelf: Callable[[str], Checkpoint], settings: Settings
) -> None:
    for name in ("clap, fusion", "hubert, batch norm"):
        state, backbone = shelf(name).load()
        before = {key: value.clone() for key, value in backbone.named_buffers()}
        backbone.train()(batched(four(state, settings)))
        assert backbone.model.training
        for key, value in backbone.named_buffers():
            assert torch.equal(value, before[key]), key


def test_fresh_weights_are_filled_from_a_state_dict(
    checkpoint: Checkpoint, settings: Settings
) -> None:
    state, backbone = checkpoint.load()
    fresh = AUDIO.make(checkpoint.config, json.loads(json.dumps(state)), None)
    assert not fresh.training
    assert {weight.dtype for weight in fresh.parameters()} == {torch.float32}
    fresh.load_state_dict(backbone.state_dict())
    batch = batched(four(state, settings))
    with torch.no_grad():
        assert torch.equal(fresh(batch).values, backbone(batch).values)


def test_own_tokens_are_counted(shelf: Callable[[str], Checkpoint], settings: Settings) -> None:
    """16000 samples are 100 hops of 160 samples, and 98 whole windows of 400."""
    for name, count in {
        "whisper": 50,  # two frames a token
        "ast": 2 + 5 * 20,  # bands x patches that begin, every 5 frames, within 98 frames
        "clap, tower": 2 * 16,  # 32 moments in 201 frames, 15.9 in 100 of them; two groups of bands
        "clap, fusion": 2 * 32,  # repeated to two seconds
        "wav2vec2, layer": 49,  # 3199 steps of 5, 399 of 40, 49 of 320
    }.items():
        state, backbone = shelf(name).load()
        with torch.no_grad():
            tokens = backbone(batched(prepared([sound(1.0)], state, settings)))
        assert (name, int(tokens.mask.sum())) == (name, count)


@pytest.mark.parametrize("name", ["wav2vec2, group", "wavlm, layer"])
def test_a_wave_shorter_than_the_first_layers_hear_is_followed_by_zeros(
    name: str, shelf: Callable[[str], Checkpoint], settings: Settings
) -> None:
    checkpoint = shelf(name)
    state, backbone = checkpoint.load()
    found = prepared([sound(0.01)], state, settings)
    with torch.no_grad():
        tokens = backbone(batched(found))
        zeros = np.zeros((backbone.shortest - 160, 1), np.float32)
        long = torch.from_numpy(np.concatenate([found.values, zeros])).T
        expected = checkpoint.model(long).last_hidden_state
    close(tokens.values, expected)
    assert tokens.mask.tolist() == [[True]]


@pytest.mark.parametrize("name", ["wavlm, group", "hubert, layer", "wav2vec2, adapter"])
def test_a_batch_mixes_lengths_in_their_order(
    name: str, shelf: Callable[[str], Checkpoint], settings: Settings
) -> None:
    state, backbone = shelf(name).load()
    cells = [sound(seconds, seed=row) for row, seconds in enumerate((0.9, 0.2, 0.5, 0.2, 0.9))]
    with torch.no_grad():
        tokens = backbone(batched(prepared(cells, state, settings)))
        for row, cell in enumerate(cells):
            alone = backbone(batched(prepared([cell], state, settings)))
            close(tokens.values[row][tokens.mask[row]], alone.values[0])


# Features.


def test_features_are_the_same_alone_and_among_others(
    shelf: Callable[[str], Checkpoint], settings: Settings
) -> None:
    cells = [sound(seconds, seed=row) for row, seconds in enumerate((0.4, 2.5, 0.011, 1.2))]
    for name in ("whisper", "ast", "clap, fusion", "wav2vec2, group"):
        state = audio_state(shelf(name).folder)
        together = prepared(cells, state, settings)
        alone = [prepared([cell], state, settings) for cell in cells]
        assert np.array_equal(together.values, np.concatenate([part.values for part in alone]))
        assert together.lengths is not None
        assert together.lengths.tolist() == [len(part.values) for part in alone]
        clips = [decoded(cell)[:8000] for cell in cells]
        assert np.array_equal(features(clips, state, threads=1), features(clips, state, threads=3))


def test_a_sound_of_no_samples_at_the_models_rate_is_unreadable(
    shelf: Callable[[str], Checkpoint], settings: Settings
) -> None:
    state = audio_state(shelf("whisper").folder)
    found = AudioModality().prepare([encoded(np.ones(1) / 2, 96_000)], state, settings)
    assert [problem.reason for problem in found.problems] == [
        "is shorter than one sample at 16000 Hz"
    ]
    assert found.present.tolist() == [False]
    assert found.values.shape == (0, 20)


@pytest.mark.parametrize("scale", ["htk", "kaldi", "slaney"])
def test_mel_scales(scale: str) -> None:
    hertz = np.array([0.0, 20.0, 700.0, 1000.0, 1500.0, 8000.0])
    assert np.allclose(from_mels(to_mels(hertz, scale), scale), hertz)
    known = {"htk": 999.9855, "kaldi": 999.9907, "slaney": 15.0}[scale]
    assert to_mels(np.array([1000.0]), scale)[0] == pytest.approx(known, abs=2e-2)


def test_states_of_before_give_the_arrays_of_before(settings: Settings) -> None:
    """Every 25th frame's every fourth band, as the code gave them before recipes came in."""
    state = {"rate": 8000, "mels": 12, "window_ms": 25, "hop_ms": 10, "fmin": 60.0, "fmax": 4000.0,
             "max_seconds": 1}  # fmt: skip
    found = prepared([sound(0.5, 8000), None, sound(1.3, 11_025, seed=1)], state, settings)
    assert AudioModality.version == 1
    assert found.values.dtype == np.float16
    assert found.lengths is not None
    assert found.lengths.tolist() == [51, 0, 101]
    assert np.abs(found.values[::25, ::4].astype(np.float32) - np.array(BEFORE)).max() < 5e-3
    assert (
        AudioModality().describe(state) == "log-mel, 12 bands at 8000 Hz, the first 1 s of a clip"
    )


BEFORE = [
    [-1.056640625, -0.779296875, 3.76953125],
    [-1.03515625, -0.99365234375, 4.328125],
    [-1.6748046875, 0.130859375, 3.705078125],
    [-2.265625, -1.439453125, 4.30859375],
    [-1.7646484375, -0.67431640625, 4.28125],
    [-2.515625, -1.267578125, 4.3046875],
    [-2.1953125, -1.4189453125, 4.28515625],
]


# What is refused.


def settings_of(folder: Path, **changes: Any) -> Path:
    kind = changes.pop("kind", "WhisperFeatureExtractor")
    text = json.dumps({"feature_extractor_type": kind} | changes)
    (folder / "preprocessor_config.json").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampling_rate": 10}, "sampling_rate = 10; expected a number from 1000 to 1e+06."),
        (
            {"sampling_rate": "16000"},
            "sampling_rate = '16000'; expected a number from 1000 to 1e+06.",
        ),
        ({"n_fft": True}, "n_fft = True; expected a number from 2 to 16000."),
        ({"hop_length": 160.5}, "hop_length = 160.5; expected a whole number."),
        ({"chunk_length": 60}, "chunk_length = 60; expected a number from 1 to 30."),
        ({"dither": 1e-4}, "dither = 0.0001; expected 0.0, the only one that plait does."),
        ({"padding_side": "left"}, "padding_side = 'left'; expected 'right', the only one"),
        (
            {"kind": "Wav2Vec2FeatureExtractor", "do_normalize": "yes"},
            "do_normalize = 'yes'; expected true",
        ),
        (
            {"kind": "ASTFeatureExtractor", "std": 0},
            "std = 0; expected a number from 1e-06 to 1e+06.",
        ),
        (
            {"kind": "ClapFeatureExtractor", "truncation": "end"},
            "truncation = 'end'; expected 'fusion' or",
        ),
        (
            {"kind": "ClapFeatureExtractor", "padding": "mirror"},
            "padding = 'mirror'; expected 'repeatpad'",
        ),
        (
            {"kind": ["x"]},
            "prepares its input with ['x']; expected one of WhisperFeatureExtractor, ",
        ),
        (
            {"kind": "EncodecFeatureExtractor"},
            "prepares its input with EncodecFeatureExtractor; expected one",
        ),
    ],
)
def test_settings_that_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as raised:
        audio_state(settings_of(tmp_path, **changes))
    assert message in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_settings_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match="says nowhere how it prepares sounds; expected preproc"
    ):
        audio_state(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    path.write_text("{")
    with pytest.raises(
        CheckpointError, match="cannot be read as JSON .* Fetch the checkpoint again"
    ):
        audio_state(tmp_path)
    path.write_text("[]")
    with pytest.raises(CheckpointError, match="holds a list, expected a JSON object"):
        audio_state(tmp_path)
    path.write_text('{"image_processor_type": "ViTImageProcessor"}')
    with pytest.raises(
        CheckpointError, match="prepares its input with ViTImageProcessor; expected one of"
    ):
        audio_state(tmp_path)
    path.write_text("{}")
    with pytest.raises(
        CheckpointError, match="prepares its input with nothing named; expected one of"
    ):
        audio_state(tmp_path)


def test_a_model_of_another_modality(shelf: Callable[[str], Checkpoint], tmp_path: Path) -> None:
    state = audio_state(shelf("whisper").folder)
    with pytest.raises(CheckpointError) as raised:
        AUDIO.make({"model_type": "bert"}, state, tmp_path)
    assert str(raised.value) == (
        f"the checkpoint at {tmp_path} is of model type 'bert'; expected a model of sound, one of "
        f"{', '.join(KINDS)}. Choose an audio checkpoint, or a column of another modality."
    )


def test_code_of_its_own(shelf: Callable[[str], Checkpoint]) -> None:
    checkpoint = shelf("whisper")
    config = checkpoint.config | {"auto_map": {"AutoModel": "evil.Model"}}
    with pytest.raises(
        CheckpointError, match="brings code of its own, named by auto_map in its config.json"
    ):
        AUDIO.make(config, audio_state(checkpoint.folder), checkpoint.folder)


def test_a_config_that_makes_no_sense(shelf: Callable[[str], Checkpoint]) -> None:
    checkpoint = shelf("whisper")
    state = audio_state(checkpoint.folder)
    with pytest.raises(
        CheckpointError,
        match=r"the checkpoint's config\.json does not describe a '\w+' model: .*d_model",
    ):
        AUDIO.make(checkpoint.config | {"d_model": "wide"}, state, None)
    with pytest.raises(
        CheckpointError, match="the checkpoint cannot be loaded: .* Expected a WhisperEnc"
    ):
        AUDIO.make(checkpoint.config | {"d_model": 15}, state, None)


@pytest.mark.parametrize(
    ("model", "prepares", "message"),
    [
        (
            "whisper",
            "ast",
            "prepare 24 bands and 198 frames, but its model takes 20 bands and 200 frames",
        ),
        ("whisper", "wavlm, group", "prepare the waveform, but its model takes log-mel frames"),
        ("wavlm, group", "ast", "prepare log-mel frames, but its model takes the waveform"),
        (
            "clap, cut",
            "whisper",
            "prepare 20 bands and 200 frames, but its model takes 16 bands and 256",
        ),
    ],
)
def test_settings_of_another_checkpoint(
    model: str, prepares: str, message: str, shelf: Callable[[str], Checkpoint]
) -> None:
    with pytest.raises(CheckpointError, match=message):
        AUDIO.make(shelf(model).config, audio_state(shelf(prepares).folder), shelf(model).folder)


@pytest.fixture
def copied(shelf: Callable[[str], Checkpoint], tmp_path: Path) -> Iterator[Checkpoint]:
    """A checkpoint whose files may be harmed."""
    import shutil

    source = shelf("hubert, group")
    folder = tmp_path / "copy"
    shutil.copytree(source.folder, folder)
    yield Checkpoint(folder, source.model, source.extractor)


def test_weights_that_are_not_all_there(copied: Checkpoint) -> None:
    from safetensors.torch import load_file, save_file

    path = copied.folder / "model.safetensors"
    weights = load_file(path)
    name = "encoder.layers.1.attention.k_proj.weight"
    save_file({key: value for key, value in weights.items() if key != name}, path, {"format": "pt"})
    with pytest.raises(CheckpointError) as raised:
        copied.load()
    assert (
        f"lacks 1 weights of a HubertModel or has them in other shapes, for instance {name}."
        in str(raised.value)
    )


def test_weights_in_another_shape(copied: Checkpoint) -> None:
    config = copied.config | {"intermediate_size": 64}
    with pytest.raises(
        CheckpointError, match="lacks 6 weights of a HubertModel .*intermediate_dense"
    ):
        AUDIO.make(config, audio_state(copied.folder), copied.folder)


def test_weights_that_are_no_safetensors(copied: Checkpoint) -> None:
    path = copied.folder / "model.safetensors"
    path.write_bytes(b"not at all")
    with pytest.raises(
        CheckpointError, match="cannot be loaded: .* Expected a HubertModel in safetensors"
    ):
        copied.load()
    path.rename(copied.folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="cannot be loaded: .*safetensors"):
        copied.load()


def test_transformers_is_as_loud_as_before(
    shelf: Callable[[str], Checkpoint], capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers.utils import logging

    checkpoint = shelf("whisper, with a head")
    logging.set_verbosity_info()
    logging.enable_progress_bar()
    try:
        checkpoint.load()
        assert logging.get_verbosity() == logging.INFO
        assert logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        checkpoint.load()
        assert not logging.is_progress_bar_enabled()
    finally:
        logging.set_verbosity_warning()
        logging.enable_progress_bar()
    told = capfd.readouterr()
    assert told.out + told.err == ""


def test_transformers_absent(
    shelf: Callable[[str], Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    from plait.errors import MissingExtra

    checkpoint = shelf("whisper")
    state = audio_state(checkpoint.folder)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        MissingExtra, match="needs the package transformers, which is not installed"
    ):
        AUDIO.make(checkpoint.config, state, checkpoint.folder)


OLD_NAMES = {
    "hubert, group": ((".parametrizations.weight.original0", ".weight_g"),
                      (".parametrizations.weight.original1", ".weight_v")),
    "ast": ((".layers.", ".encoder.layer."), (".attention.q_proj.", ".attention.attention.query."),
            (".attention.k_proj.", ".attention.attention.key."),
            (".attention.v_proj.", ".attention.attention.value."),
            (".attention.o_proj.", ".attention.output.dense."),
            (".mlp.fc1.", ".intermediate.dense."), (".mlp.fc2.", ".output.dense.")),
}  # fmt: skip


@pytest.mark.parametrize("name", OLD_NAMES)
def test_names_of_weights_as_the_hub_has_them(
    name: str, shelf: Callable[[str], Checkpoint], tmp_path: Path, settings: Settings
) -> None:
    from safetensors.torch import save_file

    checkpoint = shelf(name)
    weights = {}
    for key, value in checkpoint.model.state_dict().items():
        for new, old in OLD_NAMES[name]:
            key = key.replace(new, old)
        weights[key] = value.contiguous()
    assert set(weights) != set(checkpoint.model.state_dict())
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    state, backbone = checkpoint.load()
    again = AUDIO.make(checkpoint.config, state, tmp_path)
    batch = batched(four(state, settings))
    with torch.no_grad():
        assert torch.equal(again(batch).values, backbone(batch).values)


HUB = {
    "whisper": {
        "_name_or_path": "x", "activation_function": "gelu", "architectures": ["WhisperModel"],
        "forced_decoder_ids": [[1, 5], [2, 6]], "max_length": 448, "model_type": "whisper",
        "num_hidden_layers": 2, "suppress_tokens": [1, 2, 7], "begin_suppress_tokens": [9, 10],
        "torch_dtype": "float32", "transformers_version": "4.27.0.dev0", "use_cache": True,
        "vocab_size": 60, "scale_embedding": False, "is_encoder_decoder": True,
    },
    "wav2vec2, group": {
        "activation_dropout": 0.0, "apply_spec_augment": True, "architectures": ["Wav2Vec2ForPreTraining"],
        "freeze_feat_extract_train": True, "gradient_checkpointing": True, "mask_channel_length": 10,
        "torch_dtype": "float16", "transformers_version": "4.7.0.dev0", "no_mask_channel_overlap": False,
    },
    "clap, fusion": {
        "_commit_hash": None, "logit_scale_init_value": 14.28, "torch_dtype": "float32",
        "transformers_version": None,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", HUB)
def test_configs_as_the_hub_has_them(name: str, shelf: Callable[[str], Checkpoint]) -> None:
    """Keys of older versions, in the midst of ours."""
    checkpoint = shelf(name)
    backbone = AUDIO.make(
        checkpoint.config | HUB[name], audio_state(checkpoint.folder), checkpoint.folder
    )
    assert {weight.dtype for weight in backbone.parameters()} == {torch.float32}
