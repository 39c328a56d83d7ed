"""How the study's reports write shares, differences and p-values."""

from __future__ import annotations

from ...jobs.complementarity.params import INERT_IN_V2


def inert_tag(parameter: str) -> str:
    """Return what stands behind the name of a parameter that V2 does not use, else nothing."""
    return " (inert in V2)" if parameter in INERT_IN_V2 else ""


def percent(share: float) -> str:
    """Return a share as a percentage with one decimal."""
    return f"{100 * share:.1f} %"


def points(advantage: float) -> str:
    """Return a difference of success rates in percentage points, with its sign and without the unit."""
    return f"{100 * advantage:+.2f}".replace("-", "\N{MINUS SIGN}")


def signed(advantage: float) -> str:
    """Return a difference of success rates in percentage points, with its sign and the unit."""
    return f"{points(advantage)} percentage points"


def p_value(p: float) -> str:
    """Return a p-value as it is printed in a paper."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
