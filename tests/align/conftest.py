"""What only tests of torch modules need."""

from collections.abc import Iterator

import pytest
from jaxtyping import config


@pytest.fixture
def unchecked_shapes() -> Iterator[None]:
    """Without checks of tensor shapes: they would pin the symbolic sizes of torch.export."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)
