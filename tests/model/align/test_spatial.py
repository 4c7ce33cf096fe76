"""Shifts and affine maps found again, warps against scipy, and the transformer against a plain loop."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from plait.errors import AlignError
from plait.model.align import SpatialTransformer, phase_correlation, register_affine, warp


@pytest.fixture(scope="module")
def scene():
    return ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(140, 150)), 2.5)


def view(scene, down, right, size=(80, 90)):
    """A window on the scene after the scene moved."""
    moved = ndimage.shift(scene, (down, right), order=5)
    return moved[30 : 30 + size[0], 30 : 30 + size[1]]


@pytest.mark.parametrize("shift", [(0, 0), (3, -5), (-12, 7), (40, 1)])
def test_whole_shifts_of_images_that_wrap_around_are_exact(rng, shift):
    b = rng.normal(size=(81, 64))
    found = phase_correlation(np.roll(b, shift, axis=(0, 1)), b, window=False)
    assert found[:2] == shift
    assert found.score == pytest.approx(1)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (2.3, -4.6), (0.5, 0.5), (-7.25, 9.5)])
def test_fractions_of_a_pixel_are_found(scene, shift):
    found = phase_correlation(view(scene, *shift), view(scene, 0, 0))
    assert found.down == pytest.approx(shift[0], abs=0.06)
    assert found.right == pytest.approx(shift[1], abs=0.06)
    assert found.score > 0.8


def test_a_fourier_shift_is_found_to_the_precision(rng):
    b = rng.normal(size=(33, 35))  # an even side has a frequency that cannot be moved by a fraction
    spectrum = ndimage.fourier_shift(np.fft.fft2(b), (1.37, -2.62))
    found = phase_correlation(np.fft.ifft2(spectrum).real, b, window=False, precision=50)
    assert found.down == pytest.approx(1.37, abs=0.02)
    assert found.right == pytest.approx(-2.62, abs=0.02)


def test_colour_brightness_and_contrast_do_not_matter(scene):
    a, b = view(scene, 4, 6), view(scene, 0, 0)
    coloured = (np.stack([3 * a, a, -a / 2], axis=2) * 20 + 90).astype(np.float32)
    assert phase_correlation(coloured, b)[:2] == phase_correlation(a, b)[:2]


def test_little_overlap_falls_back_to_the_whole(rng):
    """After a shift of all but a few pixels hardly anything is left to look at again."""
    b = rng.normal(size=(12, 40))
    a = np.roll(b, 6, axis=0)
    found = phase_correlation(a, b)
    assert np.isfinite(found).all()
    assert abs(found.down) <= 7


MATRICES = {
    "still": [[1, 0, 0], [0, 1, 0]],
    "shift": [[1, 0, 2.25], [0, 1, -3.5]],
    "turn": [[0.9, -0.3, 8], [0.25, 1.1, -4]],
    "mirror": [[-1, 0, 29], [0, 1, 0]],
}


@pytest.mark.parametrize("name", MATRICES)
def test_warp_is_that_of_scipy(rng, name):
    image, matrix = rng.normal(size=(24, 30)), np.array(MATRICES[name], dtype=float)
    swap = matrix[::-1, [1, 0, 2]]  # scipy counts rows first
    want = ndimage.affine_transform(image, swap[:, :2], swap[:, 2], order=1, cval=-7)
    np.testing.assert_allclose(warp(image, matrix, fill=-7), want, atol=1e-12)
    both = warp(np.stack([image, 2 * image], axis=2), matrix, fill=-7)
    np.testing.assert_allclose(both[..., 0], want, atol=1e-12)


@pytest.mark.parametrize("turn", [-20, 0, 9])
@pytest.mark.parametrize("zoom", [0.9, 1.0, 1.15])
def test_an_affine_map_is_found_again(scene, turn, zoom):
    angle = np.deg2rad(turn)
    matrix = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.column_stack([matrix, [6 - 40 * matrix[0, 1], -3.0]])
    matrix[0, 1] += 0.05
    moving = scene[30:110, 30:120]
    whole = matrix.copy()
    whole[:, 2] += 30 - matrix[:, :2] @ [30, 30]
    fixed = 3 * warp(scene, whole)[30:110, 30:120] - 1
    found = register_affine(fixed, moving)
    assert found.correlation > 0.9999
    np.testing.assert_allclose(found.matrix, matrix, atol=2e-3)
    np.testing.assert_array_equal(found.warped, warp(moving, found.matrix))


def test_a_large_shift_starts_from_the_phase_correlation(scene):
    found = register_affine(view(scene, 20, -25), view(scene, 0, 0))
    np.testing.assert_allclose(found.matrix, [[1, 0, 25], [0, 1, -20]], atol=0.05)


def test_colours_are_warped_too(scene):
    moving = np.stack([view(scene, 0, 0)] * 3, axis=2)
    found = register_affine(view(scene, 1, 0), moving)
    assert found.warped.shape == moving.shape
    np.testing.assert_allclose(found.matrix[1, 2], -1, atol=0.02)


def test_unlike_images_say_so_by_a_low_correlation(rng):
    found = register_affine(rng.normal(size=(40, 40)), rng.normal(size=(40, 40)))
    assert -1 < found.correlation < 0.6
    assert np.isfinite(found.matrix).all()


def test_equal_images_stay():
    image = np.random.default_rng(3).normal(size=(20, 20))
    found = register_affine(image, image)
    np.testing.assert_allclose(found.matrix, np.eye(3)[:2], atol=1e-9)
    assert found.correlation == pytest.approx(1)


def test_a_map_that_leaves_the_image_is_no_likeness(rng):
    from plait.model.align.spatial import _likeness, _refine

    image = rng.normal(size=(20, 20))
    away = np.array([[1.0, 0, 18], [0, 1, 0]])
    assert _likeness(image, image, away) == (-1.0, None)
    assert _refine(image, image, away, 5) is away


def test_texture_too_fine_for_the_pyramid_is_left_to_the_whole(rng):
    """A chequerboard is one grey on every smaller level, where there is nothing to align by."""
    board = np.indices((160, 160)).sum(axis=0) % 2.0
    found = register_affine(board, 2 * board)
    assert found.correlation == pytest.approx(1)
    np.testing.assert_allclose(found.matrix, np.eye(3)[:2], atol=1e-6)
    stripes = np.tile(np.arange(160) // 16 % 2.0, (160, 1))
    assert np.isfinite(register_affine(stripes, board).matrix).all()


# The learned transform.


def images(batch=3, channels=2, size=20):
    return torch.randn(batch, channels, size, size + 4)


def test_it_starts_as_the_identity():
    part, batch = SpatialTransformer(channels=2), images()
    torch.testing.assert_close(part(batch), batch, atol=1e-5, rtol=0)
    torch.testing.assert_close(part.matrices(batch), torch.eye(2, 3).expand(3, 2, 3))


def test_it_samples_where_its_matrix_says():
    """Jaderberg et al. 2015, equations 1 and 5, pixel by pixel in numpy."""
    part, batch = SpatialTransformer(channels=2, limit=0.3), images().double()
    part.double()
    torch.nn.init.normal_(part.change.weight)
    theta, got = part.matrices(batch).detach().numpy(), part(batch).detach().numpy()
    assert np.abs(theta - np.eye(3)[:2]).max() <= 0.3
    assert np.abs(theta - np.eye(3)[:2]).max() > 0.01
    _, _, height, width = batch.shape
    for row in range(3):
        for y, x in [(0, 0), (3, 7), (19, 23), (11, 2)]:
            place = np.array([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1, 1])
            u, v = theta[row] @ place
            u = np.clip(((u + 1) * width - 1) / 2, 0, width - 1)
            v = np.clip(((v + 1) * height - 1) / 2, 0, height - 1)
            want = sum(
                batch[row, :, n, m].numpy() * max(0, 1 - abs(u - m)) * max(0, 1 - abs(v - n))
                for n in range(height)
                for m in range(width)
            )
            np.testing.assert_allclose(got[row, :, y, x], want, atol=1e-9)


def test_each_image_is_transformed_by_itself():
    part, batch = SpatialTransformer(channels=2), images()
    torch.nn.init.normal_(part.change.weight)
    torch.testing.assert_close(part(batch)[1:2], part(batch[1:2]), atol=1e-4, rtol=0)


def test_every_weight_learns_after_a_first_step():
    part, batch = SpatialTransformer(channels=2), images()
    optimiser = torch.optim.SGD(part.parameters(), lr=1e-4)
    for _ in range(2):
        optimiser.zero_grad()
        (part(batch) * images()).sum().backward()
        optimiser.step()
    assert all((weight.grad != 0).any() for weight in part.parameters())


def test_it_learns_to_undo_a_shift(scene):
    fixed = torch.tensor(view(scene, 0, 0, (32, 32)), dtype=torch.float32)
    part = SpatialTransformer(channels=1)
    optimiser = torch.optim.Adam(part.parameters(), lr=3e-3)
    moved = torch.stack(
        [
            torch.tensor(view(scene, down, right, (32, 32)), dtype=torch.float32)
            for down in (-3, 0, 3)
            for right in (-3, 0, 3)
        ]
    ).unsqueeze(1)
    before = (part(moved) - fixed).square().mean().item()
    for _ in range(120):
        loss = (part(moved) - fixed).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.4 * before


def test_it_can_be_exported(unwatched):
    part, batch = SpatialTransformer(channels=2).eval(), images(4)
    torch.nn.init.normal_(part.change.weight, std=0.1)
    rows = torch.export.Dim("rows", min=2, max=64)
    program = torch.export.export(part, (batch,), dynamic_shapes=({0: rows},))
    torch.testing.assert_close(program.module()(batch[:3]), part(batch[:3]))


FLAT, NOISE = np.ones((20, 20)), np.random.default_rng(4).normal(size=(20, 20))
ERRORS = {
    "flat": (
        lambda: phase_correlation(NOISE, FLAT),
        "b is one flat colour; there is nothing to align by.",
    ),
    "size": (
        lambda: phase_correlation(NOISE, NOISE[:10]),
        "a is [20, 20] and b [10, 20]; both need the same size.",
    ),
    "precision": (
        lambda: phase_correlation(NOISE, NOISE, precision=0),
        "precision=0; choose a whole number, 1 or more.",
    ),
    "shape": (
        lambda: phase_correlation(NOISE[0], NOISE),
        "a has shape [20]; expected [height, width] or [height, width, channels].",
    ),
    "matrix": (
        lambda: warp(NOISE, np.eye(3)),
        "matrix has shape [3, 3]; expected [2, 3], rows for x and y.",
    ),
    "register": (
        lambda: register_affine(NOISE, NOISE[:10]),
        "fixed is [20, 20] and moving [10, 20]; both need the same size.",
    ),
    "register flat": (
        lambda: register_affine(FLAT, NOISE),
        "fixed is one flat colour; there is nothing to align by.",
    ),
    "limit": (
        lambda: SpatialTransformer(channels=1, limit=1.0),
        "limit=1.0; choose a number between 0 and 1.",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_what_is_wrong_and_how_to_mend_it(case):
    make, message = ERRORS[case]
    with pytest.raises(AlignError) as caught:
        make()
    assert str(caught.value) == message
