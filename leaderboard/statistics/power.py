"""How many instructions a difference needs, and which difference so many instructions can show.

The plan is that of the paired t test, by the normal approximation; `paired_p`, which decides on a
board, comes to the same where more than a few verdicts differ. `deviation` is everywhere the standard deviation of the paired differences.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from leaderboard.statistics.uncertainty import check_level

MOST_INSTRUCTIONS = 10**9
"""A difference that needs more cannot be shown."""


def smallest_detectable(
    deviation: float, n: int, *, level: float = 0.95, power: float = 0.8
) -> float:
    """The smallest mean paired difference that n instructions detect with this power.

    (t + z) * s / sqrt(n), with t Student's quantile of the two-sided test at 1 - level and n - 1
    degrees of freedom, z the normal quantile of the power and s the deviation. It can lie above 1,
    the largest difference there is.
    """
    if not 0 < power < 1:
        raise ValueError(f"power must be between 0 and 1, not {power}")
    return _critical(deviation, n, level) + float(ndtri(power) * deviation / np.sqrt(n))


def power_at(deviation: float, n: int, difference: float, *, level: float = 0.95) -> float:
    """The chance that the test finds a true `difference`, and with the right sign."""
    beyond = abs(difference) - _critical(deviation, n, level)
    if deviation == 0:
        return float(beyond >= 0)
    return float(ndtr(beyond * np.sqrt(n) / deviation))


def instructions_needed(
    deviation: float, difference: float, *, level: float = 0.95, power: float = 0.8
) -> int | None:
    """The fewest instructions that detect `difference` with this power; None where a billion would
    not do."""
    if not difference > 0:
        raise ValueError(f"the difference must be above 0, not {difference}")
    few, enough = 0, MOST_INSTRUCTIONS + 1
    while enough - few > 1:
        middle = (few + enough) // 2
        if smallest_detectable(deviation, middle, level=level, power=power) > difference:
            few = middle
        else:
            enough = middle
    return enough if enough <= MOST_INSTRUCTIONS else None


def half_width(deviation: float, n: int, *, level: float = 0.95) -> float:
    """Half of the interval of one model's win rate, t * s / sqrt(n), s being the standard
    deviation of its preferences."""
    return _critical(deviation, n, level)


def all_pairs_level(n_models: int, level: float = 0.95) -> float:
    """The level at which one pair must be tested to be told apart among all pairs of so many rows.

    It is that of the first step of Holm's method; once other pairs are told apart, less is asked.
    """
    check_level(level)
    return 1 - (1 - level) / max(n_models * (n_models - 1) // 2, 1)


def _critical(deviation: float, n: int, level: float) -> float:
    """The observed mean difference from which on the test says that there is one."""
    if not deviation >= 0:
        raise ValueError(f"the deviation must be at least 0, not {deviation}")
    return _quantile(n, level) * deviation / float(np.sqrt(n))


def _quantile(n: int, level: float) -> float:
    check_level(level)
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    return float(stdtrit(max(n - 1, 1), (1 + level) / 2))
