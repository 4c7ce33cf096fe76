"""Pretrained models of sound as backbones: Whisper, wav2vec 2.0, HuBERT, WavLM, AST and CLAP.

What is padded to a fixed length is padded here, with the silence that the checkpoint's own extractor
would have put there. Rows without a cell are not run through the model. Tokens that come from padding
alone are cut away, as far as the batch's longest clip allows, and the others are False in the mask.
"""

import warnings
from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from plait.data.modalities.audio_recipe import Mel
from plait.data.modalities.base import State
from plait.model.pretrained.base import Backbone
from plait.model.tokens import ColumnBatch, Tokens


class AudioBackbone(Backbone):
    """A pretrained model of sound.

    Batch norms keep the checkpoint's statistics in training, too. What the checkpoint would do to vary
    its input in training (SpecAugment, dropping whole layers) is off: augmentation is plait's business,
    and every layer learns at every step. Dropout is the checkpoint's.
    """

    def __init__(self, model: Any, hidden: int) -> None:
        super().__init__()
        self.model: Any = model  # transformers has no types of use
        self.hidden = hidden

    def train(self, mode: bool = True) -> "AudioBackbone":
        """Training mode for all but batch norms."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def forward(self, column: ColumnBatch) -> Tokens:
        """Encode ``[batch, steps, width]``: frames of so many mel bands, or samples with width 1."""
        rows = column.present.nonzero().squeeze(1)
        batch = len(column.mask)
        if not len(rows):
            values = torch.zeros(batch, 1, self.hidden, device=column.mask.device)
            return Tokens(values, torch.zeros_like(values[..., 0], dtype=torch.bool))
        lengths = column.mask[rows].sum(dim=1)
        cells = column.values[rows, : int(lengths.max())].to(torch.float32)
        hidden, counts = self.encode(cells, lengths)
        hidden = hidden[:, : int(counts.max())]
        real = torch.arange(hidden.shape[1], device=counts.device) < counts[:, None]
        hidden = torch.where(real.unsqueeze(-1), hidden, 0.0)
        values = hidden.new_zeros(batch, *hidden.shape[1:]).index_copy(0, rows, hidden)
        mask = real.new_zeros(batch, real.shape[1]).index_copy(0, rows, real)
        return Tokens(values, mask)

    @abstractmethod
    def encode(
        self, values: Float[Tensor, "rows steps width"], lengths: Int64[Tensor, " rows"]
    ) -> tuple[Float[Tensor, "rows tokens hidden"], Int64[Tensor, " rows"]]:
        """Tokens of cells that are there, in the order of time, and how many are each clip's own."""


class Spectral(AudioBackbone):
    """A model that takes log-mel frames of one fixed length."""

    def __init__(self, model: Any, hidden: int, state: State) -> None:
        super().__init__(model, hidden)
        self.mel = Mel(**state["recipe"])

    def filled(
        self, values: Float[Tensor, "rows steps mels"], lengths: Int64[Tensor, " rows"]
    ) -> Float[Tensor, "rows frames mels"]:
        """Clips followed by silence.

        Where values are cut at ``span`` below the clip's loudest one, silence is cut there as well.
        """
        rows, steps, mels = values.shape
        real = (torch.arange(steps, device=values.device) < lengths[:, None]).unsqueeze(-1)
        silence = values.new_full((rows, 1, 1), self.mel.silence)
        if self.mel.span:
            loudest = values.masked_fill(~real, -torch.inf).amax(dim=(1, 2), keepdim=True)
            silence = torch.maximum(silence, loudest - self.mel.span / self.mel.divide)
        rest = silence.expand(rows, self.mel.frames - steps, mels)
        return torch.cat([torch.where(real, values, silence), rest], dim=1)

    def own(self, lengths: Int64[Tensor, " rows"]) -> Int64[Tensor, " rows"]:
        """Frames centred within the clip, or all when the clip fills the model."""
        full = lengths >= self.mel.frames
        return torch.where(full, lengths, (lengths - self.mel.tail).clamp(min=1))


