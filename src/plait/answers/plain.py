"""Results as JSON values."""

from typing import Any

import numpy as np

from plait.data.targets.scores import Steps


def plain(value: Any) -> Any:
    """Lists, numbers and text only; NaN and infinity as null, arrays as lists."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Steps):
        return plain(value.to_json())
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
