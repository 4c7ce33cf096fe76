"""What every fusion keeps, as checks that anybody can run: `plait.testing.check_fusion`."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from plait.data.rules import applied, require
from plait.model.fusion.base import Fusion
from plait.model.tokens import Fused, Tokens

WIDTH = 16
STREAMS = {"image": (8, 5), "text": (12, 7), "a.b/c": (16, 1), "sound": (4, 3), "table": (20, 4)}
"""Width and number of tokens of the streams that a fusion is tried on; a dot and a slash are no name."""


def check_fusion(
    fusion: Callable[..., Fusion], *, streams: Sequence[int] = (1, 2, 3, 5), seed: int = 0
) -> None:
    """Check a way of fusing on ragged random streams, some of which each row lacks.

    Args:
        fusion: the class, or a function with its keywords ``width`` and ``dropout``.
        streams: numbers of streams it is tried with, 5 at most.

    Raises:
        AssertionError: naming the rule.
    """
    for count in streams:
        for rule, check in FUSION_RULES.items():
            torch.manual_seed(seed)
            applied(f"{rule}, {count} streams", check, fusion, count)


def _close(got: Tensor, want: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(got, want, atol=tolerance, rtol=tolerance)


def make_fusion(fusion: Callable[..., Fusion], count: int, dropout: float = 0.0) -> Fusion:
    """A fusion of the first ``count`` of `STREAMS`, no learned vector of which is small by chance."""
    widths = {name: width for name, (width, _) in list(STREAMS.items())[:count]}
    part = fusion(widths, width=WIDTH, dropout=dropout)
    with torch.no_grad():
        for weight in part.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.1)
    return part


def random_tokens(part: Fusion, rows: int = 6) -> dict[str, Tokens]:
    """Ragged streams, in each of which some rows are missing; row 0 lacks all and row 1 none."""
    tokens = {}
    for name, width in part.widths.items():
        count = STREAMS[name][1]
        mask = torch.rand(rows, count) < 0.6
        mask &= torch.rand(rows, 1) < 0.7
        mask[0], mask[1] = False, True
        tokens[name] = Tokens(torch.randn(rows, count, width), mask)
    return tokens


def outputs_of(fused: Fused) -> dict[str, Tensor]:
    """Everything a fusion gives that has a row per sample."""
    outputs = {"vector": fused.vector, "weights": fused.weights, "trust": fused.trust}
    if fused.sequence is not None:
        outputs["sequence"] = fused.sequence.values * fused.sequence.mask.unsqueeze(-1)
    if fused.votes is not None:
        outputs["votes"] = fused.votes.values * fused.votes.mask.unsqueeze(-1)
    outputs |= fused.losses or {}
    return {name: value for name, value in outputs.items() if value is not None}


def _same(left: Fused, right: Fused) -> None:
    first, second = outputs_of(left), outputs_of(right)
    require(first.keys() == second.keys(), f"gives {sorted(first)} and then {sorted(second)}")
    if left.sequence is not None and right.sequence is not None:
        # Padding may be longer in one of them; the real tokens may not differ.
        first["sequence"] = left.sequence.values[left.sequence.mask]
        second["sequence"] = right.sequence.values[right.sequence.mask]
    for name, value in first.items():
        _close(value, second[name])


def _finite_with_gradients(fusion: Callable[..., Fusion], count: int) -> None:
    part = make_fusion(fusion, count, dropout=0.1)
    tokens = random_tokens(part)
    values = {key: stream.values.clone().requires_grad_() for key, stream in tokens.items()}
    fused = part({key: Tokens(values[key], stream.mask) for key, stream in tokens.items()})
    require(fused.vector.shape == (6, WIDTH), f"the vector is {tuple(fused.vector.shape)}")
    outputs = outputs_of(fused)
    for name, output in outputs.items():
        require(output.isfinite().all(), f"{name} is not finite")
    torch.stack([output.square().sum() for output in outputs.values()]).sum().backward()
    for name, weight in part.named_parameters():
        require(weight.grad is not None, f"the weight {name} gets no gradient")
        require(weight.grad.isfinite().all(), f"the gradient of {name} is not finite")  # type: ignore[union-attr]
    for name, value in values.items():
        gradient = value.grad
        assert gradient is not None
        require(gradient.isfinite().all(), f"the gradient of the stream {name} is not finite")
        require((gradient[~tokens[name].mask] == 0).all(), f"masked tokens of {name} get one")


def _order(fusion: Callable[..., Fusion], count: int) -> None:
    part = make_fusion(fusion, count).eval()
    tokens = random_tokens(part)
    _same(part(tokens), part(dict(reversed(tokens.items()))))


def _foreign_stream(fusion: Callable[..., Fusion], count: int) -> None:
    part = make_fusion(fusion, count).eval()
    tokens = random_tokens(part)
    other = Tokens(torch.randn(6, 2, 3), torch.ones(6, 2, dtype=torch.bool))
    _same(part(tokens), part(tokens | {"other": other}))


def _masked(fusion: Callable[..., Fusion], count: int) -> None:
    part = make_fusion(fusion, count).eval()
    tokens = random_tokens(part)
    for size in (1.0, 1e6):
        noisy = {
            key: Tokens(torch.where(mask[..., None], values, size * torch.randn_like(values)), mask)
            for key, (values, mask) in tokens.items()
        }
        _same(part(tokens), part(noisy))


def _padded(fusion: Callable[..., Fusion], count: int) -> None:
    part = make_fusion(fusion, count).eval()
    tokens = random_tokens(part)
    pad = torch.nn.functional.pad
    longer = {
        key: Tokens(pad(values, (0, 0, 0, 3), value=2.0), pad(mask, (0, 3)))
        for key, (values, mask) in tokens.items()
    }
    _same(part(tokens), part(longer))


def _missing_patterns(fusion: Callable[..., Fusion], count: int) -> None:
    """Each row's answer is the one it gets when alone, whatever its neighbours lack."""
    part = make_fusion(fusion, count).eval()
    patterns = torch.tensor([[bool(n >> bit & 1) for bit in range(count)] for n in range(2**count)])
    patterns = patterns[:: max(1, len(patterns) // 8)]
    patterns[-1] = True
    tokens = {
        key: Tokens(
            torch.randn(len(patterns), STREAMS[key][1], width),
            patterns[:, index : index + 1].expand(-1, STREAMS[key][1]),
        )
        for index, (key, width) in enumerate(part.widths.items())
    }
    whole = outputs_of(part(tokens))
    for row in range(len(patterns)):
        alone = part({k: Tokens(s.values[[row]], s.mask[[row]]) for k, s in tokens.items()})
        for key, value in outputs_of(alone).items():
            require(value.isfinite().all(), f"{key} is not finite")
            _close(value[0], whole[key][row])


def _a_stream_counts(fusion: Callable[..., Fusion], count: int) -> None:
    part = make_fusion(fusion, count).eval()
    tokens = random_tokens(part)
    first, (values, mask) = next(iter(tokens.items()))
    gone = part(tokens | {first: Tokens(values, torch.zeros_like(mask))}).vector
    require((gone[1] - part(tokens).vector[1]).abs().max() > 1e-4, f"without {first} it is equal")


def _weights(fusion: Callable[..., Fusion], count: int) -> None:
    part = make_fusion(fusion, count).eval()
    tokens = random_tokens(part)
    weights = part(tokens).weights
    if weights is None:
        return
    present = torch.stack([tokens[key].present for key in part.streams], dim=1)
    require((weights[~present] == 0).all(), "a missing stream has a weight")
    require((weights >= 0).all(), "a weight is negative")
    _close(weights.sum(dim=1), present.any(dim=1).float())


def _saved(fusion: Callable[..., Fusion], count: int) -> None:
    part, twin = make_fusion(fusion, count).eval(), make_fusion(fusion, count).eval()
    twin.load_state_dict(part.state_dict())
    tokens = random_tokens(part)
    require(torch.equal(part(tokens).vector, twin(tokens).vector), "the loaded copy differs")


def _seeded(fusion: Callable[..., Fusion], count: int) -> None:
    def run() -> Tensor:
        torch.manual_seed(5)
        part = make_fusion(fusion, count, dropout=0.3)
        return part(random_tokens(part)).vector

    require(torch.equal(run(), run()), "two runs differ")


def _dropout(fusion: Callable[..., Fusion], count: int) -> None:
    part = make_fusion(fusion, count, dropout=0.5)
    tokens = random_tokens(part)
    require(not torch.equal(part(tokens).vector, part(tokens).vector), "it does nothing")
    part.eval()
    require(torch.equal(part(tokens).vector, part(tokens).vector), "it acts in use, too")


def _channels_last(fusion: Callable[..., Fusion], count: int) -> None:
    part = make_fusion(fusion, count).eval()
    tokens = random_tokens(part)
    want = part(tokens).vector
    _close(part.to(memory_format=torch.channels_last)(tokens).vector, want)  # type: ignore[call-overload]


FUSION_RULES: Mapping[str, Callable[[Callable[..., Fusion], int], None]] = {
    "answers and gradients are finite": _finite_with_gradients,
    "the order of the streams does not matter": _order,
    "streams that are not its own are ignored": _foreign_stream,
    "masked tokens never matter": _masked,
    "more padding changes nothing": _padded,
    "every pattern of missing streams is finite, and a row is answered by itself": _missing_patterns,
    "a missing stream changes the answer": _a_stream_counts,
    "weights are shares of the present streams": _weights,
    "what is saved and loaded answers the same": _saved,
    "the same seed gives the same answers": _seeded,
    "dropout acts in training only": _dropout,
    "it can lay images out by channels, as every built model is": _channels_last,
}
