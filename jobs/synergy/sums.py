"""Sums over samples from which every loss and metric follows: what all backends return.

A vector f8[N_FIXED + 11 + n_v] for one model and one set of samples:

    CE                       cross entropy of the synergy target, nats, fused input
    CORRECT                  right predictions of the synergy target, fused input
    CORRECT_ATTR, CORRECT_V  the same where z comes from one domain alone
    DEMI_ATTR, DEMI_V        squared errors (over columns too) of a domain decoded from its own z
    TO_ATTR, TO_V            of a domain decoded from the other domain's z
    CYCLE_ATTR, CYCLE_V      of a domain after a translation there and back
    FUSED ...                squared errors of each column of attr (11), then of v (n_v), fused input
"""

from __future__ import annotations

N_ATTR = 11
"""Columns of the attribute vector that are reconstructed."""

CE = 0
CORRECT = 1
CORRECT_ATTR = 2
CORRECT_V = 3
DEMI_ATTR = 4
DEMI_V = 5
TO_ATTR = 6
TO_V = 7
CYCLE_ATTR = 8
CYCLE_V = 9
N_FIXED = 10
FUSED = N_FIXED


def length(n_v: int) -> int:
    """Return the length of the vector for `n_v` columns of v."""
    return N_FIXED + N_ATTR + n_v
