"""What the projected and the aligned encoders do, written out."""

import numpy as np
import pytest
import torch
from sklearn import decomposition

from plait.errors import AlignError
from plait.model.encoders.aligned import Resampled, Straightened
from plait.model.encoders.image import ResidualCNN
from plait.model.encoders.projected import Projected
from plait.model.tokens import ColumnBatch


def images(rows=40, size=6):
    values = torch.randint(0, 256, (rows, size, size, 1), dtype=torch.uint8)
    return ColumnBatch(values, torch.ones(rows, dtype=torch.bool))


def test_a_ragged_cell_is_means_deviations_and_parts():
    part = Projected(kind="pca", channels=2, width=8, segments=3)
    lengths = torch.tensor([6, 3, 1, 0])
    mask = torch.arange(6) < lengths[:, None]
    values = torch.randn(4, 6, 2)
    got = part.flat(ColumnBatch(torch.where(mask.unsqueeze(-1), values, 9.0), mask))
    assert got.shape == (4, 2 * 5)
    for row, length in enumerate([6, 3, 1]):
        cell = values[row, :length]
        thirds = cell.repeat_interleave(3, dim=0).unflatten(0, (3, -1)).mean(dim=1)
        deviation = (cell.var(dim=0, correction=0) + 1e-6).sqrt()
        want = torch.cat([cell.mean(dim=0), deviation, thirds.flatten()])
        torch.testing.assert_close(got[row], want, atol=1e-5, rtol=1e-5)
    assert got[3].tolist() == pytest.approx([0, 0, 1e-3, 1e-3, *[0] * 6])


def test_loudness_is_taken_away_where_asked():
    values, mask = torch.randn(3, 9, 4), torch.ones(3, 9, dtype=torch.bool)
    for standardise in (False, True):
        part = Projected(kind="pca", channels=4, width=8, standardise=standardise)
        one, other = (part.flat(ColumnBatch(v, mask)) for v in (values, 2 * values + 5))
        assert torch.allclose(one, other, atol=0.02) == standardise


@pytest.mark.parametrize(("size", "side"), [(6, 6), (32, 32), (33, 17), (48, 24), (96, 32)])
def test_a_large_image_is_averaged_down(size, side):
    part = Projected(kind="pca", channels=1, size=size, width=8)
    column = images(2, size)
    flat = part.flat(column)
    assert flat.shape == (2, side * side) == (2, len(part.centre))
    step = -(-size // 32)
    corner = column.values[:, :step, :step, 0].float().mean(dim=(1, 2)) / 127.5 - 1
    torch.testing.assert_close(flat[:, 0], corner)


def test_pca_is_whitened_softly():
    part, column = Projected(kind="pca", channels=1, size=6, width=8), images()
    told = part.fit_rows(iter([(column,)]), None)
    flat = part.flat(column).numpy()
    reference = decomposition.PCA().fit(flat)
    variance = reference.explained_variance_
    want = reference.transform(flat) / np.sqrt(variance + 0.01 * variance[0])
    got = ((part.flat(column) - part.centre) @ part.projection).numpy()
    np.testing.assert_allclose(np.abs(got[:, :36]), np.abs(want[:, :36]), atol=1e-3)
    assert (part.projection[:, 36:] == 0).all()
    assert told == "pca keeps 36 of 36 dimensions, 100% of the variance, fitted to 40 training rows"


def test_lda_parts_the_classes():
    part, column = Projected(kind="lda", channels=1, size=6, width=8), images()
    classes = np.arange(40) % 2
    column.values[classes == 1, :2] //= 2
    told = part.fit_rows(iter([(column,)]), classes)
    got = ((part.flat(column) - part.centre) @ part.projection).numpy()
    means = [got[classes == c, 0].mean() for c in range(2)]
    assert abs(means[0] - means[1]) > 3 * max(got[classes == c, 0].std() for c in range(2))
    assert (part.projection[:, 1:] == 0).all()
    assert told == "lda keeps 1 of 36 dimensions, fitted to 40 training rows"


def test_lda_keeps_no_more_than_its_components():
    part = Projected(kind="lda", channels=1, size=6, width=8, components=2)
    told = part.fit_rows(iter([(images(),)]), np.arange(40) % 5)
    assert told.startswith("lda keeps 2 of 36")


def test_rows_that_are_all_alike_project_to_nothing():
    part, column = Projected(kind="pca", channels=1, size=6, width=8), images(4)
    column.values[:] = column.values[0]
    part.fit_rows(iter([(column,)]), None)
    assert ((part.flat(column) - part.centre) @ part.projection).abs().max() < 1e-4
    assert part(images(4)).values.isfinite().all()


def test_lda_of_one_class_says_so():
    part = Projected(kind="lda", channels=1, size=6, width=8)
    with pytest.raises(AlignError) as caught:
        part.fit_rows(iter([(images(5),)]), np.zeros(5, dtype=np.int64))
    assert str(caught.value) == "all 5 rows are of class 0; LDA needs two classes."


def test_the_projection_is_no_weight():
    part = Projected(kind="pca", channels=1, size=6, width=8, tokens=2)
    assert {name for name, _ in part.named_parameters()} == {
        "to_tokens.0.weight",
        "to_tokens.0.bias",
    }
    assert {"centre", "projection"} <= set(part.state_dict())
    column = images(3)
    flat = (part.flat(column) - part.centre) @ part.projection
    want = (flat @ part.to_tokens[0].weight.T + part.to_tokens[0].bias).view(3, 2, 8)
    torch.testing.assert_close(part(column).values, want)


def encoder(size=16):
    return ResidualCNN(channels=1, size=size, width=8, base=8)


def test_straightening_starts_as_the_encoder_itself():
    inner, column = encoder().eval(), images(4, 16)
    part = Straightened(inner, channels=1).eval()
    got, want = part(column), inner(column)
    assert part.width == 8
    torch.testing.assert_close(got.values, want.values, atol=1e-3, rtol=1e-3)
    assert torch.equal(got.mask, want.mask)


def test_straightening_learns_from_what_the_encoder_says():
    part = Straightened(encoder(), channels=1)
    part(images(4, 16)).values.square().sum().backward()
    assert (part.transformer.change.weight.grad != 0).any()


def test_a_clock_resamples_what_the_encoder_says():
    inner, column = encoder().eval(), images(4, 16)
    column.mask[2] = False
    got, want = Resampled(inner, count=3).eval()(column), inner(column)
    assert got.values.shape == (4, 3, 8)
    assert got.mask.sum(dim=1).tolist() == [3, 3, 0, 3]
    torch.testing.assert_close(
        got.values.mean(dim=1)[[0, 1, 3]], want.values.mean(dim=1)[[0, 1, 3]]
    )


def test_both_can_be_exported(unwatched):
    part = Resampled(Straightened(encoder(), channels=1), count=3).eval()
    column = images(4, 16)
    rows = torch.export.Dim("rows", min=2, max=64)
    shapes = ((ColumnBatch({0: rows}, {0: rows}),),)
    program = torch.export.export(part, (column,), dynamic_shapes=shapes)
    few = ColumnBatch(column.values[:3], column.mask[:3])
    torch.testing.assert_close(program.module()(few)[0], part(few).values, atol=1e-5, rtol=1e-5)
