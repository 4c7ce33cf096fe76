"""Which balancing method, and whether it can work here."""

from collections.abc import Sequence

from plait.config import Config
from plait.errors import ConfigError
from plait.model.loader import Loader
from plait.model.model import Model, Trainable
from plait.training.balance.base import Balance
from plait.training.balance.blending import Blending
from plait.training.balance.modulation import Agm, OgmGe


def balance_problems(config: Config, streams: Sequence[str], *, voting: bool) -> list[str]:
    """What is wrong with ``balance``, now that the streams and the fusion are known."""
    silent = config.unimodal_loss == 0 and not voting and len(streams) > 1
    if config.balance in ("blending", "ogm-ge") and silent:
        return [
            f"balance='{config.balance}' needs what each stream answers by itself, and with "
            f"unimodal_loss=0 the fusion '{config.fusion}' has no such answers. Set unimodal_loss above "
            "0, or take balance='agm'."
        ]
    return []


def build_balance(model: Trainable, config: Config, held: Loader | None = None) -> Balance:
    """The method that ``config.balance`` names; none where there is a single stream.

    Args:
        held: the held-out rows, in order, for ``blending``.

    Raises:
        ConfigError: the method lacks the streams' own answers, or the held-out rows.
    """
    if not isinstance(model, Model) or len(model.streams) < 2 or config.balance == "none":
        return Balance()
    silent = model.voices is None and not model.fusion.voting
    problems = balance_problems(
        config.model_copy(update={"unimodal_loss": 0.0 if silent else 1.0}),
        list(model.streams),
        voting=model.fusion.voting,
    )
    if config.balance == "blending" and held is None:
        problems.append("balance='blending' needs held-out rows: pass held to the trainer.")
    if problems:
        raise ConfigError(problems)
    if config.balance == "ogm-ge":
        return OgmGe(model)
    if config.balance == "agm":
        return Agm(model)
    assert held is not None
    return Blending(model, held)
