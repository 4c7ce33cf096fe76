"""Varying images, videos, sounds and signals while training, a whole batch at once.

Only changes that leave the meaning alone for most tasks: no mirror images (digits, writing, hearts), no
change of order in time. All randomness comes from torch's global generator, which the training loop
seeds at every step.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional

from plait.data.modalities.log_mel import mel_centres
from plait.model.tokens import ColumnBatch, fold_frames, unfold_frames

State = dict[str, Any]


def augment(
    columns: Mapping[str, ColumnBatch], modalities: Mapping[str, str], states: Mapping[str, State]
) -> dict[str, ColumnBatch]:
    """Vary every column whose modality can be varied.

    Args:
        columns: one batch.
        modalities: each column's modality; others, such as a frozen encoder's tokens, stay as they are.
        states: each column's preprocessing state.
    """
    changed = dict(columns)
    for name, column in columns.items():
        vary = AUGMENTATIONS.get(modalities.get(name, ""))
        if vary is not None and bool(column.mask.any()):
            changed[name] = vary(column, states[name])
    return changed


def spread(batch: int, like: Tensor) -> Float[Tensor, " batch"]:
    """Uniform numbers in [-1, 1], one a sample."""
    return torch.rand(batch, device=like.device) * 2 - 1


def vary_image(column: ColumnBatch, state: State) -> ColumnBatch:
    """Shift up to 6 %, turn up to 10 degrees, scale up to 15 %, colour, contrast, noise, a hole.

    The hole (random erasing, Zhong et al. 2020) covers up to 40 % of each side of every second image.
    """
    return ColumnBatch(
        _vary_pixels(column.values, column.mask, column.values.shape[3]), column.mask
    )


def vary_video(column: ColumnBatch, state: State) -> ColumnBatch:
    """What is done to an image, drawn once a clip: all its frames move and change alike.

    Only the noise is drawn for every frame. The order of the frames stays.
    """
    clips = column.values
    varied = _vary_pixels(fold_frames(clips), column.mask, clips.shape[4])
    return ColumnBatch(unfold_frames(varied, clips.shape[1]), column.mask)


def _vary_pixels(
    bytes_: UInt8[Tensor, "batch height width_px maps"], mask: Bool[Tensor, " batch"], colours: int
) -> UInt8[Tensor, "batch height width_px maps"]:
    """Vary pictures of ``colours`` channels, or of several times as many: a clip's frames."""
    values = bytes_.permute(0, 3, 1, 2).to(torch.float32)
    batch, maps = values.shape[:2]
    values = functional.grid_sample(
        values, _moved(values), padding_mode="border", align_corners=False
    )
    shape = (-1, 1, 1, 1)
    centre = values.mean(dim=(1, 2, 3), keepdim=True)
    values = (values - centre) * (1 + 0.25 * spread(batch, values)).view(shape) + centre
    values = values + 20 * spread(batch, values).view(shape)
    if colours > 1:
        tint = torch.rand(batch, colours, 1, 1, device=values.device) * 2 - 1
        values = values + 15 * tint.repeat(1, maps // colours, 1, 1)
    noise = 12 * torch.rand(batch, device=values.device)
    values = values + torch.randn_like(values) * noise.view(shape)
    values = torch.where(_hole(values), centre, values)
    values = values.clamp(0, 255).round() * mask.view(shape)
    return values.to(torch.uint8).permute(0, 2, 3, 1)


def _moved(values: Tensor) -> Tensor:
    """A sampling grid that shifts, turns and scales each image a little."""
    batch = len(values)
    angle = spread(batch, values) * (10 * math.pi / 180)
    scale = 1 + 0.15 * spread(batch, values)
    across, down = 0.12 * spread(batch, values), 0.12 * spread(batch, values)
    rows = [
        torch.stack([scale * angle.cos(), -scale * angle.sin(), across], dim=-1),
        torch.stack([scale * angle.sin(), scale * angle.cos(), down], dim=-1),
    ]
    return functional.affine_grid(torch.stack(rows, dim=1), list(values.shape), align_corners=False)


def _hole(values: Tensor) -> Tensor:
    """``[batch, 1, height, width]``, True inside a random rectangle of every second image."""
    batch, _, height, width = values.shape
    holed = torch.rand(batch, 1, device=values.device) < 0.5
    sides = [
        _stripe(torch.full((batch, 1), size, device=values.device), size, 0.4)
        for size in (height, width)
    ]
    return (sides[0][:, :, None] & sides[1][:, None, :] & holed[:, :, None]).unsqueeze(1)


def vary_audio(column: ColumnBatch, state: State) -> ColumnBatch:
    """Another voice, pace, room and microphone, drawn on the log-mel spectrogram.

    The vocal tract's length by ±15 % (VTLP, Jaitly & Hinton 2013), the pace by ±20 %, a start shifted
    by up to 10 % of the clip, a smooth random channel, a raised noise floor, and masks over
    bands and moments (SpecAugment, Park et al. 2019).

    What a pretrained encoder hears is varied less, since it has scales of its own: masks over bands and
    moments of a spectrogram, loudness and a little noise for a waveform.
    """
    values = column.values.to(torch.float32)
    if state.get("features") == "wave":
        loud = 1 + 0.3 * spread(len(values), values).view(-1, 1, 1)
        noise = 0.01 * torch.randn_like(values)
        return ColumnBatch((values * loud + noise) * column.mask.unsqueeze(-1), column.mask)
    if "features" in state:
        values = _mask_bands_and_moments(values, column.mask)
        return ColumnBatch(values * column.mask.unsqueeze(-1), column.mask)
    lengths = column.mask.sum(dim=1)
    values, mask = _warp(values, lengths, state)
    values = values + _channel(values)
    values = _mask_bands_and_moments(values, mask)
    return ColumnBatch(values * mask.unsqueeze(-1), mask)


def _warp(values: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, Tensor]:
    """Stretch along time and along frequency in one interpolation."""
    batch, steps, mels = values.shape
    rate = torch.exp(0.2 * spread(batch, values))
    lengths_new = (lengths / rate).round().clamp(max=steps)
    lengths_new = torch.where(lengths > 0, lengths_new.clamp(min=1), lengths_new)
    shift = 0.1 * spread(batch, values) * lengths
    moment = torch.arange(steps, device=values.device) * rate.unsqueeze(1) + shift.unsqueeze(1)
    moment = moment.clamp(min=0).minimum((lengths - 1).clamp(min=0).unsqueeze(1))
    band = _warped_bands(mels, 1 + 0.15 * spread(batch, values), state)
    grid = torch.stack(
        [
            band[:, None, :].expand(batch, steps, mels),
            (moment / max(steps - 1, 1) * 2 - 1)[:, :, None].expand(batch, steps, mels),
        ],
        dim=-1,
    )
    warped = functional.grid_sample(
        values.unsqueeze(1), grid, padding_mode="border", align_corners=True
    ).squeeze(1)
    return warped, torch.arange(steps, device=values.device) < lengths_new.unsqueeze(1)


def _warped_bands(mels: int, factor: Tensor, state: State) -> Float[Tensor, "batch mels"]:
    """Where each band looks, in [-1, 1] along the bands, when frequencies scale by ``factor``."""
    centres = mel_centres(mels, float(state["fmin"]), float(state["fmax"]))
    hertz = torch.tensor(centres[1:-1], dtype=factor.dtype, device=factor.device)
    moved = torch.log10(1 + hertz * factor.unsqueeze(1) / 700)
    low, high = (torch.log10(1 + edge / 700) for edge in (hertz[0], hertz[-1]))
    return (moved - low) / (high - low) * 2 - 1


def _channel(values: Tensor) -> Float[Tensor, "batch 1 mels"]:
    """A smooth random gain over the bands: a tilt and two slow waves, in log power."""
    place = torch.linspace(0, 1, values.shape[2], device=values.device)
    basis = torch.stack(
        [place * 2 - 1, torch.cos(2 * math.pi * place), torch.cos(3 * math.pi * place)]
    )
    size = torch.tensor([0.5, 0.3, 0.25], device=values.device)
    drawn = torch.randn(len(values), 3, device=values.device) * size
    return (drawn @ basis).unsqueeze(1)


def _mask_bands_and_moments(values: Tensor, mask: Tensor, share: float = 0.1) -> Tensor:
    """A stripe each way, up to ``share`` wide, set to the clip's mean."""
    _, steps, mels = values.shape
    lengths = mask.sum(dim=1, keepdim=True)
    hidden = torch.zeros_like(values, dtype=torch.bool)
    hidden |= _stripe(torch.full_like(lengths, mels), mels, share).unsqueeze(1)
    hidden |= _stripe(lengths, steps, share).unsqueeze(2)
    real = mask.unsqueeze(-1)
    mean = (values * real).sum(dim=(1, 2)) / (real.sum(dim=(1, 2)) * mels).clamp(min=1)
    return torch.where(hidden, mean[:, None, None], values)


def _stripe(lengths: Tensor, size: int, share: float) -> Tensor:
    """One random stretch of at most ``share`` of each length, as ``[batch, size]``."""
    span = torch.rand(lengths.shape, device=lengths.device) * lengths * share
    start = torch.rand(lengths.shape, device=lengths.device) * (lengths - span)
    place = torch.arange(size, device=lengths.device)
    return (place >= start) & (place < start + span)


def vary_signal(column: ColumnBatch, state: State) -> ColumnBatch:
    """Gain up to 15 % a lead, a slow drift, noise, and a start shifted by up to 4 % of the cell."""
    values = column.values
    batch, steps, leads = values.shape
    gain = 1 + 0.15 * (torch.rand(batch, 1, leads, device=values.device) * 2 - 1)
    place = torch.linspace(0, 1, steps, device=values.device)
    phase = torch.rand(batch, 1, device=values.device)
    wave = torch.sin(2 * math.pi * (place * (0.5 + phase) + phase))
    drift = 0.1 * torch.randn(batch, 1, leads, device=values.device) * wave.unsqueeze(-1)
    noise = 0.1 * torch.rand(batch, 1, 1, device=values.device) * torch.randn_like(values)
    lengths = column.mask.sum(dim=1, keepdim=True)
    shift = (0.04 * spread(batch, values).unsqueeze(1) * lengths).round().long()
    source = (torch.arange(steps, device=values.device) + shift).clamp(min=0)
    source = source.minimum((lengths - 1).clamp(min=0)).unsqueeze(-1).expand_as(values)
    varied = values.gather(1, source) * gain + drift + noise
    return ColumnBatch(varied * column.mask.unsqueeze(-1), column.mask)


AUGMENTATIONS: dict[str, Callable[[ColumnBatch, State], ColumnBatch]] = {
    "image": vary_image,
    "video": vary_video,
    "audio": vary_audio,
    "signal": vary_signal,
}
"""Modality → how it is varied. A modality that is not here stays as it is."""
