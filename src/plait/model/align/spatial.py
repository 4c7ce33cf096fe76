"""Aligning in space: shift and affine registration of two images of one scene, and a learned transform.

The functions take numpy images, ``[height, width]`` or ``[height, width, channels]``, of any type.
Matrices are 2x3 in pixels, x to the right and y down, and say where each pixel of the *answer* is taken
from: ``warped[y, x] = image[M (x, y, 1)]``.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from plait.errors import AlignError
from plait.model.align.checks import numbers, shape

TURNS = range(-24, 25, 6)
"""Degrees that `register_affine` starts from."""

ROUGH = 128
"""Pixels of the longer side at which it tries them."""

IMAGE = "[height, width] or [height, width, channels]"


class Shift(NamedTuple):
    """By how many pixels to move the second image down and right; ``score`` is the peak, at most 1."""

    down: float
    right: float
    score: float


def phase_correlation(
    a: Shaped[np.ndarray, "..."],
    b: Shaped[np.ndarray, "..."],
    *,
    precision: int = 100,
    window: bool = True,
) -> Shift:
    """The shift that lays ``b`` on ``a`` (Kuglin & Hines 1975), to a fraction of a pixel.

    The peak of ``F⁻¹(A B* / |A B*|)``, first over whole pixels, then around it on a grid ``precision``
    times as fine by a small matrix product (Guizar-Sicairos, Thurman & Fienup 2008). Frequencies that
    neither image holds are left out. Brightness and contrast do not matter; turning and zoom do.
    ``O(pixels log pixels)``.

    Args:
        a: the image that stays; channels are averaged.
        b: the image to move, of the same size.
        precision: steps in a pixel.
        window: fade both towards their edges (Hann), which pictures that do not wrap around need.
    """
    first, second = _grey("a", a), _grey("b", b)
    if first.shape != second.shape:
        raise AlignError(f"a is {shape(first)} and b {shape(second)}; both need the same size.")
    if precision < 1:
        raise AlignError(f"precision={precision}; choose a whole number, 1 or more.")
    for name, image in (("a", first), ("b", second)):
        if _flat(image):
            raise AlignError(f"{name} is one flat colour; there is nothing to align by.")
    if not window:
        return _peak(first, second, precision)
    down, right = (round(part) for part in _peak(_faded(first), _faded(second), 1)[:2])
    # A window lies on other parts of the two scenes, and pulls the answer towards zero. What both see
    # after the whole shift is apart by less than a pixel, where the pull is as small.
    seen_a, seen_b = _overlap(first, down, right), _overlap(second, -down, -right)
    if min(seen_a.shape) < 8 or _flat(seen_a) or _flat(seen_b):
        return _peak(_faded(first), _faded(second), precision)
    rest = _peak(_faded(seen_a), _faded(seen_b), precision)
    return Shift(down + rest.down, right + rest.right, rest.score)


def _peak(first: np.ndarray, second: np.ndarray, precision: int) -> Shift:
    height, width = first.shape
    cross = np.fft.fft2(first - first.mean()) * np.fft.fft2(second - second.mean()).conj()
    size = np.abs(cross)
    known = size > 1e-8 * size.max()
    phase = np.where(known, cross / np.where(known, size, 1), 0)
    rough = np.fft.ifft2(phase).real
    row, column = np.unravel_index(int(rough.argmax()), rough.shape)
    span = np.arange(-precision, precision + 1) / precision
    rows, columns = _signed(int(row), height) + span, _signed(int(column), width) + span
    fine = (_wave(rows, height) @ phase @ _wave(columns, width).T).real / known.sum()
    best = np.unravel_index(int(fine.argmax()), fine.shape)
    return Shift(float(rows[best[0]]), float(columns[best[1]]), float(fine[best]))


def _overlap(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """The part of an image that one shifted by so much covers."""
    height, width = image.shape
    return image[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)]


def _faded(image: np.ndarray) -> np.ndarray:
    """Nothing but its contrast, fading to zero towards the edges."""
    fade = np.outer(_hann(image.shape[0]), _hann(image.shape[1]))
    return (image - np.average(image, weights=fade)) * fade


def _grey(name: str, image: Shaped[np.ndarray, "..."]) -> Float[np.ndarray, "height width"]:
    values = numbers(name, image, (2, 3), IMAGE)
    return values if values.ndim == 2 else values.mean(axis=2)


def _flat(image: np.ndarray) -> bool:
    return bool(np.ptp(image) <= 1e-12 * max(1.0, np.abs(image).max()))


def _hann(size: int) -> Float[np.ndarray, " size"]:
    return np.hanning(size + 2)[1:-1]


def _signed(place: int, size: int) -> int:
    return place - size if place > size // 2 else place


def _wave(shifts: np.ndarray, size: int) -> np.ndarray:
    """The rows of the inverse Fourier transform at fractional places."""
    return np.exp(2j * np.pi * shifts[:, None] * np.fft.fftfreq(size))


def warp(
    image: Shaped[np.ndarray, "..."], matrix: Shaped[np.ndarray, "..."], *, fill: float = 0.0
) -> Float[np.ndarray, "height width *channels"]:
    """The image resampled by a 2x3 matrix, bilinear, ``fill`` where it looks outside. ``O(pixels)``."""
    values = numbers("image", image, (2, 3), IMAGE)
    return _sample(values, _matrix(matrix), fill)


def _matrix(matrix: Shaped[np.ndarray, "..."]) -> Float[np.ndarray, "2 3"]:
    values = numbers("matrix", matrix, (2,), "[2, 3], rows for x and y")
    if values.shape != (2, 3):
        raise AlignError(f"matrix has shape {shape(values)}; expected [2, 3], rows for x and y.")
    return values


def _sample(image: np.ndarray, matrix: Float[np.ndarray, "2 3"], fill: float = 0.0) -> np.ndarray:
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width]
    across = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]
    down = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]
    # A hair outside by rounding is the edge itself.
    slack = 1e-9 * (height + width)
    inside = (across >= -slack) & (across <= width - 1 + slack)
    inside &= (down >= -slack) & (down <= height - 1 + slack)
    across, down = across.clip(0, width - 1), down.clip(0, height - 1)
    left, top = np.floor(across).astype(int), np.floor(down).astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    more = (1,) * (image.ndim - 2)
    u, v = (part.reshape(*part.shape, *more) for part in (across - left, down - top))
    above = image[top, left] * (1 - u) + image[top, right] * u
    below = image[bottom, left] * (1 - u) + image[bottom, right] * u
    return np.where(inside.reshape(*inside.shape, *more), above * (1 - v) + below * v, fill)


class Registration(NamedTuple):
    """``warp(moving, matrix)`` lies on ``fixed``; ``correlation`` of the two where they overlap."""

    matrix: Float[np.ndarray, "2 3"]
    warped: Float[np.ndarray, "height width *channels"]
    correlation: float


def register_affine(
    fixed: Shaped[np.ndarray, "..."],
    moving: Shaped[np.ndarray, "..."],
    *,
    iterations: int = 50,
    smallest: int = 16,
) -> Registration:
    """The affine map that lays ``moving`` on ``fixed``, by their brightness alone.

    Lucas & Kanade (1981) in its inverse compositional form (Baker & Matthews 2004): Gauss-Newton on
    ``Σ (fixed(x) - moving(M x))²`` with the Jacobian of ``fixed``, damped (Levenberg), on a pyramid
    from ``smallest`` pixels up to the whole. It starts from the likeliest of some turns between -24 and
    24 degrees, each with the shift by phase correlation. Both images are standardised where they meet,
    so brightness and contrast may differ. It finds the nearest optimum: zoom and shear up to about a
    sixth, less where the texture is fine; look at ``correlation`` to see whether it did.
    ``O(iterations · pixels)``.

    Args:
        fixed: the image that stays; channels are averaged for the search.
        moving: the image to move, of the same size.
        iterations: at most, at each size.
    """
    target, source = _grey("fixed", fixed), _grey("moving", moving)
    if target.shape != source.shape:
        raise AlignError(
            f"fixed is {shape(target)} and moving {shape(source)}; both need the same size."
        )
    for name, image in (("fixed", target), ("moving", source)):
        if _flat(image):
            raise AlignError(f"{name} is one flat colour; there is nothing to align by.")
    pyramid = [(target, source)]
    while min(pyramid[-1][0].shape) >= 2 * smallest:
        pyramid.append((_halved(pyramid[-1][0]), _halved(pyramid[-1][1])))
    rough = next((n for n, (t, _) in enumerate(pyramid) if max(t.shape) <= ROUGH), len(pyramid) - 1)
    matrix = _start(*pyramid[rough])
    matrix[:, 2] *= 2**rough
    for level in range(len(pyramid) - 1, -1, -1):
        matrix[:, 2] /= 2**level  # pixel p of this level is pixel 2^level p of the whole
        matrix = _refine(*pyramid[level], matrix, iterations)
        matrix[:, 2] *= 2**level
    likeness, _ = _likeness(target, source, matrix)
    return Registration(matrix, warp(moving, matrix), likeness)


def _start(target: np.ndarray, source: np.ndarray) -> Float[np.ndarray, "2 3"]:
    """The likeliest of no change and some turns, each with the shift that phase correlation gives it."""
    centre = (np.array(target.shape[::-1]) - 1) / 2
    tried = [np.eye(3)[:2]]
    for angle in [] if _flat(target) else np.deg2rad(TURNS):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        about = centre - turn @ centre
        turned = _sample(source, np.column_stack([turn, about]), float(source.mean()))
        if _flat(turned):
            continue
        move = phase_correlation(target, turned, precision=1)
        tried.append(np.column_stack([turn, about - turn @ [move.right, move.down]]))
    return max(tried, key=lambda matrix: _likeness(target, source, matrix)[0])


def _halved(image: np.ndarray) -> np.ndarray:
    """Blurred by the binomial of five (Burt & Adelson 1983), every second pixel kept."""
    for axis in (0, 1):
        padded = np.pad(image, [(2, 2) if axis == at else (0, 0) for at in (0, 1)], mode="reflect")
        parts = [np.take(padded, range(k, k + image.shape[axis]), axis=axis) for k in range(5)]
        image = np.tensordot(np.array([1, 4, 6, 4, 1]) / 16, np.stack(parts), axes=1)
    return image[::2, ::2]


def _likeness(
    target: np.ndarray, source: np.ndarray, matrix: np.ndarray
) -> tuple[float, np.ndarray | None]:
    """The correlation where both are, and the standardised difference there (NaN elsewhere).

    An overlap of less than a quarter is none.
    """
    moved = _sample(source, matrix, np.nan)
    both = np.isfinite(moved)
    if both.mean() < 0.25:
        return -1.0, None
    pair = []
    for image in (target, moved):
        centred = image - image[both].mean()
        pair.append(centred / max(float(centred[both].std()), 1e-12))
    correlation = float((pair[0][both] * pair[1][both]).mean())
    return correlation, pair[1] - pair[0]


def _refine(
    target: np.ndarray, source: np.ndarray, matrix: np.ndarray, iterations: int
) -> np.ndarray:
    """Damped Gauss-Newton steps while they raise the correlation."""
    if _flat(target) or _flat(source):  # fine texture, averaged away on this level
        return matrix
    height, width = target.shape
    slope_y, slope_x = np.gradient((target - target.mean()) / target.std())
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    unit = max(height, width) / 2
    y, x = np.mgrid[:height, :width]
    x, y = (x - centre[0]) / unit, (y - centre[1]) / unit
    ones = np.ones_like(x)
    steepest = np.stack(
        [slope * part for slope in (slope_x, slope_y) for part in (x, y, ones)], axis=-1
    ).reshape(-1, 6)
    damping = 1e-3
    best, residual = _likeness(target, source, matrix)
    for _ in range(iterations):
        if residual is None or damping > 1e6:
            break
        both = np.isfinite(residual).ravel()
        seen = steepest[both]
        curvature = seen.T @ seen
        curvature += damping * np.trace(curvature) / 6 * np.eye(6)
        step = np.linalg.solve(curvature, seen.T @ residual.ravel()[both]).reshape(2, 3)
        tried = _compose(matrix, step, centre, unit)
        now, left = _likeness(target, source, tried)
        if now <= best:
            damping *= 10
            continue
        gained, best, residual, matrix = now - best, now, left, tried
        damping = max(damping / 10, 1e-9)
        if gained < 1e-10:
            break
    return matrix


def _compose(
    matrix: np.ndarray, step: np.ndarray, centre: np.ndarray, unit: float
) -> Float[np.ndarray, "2 3"]:
    """``M ∘ (I + step)⁻¹``; the step is a displacement in pixels over centred places in units."""
    turn = step[:, :2] / unit
    change = np.eye(3)
    change[:2, :2] += turn
    change[:2, 2] = step[:, 2] - turn @ centre
    whole = np.vstack([matrix, [0, 0, 1]])
    return (whole @ np.linalg.inv(change))[:2]


class SpatialTransformer(nn.Module):
    """A network that looks at an image and straightens it (Jaderberg et al. 2015).

    A small CNN gives six numbers δ an image, and the image is resampled, bilinear, by
    ``θ = [I | 0] + limit · tanh(δ)``. Theirs is unbounded; the bound keeps an early step from throwing
    an image out of view, where no gradient would bring it back. It starts as the identity and learns
    from the loss of whatever reads the image; each image is transformed by itself.
    ``O(pixels · channels)``.

    Args:
        channels: of the image.
        limit: the largest change of an entry of θ; 1 is half the image as a shift.
        hidden: channels of the CNN.
    """

    def __init__(self, *, channels: int, limit: float = 0.5, hidden: int = 16) -> None:
        super().__init__()
        if not 0 < limit < 1:
            raise AlignError(f"limit={limit}; choose a number between 0 and 1.")
        self.channels = channels
        self.limit = limit
        self.look = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16 * hidden, 32),
            nn.ReLU(),
        )
        self.change = nn.Linear(32, 6)
        nn.init.zeros_(self.change.weight)
        nn.init.zeros_(self.change.bias)

    def matrices(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch 2 3"]:
        """θ of each image, over places from -1 to 1: where each pixel of the answer is taken from."""
        self._check(images)
        # A glance of 16 px is enough to see how something lies.
        glance = functional.interpolate(images, size=(16, 16), mode="bilinear", align_corners=False)
        change = torch.tanh(self.change(self.look(glance))).view(-1, 2, 3)
        return torch.eye(2, 3, device=images.device, dtype=change.dtype) + self.limit * change

    def _check(self, images: Shaped[Tensor, "..."]) -> None:
        if images.ndim != 4 or images.shape[1] != self.channels:
            raise AlignError(
                f"images has shape {list(images.shape)}; expected [batch, {self.channels}, height, "
                "width]."
            )
        if not images.is_floating_point():
            raise AlignError(f"images holds {images.dtype}; pass floats: images.float() / 255.")

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """The images, straightened; the edge's colour is continued beyond it."""
        grid = functional.affine_grid(
            self.matrices(images).to(images.dtype), list(images.shape), align_corners=False
        )
        return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
