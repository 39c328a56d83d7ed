"""exp(x) for x <= 0, written so that a loop over it compiles to vector instructions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .compilation import compiled

LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
ROUNDER = 6755399441055744.0
SMALLEST = -708.0
C2, C3, C4, C5, C6, C7 = (1.0 / math.factorial(k) for k in range(2, 8))
C8, C9, C10, C11, C12, C13 = (1.0 / math.factorial(k) for k in range(8, 14))


@compiled
def exponential(x: Any) -> Any:
    """Return e^x for x <= 0, within 1.5 units in the last place; below -708 it stays at e^-708 = 3e-308.

    Cody and Waite's reduction x = n ln 2 + r, then the Taylor polynomial; n is in the low bits of x log2(e) + 1.5 2^52.
    """
    x = x if x > SMALLEST else SMALLEST
    shifted = x * LOG2_E + ROUNDER
    n = shifted - ROUNDER
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    p = C9 + r * (C10 + r * (C11 + r * (C12 + r * C13)))
    p = C4 + r * (C5 + r * (C6 + r * (C7 + r * (C8 + r * p))))
    p = 1.0 + r * (1.0 + r * (C2 + r * (C3 + r * p)))
    exponent = np.float64(shifted).view(np.int64) + np.int64(1023)
    return p * np.int64(exponent << np.int64(52)).view(np.float64)