class Whisper(Spectral):
    """Whisper's encoder (Radford et al. 2023): a token every 20 ms, thirty seconds of them inside.

    Its positions are fixed sinusoids and do not learn.
    """

    def __init__(self, model: Any, state: State) -> None:
        super().__init__(model, int(model.config.d_model), state)

    def encode(
        self, values: Float[Tensor, "rows steps width"], lengths: Int64[Tensor, " rows"]
    ) -> tuple[Float[Tensor, "rows tokens hidden"], Int64[Tensor, " rows"]]:
        """Two frames a token."""
        frames = self.filled(values, lengths).transpose(1, 2)
        return self.model(frames).last_hidden_state, (self.own(lengths) + 1) // 2

    def blocks(self) -> list[nn.Module]:
        """The convolutions and positions, then each layer, the last one with the final norm."""
        model = self.model
        first = nn.ModuleList([model.conv1, model.conv2, model.embed_positions])
        return _ended([first, *model.layers], model.layer_norm)


class Patches(Spectral):
    """The Audio Spectrogram Transformer (Gong et al. 2021): two summary tokens, then patches.

    Patches are in the order of time, all bands of a moment together; the model has them in the order of
    bands.
    """

    def __init__(self, model: Any, state: State) -> None:
        super().__init__(model, int(model.config.hidden_size), state)
        self.bands, self.moments = model.embeddings.get_shape(model.config)
        self.stride = int(model.config.time_stride)

    def encode(
        self, values: Float[Tensor, "rows steps width"], lengths: Int64[Tensor, " rows"]
    ) -> tuple[Float[Tensor, "rows tokens hidden"], Int64[Tensor, " rows"]]:
        """A patch is the clip's own when it begins within the clip."""
        hidden = self.model(self.filled(values, lengths)).last_hidden_state
        patches = (
            hidden[:, 2:].unflatten(1, (self.bands, self.moments)).transpose(1, 2).flatten(1, 2)
        )
        moments = (-(-self.own(lengths) // self.stride)).clamp(max=self.moments)
        return torch.cat([hidden[:, :2], patches], dim=1), 2 + moments * self.bands

    def blocks(self) -> list[nn.Module]:
        """The embeddings, then each layer, the last one with the final norm."""
        return _ended([self.model.embeddings, *self.model.layers], self.model.layernorm)


class Clap(Spectral):
    """CLAP's audio tower, HTSAT (Wu et al. 2023; Chen et al. 2022), without its projection to text.

    Each of its moments has a few tokens, one a group of bands; they are in the order of time. Models
    trained with feature fusion run without it, as they do on clips of at most ten seconds.
    """

    def __init__(self, model: Any, state: State) -> None:
        super().__init__(model, int(model.audio_encoder.num_features), state)

    def encode(
        self, values: Float[Tensor, "rows steps width"], lengths: Int64[Tensor, " rows"]
    ) -> tuple[Float[Tensor, "rows tokens hidden"], Int64[Tensor, " rows"]]:
        """A moment is the clip's own when it begins within the clip, or within one of its repeats."""
        frames = self.filled(values, lengths).unsqueeze(1)
        hidden = self.model(frames).last_hidden_state  # [rows, hidden, bands, moments]
        bands, moments = hidden.shape[2:]
        own = -(-self.own(lengths) * moments // self.mel.frames)
        return hidden.permute(0, 3, 2, 1).flatten(1, 2), own * bands

    def blocks(self) -> list[nn.Module]:
        """The patches, then each layer; a stage's last one with what merges its patches."""
        encoder = self.model.audio_encoder
        patches = encoder.patch_embed
        blocks: list[nn.Module] = [nn.ModuleList([encoder.batch_norm, patches.proj, patches.norm])]
        for stage in encoder.layers:
            blocks += stage.blocks
            if stage.downsample is not None:
                blocks = _ended(blocks, stage.downsample)
        return _ended(blocks, encoder.norm)


class Wave(AudioBackbone):
    """wav2vec 2.0 (Baevski et al. 2020), HuBERT (Hsu et al. 2021) or WavLM (Chen et al. 2022).

    A token every 20 ms. Every clip is encoded as it would be alone, whatever it is batched with. Where
    lengths differ:

    * models that norm each frame by itself (``feat_extract_norm`` = ``layer``) get an attention mask;
    * models that norm the first layer over time (``group``) were trained without one, and would see the
      padding in that norm, mask or not. Here the norm runs over each clip's own frames, and the rest
      gets the mask;
    * models with an adapter, or a batch norm before the positions, see padding where no mask reaches.
      Their clips are run together by length, so a batch of many lengths costs one run a length.

    The checkpoint's ``return_attention_mask`` says whether its own extractor hides padding in a batch.
    For a clip alone, as here, both settings are the same.

    A clip shorter than the first layers hear (25 ms) is followed by zeros.
    """

    def __init__(self, model: Any, state: State) -> None:
        config = model.config
        adapted = bool(getattr(config, "add_adapter", False))
        super().__init__(model, int(config.output_hidden_size if adapted else config.hidden_size))
        self.maskable = not adapted and not getattr(config, "conv_pos_batch_norm", False)
        self.over_time = config.feat_extract_norm == "group"
        self.layers = list(zip(config.conv_kernel, config.conv_stride, strict=True))
        self.shortest = 1
        for kernel, stride in reversed(self.layers):
            self.shortest = (self.shortest - 1) * stride + kernel

    def encode(
        self, values: Float[Tensor, "rows steps width"], lengths: Int64[Tensor, " rows"]
    ) -> tuple[Float[Tensor, "rows tokens hidden"], Int64[Tensor, " rows"]]:
        """With a mask where lengths differ, or clips of one length at a time."""
        waves = values.squeeze(2)
        waves = nn.functional.pad(waves, (0, max(self.shortest - waves.shape[1], 0)))
        lengths = lengths.clamp(min=self.shortest)
        if self.maskable and int(lengths.min()) < waves.shape[1]:
            return self._masked(waves, lengths)
        counts = torch.zeros_like(lengths)
        parts, order = [], []
        for length in lengths.unique().tolist():
            rows = (lengths == length).nonzero().squeeze(1)
            parts.append(self.model(waves[rows, :length]).last_hidden_state)
            order.append(rows)
            counts[rows] = parts[-1].shape[1]
        most = int(counts.max())
        padded = [nn.functional.pad(part, (0, 0, 0, most - part.shape[1])) for part in parts]
        return torch.cat(padded)[torch.cat(order).argsort()], counts

    def _masked(
        self, waves: Float[Tensor, "rows steps"], lengths: Int64[Tensor, " rows"]
    ) -> tuple[Float[Tensor, "rows tokens hidden"], Int64[Tensor, " rows"]]:
        """The model's own steps one by one, since its first norm has to know the lengths."""
        frames, counts = waves.unsqueeze(1), lengths
        layers = zip(self.model.feature_extractor.conv_layers, self.layers, strict=True)
        for number, (layer, (kernel, stride)) in enumerate(layers):
            counts = (counts - kernel) // stride + 1
            if number == 0 and self.over_time:
                frames = layer.activation(_normed(layer.conv(frames), counts, layer.layer_norm))
            else:
                frames = layer(frames)
        projected = self.model.feature_projection(frames.transpose(1, 2))
        hidden = (
            projected[0] if isinstance(projected, tuple) else projected
        )  # HuBERT gives no tuple
        mask = torch.arange(hidden.shape[1], device=hidden.device) < counts[:, None]
        with warnings.catch_warnings():  # WavLM mixes two kinds of masks, which torch deplores
            warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")
            return self.model.encoder(hidden, attention_mask=mask).last_hidden_state, counts

    def blocks(self) -> list[nn.Module]:
        """The convolutions, the projection with the positions, then each layer."""
        model, encoder = self.model, self.model.encoder
        before = [model.feature_projection, encoder.pos_conv_embed]
        stable = bool(model.config.do_stable_layer_norm)
        if not stable:
            before.append(encoder.layer_norm)
        blocks = [model.feature_extractor, nn.ModuleList(before), *encoder.layers]
        if stable:
            blocks = _ended(blocks, encoder.layer_norm)
        adapter = getattr(model, "adapter", None)
        return _ended(blocks, adapter) if adapter is not None else blocks


def _normed(
    frames: Float[Tensor, "rows channels steps"], counts: Int64[Tensor, " rows"], norm: nn.Module
) -> Float[Tensor, "rows channels steps"]:
    """A norm over time, of each row's own frames; zeros beyond them."""
    steps = frames.shape[2]
    rows = [
        nn.functional.pad(norm(row[None, :, :count]), (0, steps - count))
        for row, count in zip(frames, counts.tolist(), strict=True)
    ]
    return torch.cat(rows)


def _ended(blocks: list[nn.Module], end: nn.Module) -> list[nn.Module]:
    """Blocks whose last one has something more at its end, for what is no layer by itself."""
    return [*blocks[:-1], nn.ModuleList([blocks[-1], end])]
