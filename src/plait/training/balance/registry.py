"""Which balancing method."""

from plait.config import Config
from plait.errors import ConfigError
from plait.model.loader import Loader
from plait.model.model import Model, Trainable
from plait.training.balance.base import Balance
from plait.training.balance.blending import Blending
from plait.training.balance.modulation import Agm, OgmGe


def build_balance(model: Trainable, config: Config, held: Loader | None = None) -> Balance:
    """The method that ``config.balance`` names; none where there is a single stream.

    Args:
        held: the held-out rows, in order, for ``blending``.

    Raises:
        ConfigError: ``blending`` lacks the held-out rows.
    """
    if not isinstance(model, Model) or len(model.streams) < 2 or config.balance == "none":
        return Balance()
    if config.balance == "ogm-ge":
        return OgmGe(model)
    if config.balance == "agm":
        return Agm(model)
    if held is None:
        raise ConfigError(["balance='blending' needs held-out rows: pass held to the trainer."])
    return Blending(model, held)
