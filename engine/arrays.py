"""Types of arrays that pass between modules: numpy's, so that nobody needs torch to hand on numbers."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
