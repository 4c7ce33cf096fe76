"""Axis names, one notation for every signature in plait.

======== ==========================================================================
axis     meaning
======== ==========================================================================
batch    rows of the table that travel together
tokens   positions in an encoder's output
width    numbers in one token, the same for every stream of a model
height   image rows, in pixels
channels image colours (1 or 3), or leads of a signal
steps    time steps of a ragged cell: audio frames, signal samples, subword ids
mels     log-mel bands of audio
frames   images of a video
classes  possible answers of a target
streams  token streams that meet in a fusion: a media column each, and one for all
         tabular columns together
======== ==========================================================================

Values of a cell that is missing are zeros, and its mask says so: a mask is True where data is real.
Annotations use jaxtyping (``Float[Tensor, "batch tokens width"]``); they cost nothing at run time and
are checked in the tests.
"""

import numpy as np
from jaxtyping import Bool, Int64, Shaped

Present = Bool[np.ndarray, " rows"]
"""True where a row's cell holds something readable."""

Lengths = Int64[np.ndarray, " rows"]
"""How many steps each row's cell has; 0 when it is missing."""

Values = Shaped[np.ndarray, "..."]
"""A prepared column: ``[rows, ...]``, or ``[all_steps, ...]`` when its cells differ in length."""
