"""What targets that have names for their scores share: messages, columns and replies."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from plait.data.targets.cells import short
from plait.errors import counted


def unseen(what: str, name: str, classes: Sequence[str]) -> str:
    """Why a class or label cannot be learnt or judged."""
    known = ", ".join(classes[:5]) + (", ..." if len(classes) > 5 else "")
    return f"the {what} {short(name)} was not in the training rows ({known})"


def strange_names(target: str, what: str, rows: int, names: str, known: str) -> tuple[str, str]:
    """That rows hold classes or labels that the model does not know, in English and Chinese."""
    hold = counted(rows, "row holds", "rows hold")
    return (
        f"{target}: {hold} a {what} the model does not know: {names}; no figure counts it. The model "
        f"knows {known}.",
        f"{target}：{rows:,} 行含有模型未知的类别：{names}，未计入指标。模型已知的类别：{known}。",
    )


def probability_columns(
    classes: Sequence[str], shares: Float[np.ndarray, "rows classes"]
) -> dict[str, list[Any]]:
    """Columns of a file with each class's probability."""
    return {f"p_{name}": shares[:, index].tolist() for index, name in enumerate(classes)}


def replied_probabilities(
    classes: Sequence[str], replies: Sequence[Mapping[str, Any]]
) -> Float[np.ndarray, "rows classes"]:
    """The probabilities of the server's replies."""
    rows = [[reply["probabilities"][name] for name in classes] for reply in replies]
    return np.array(rows, np.float64).reshape(len(rows), len(classes))
