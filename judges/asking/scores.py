"""From the scores of two answers, each looked at alone, to a preference.

Scores s1 and s2 in [0, 1] become the probability that the second answer is better by the logistic
map

    p = 1 / (1 + exp(-(s2 - s1) / spread)),    and p = 0.5 where |s2 - s1| <= tie_band

which is monotone in the difference, 0.5 for answers of equal quality, and maps swapped answers to
1 - p. With a spread of 0.25, a difference of a quarter gives 0.73, one of a half 0.88.
"""

from __future__ import annotations

import math

from judges.errors import UserError


def preference(score_1: float, score_2: float, *, spread: float, tie_band: float) -> float:
    """The probability that the second answer is better."""
    difference = score_2 - score_1
    # The slack keeps a difference that equals the band but for rounding inside it.
    if abs(difference) <= tie_band + 1e-9:
        return 0.5
    # The logistic function, in a form that never overflows.
    return (1 + math.tanh(difference / spread / 2)) / 2


def check_map(judge: str, *, spread: float, tie_band: float, called: str = "spread") -> None:
    """Raises UserError for settings that make no map; `called` is the spread's name in the file."""
    if not 0 < spread < math.inf:
        raise UserError(f"judge {judge}: {called} must lie above 0, not {spread}")
    if not 0 <= tie_band < 1:
        raise UserError(f"judge {judge}: tie_band must lie in 0..1, not {tie_band}")
