"""A win rate from a few human labels and all verdicts of a judge: prediction-powered inference.

A human looked at some of a board's instructions, drawn at random, the judge at all. The labels
alone are unbiased and few, the judge is everywhere and may be wrong; together they are unbiased,
whatever the judge's mistakes, and as precise as the judge is near to people.
Source: Angelopoulos, Duchi and Zrnic (2023), PPI++, arXiv 2311.01453.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from leaderboard.statistics.power import half_width
from leaderboard.statistics.uncertainty import (
    ROUNDING,
    Floats,
    Interval,
    check_level,
    mean_interval,
    spread_interval,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchored:
    """A win rate in [0, 1] that labels and judge make together, and what it rests on.

    `weight` is PPI++'s lambda, 0 where the judge adds nothing: `rate` is then `labels_only`.
    `correlation` is Pearson's, of label and judge where both are there, nan where either is
    constant.
    """

    rate: Interval
    labels_only: Interval
    weight: float
    correlation: float
    n_labelled: int
    n_items: int
    n_unjudged: int
    """Labelled instructions without a preference of the judge."""

    @property
    def gain(self) -> float:
        """How many times as many labels would do the same without the judge: the ratio of the two
        variances, at least 1."""
        if self.weight == 0:
            return 1.0
        return (self.labels_only.standard_error / self.rate.standard_error) ** 2


def anchored_rate(labels: ArrayLike, judge: ArrayLike, level: float = 0.95) -> Anchored:
    """The win rate that PPI++ makes of `labels` and `judge`, both of shape (N,) and in [0, 1].

    One entry an instruction: `labels` are nan where nobody was asked, which must have been left to
    chance; `judge` is nan where it has no preference. With n labelled instructions L and the other
    ones U,

        value = mean_L(y) + lambda * (mean_U(f) - mean_L(f)),
        lambda = cov_L(y, f) / ((1 + n / (N - n)) * var_L(f)),

    lambda making the variance least. PPI++ takes var(f) over all instructions; over L it makes the
    value that of a regression, which a judge of skewed preferences does not bias. Where the judge is
    silent, f is the mean of what it said: the label counts in full, and the value stays unbiased,
    but for a part of the order of 1 / n, as it is for any f.

    The squared standard error is s2 / n + lambda**2 * var(f) / (N - n), with s2 the variance of
    y - lambda * f over L, and n - 2 in its denominator as lambda is estimated. The interval is that
    of `spread_interval`, for n labels. What it allows for values not drawn goes by the labels other
    than the most frequent one or, if fewer, those that the regression on f misses by 0.5 or more: a
    judge that seldom errs has errors that few labels do not show. Where the error is not below that
    of the labels alone, they stand alone: with all instructions labelled, or a judge that says
    nothing of them.

    Raises ValueError for arrays of different shapes, numbers outside [0, 1], and fewer than three
    labels.
    """
    y, f = _rates(labels, "labels"), _rates(judge, "judge")
    if y.shape != f.shape:
        raise ValueError(f"{y.size} labels and {f.size} preferences of the judge; equally many")
    labelled, judged = ~np.isnan(y), ~np.isnan(f)
    n, n_rest = int(labelled.sum()), int((~labelled).sum())
    if n < 3:
        raise ValueError(f"{n} labels; three are needed")
    both = labelled & judged
    alone = mean_interval(y[labelled], level)
    rate, weight = alone, 0.0
    f = np.where(judged, f, f[judged].mean() if judged.any() else 0.5)
    own, seen = y[labelled], f[labelled]
    if n_rest and seen.std() > ROUNDING:
        from_mean = seen - seen.mean()
        slope = float(own @ from_mean / (from_mean @ from_mean))
        tuned = slope / (1 + n / n_rest)
        left = own - tuned * seen
        residual = float(np.square(left - left.mean()).sum()) / (n - 2)
        error = float(np.sqrt(residual / n + tuned**2 * f.var(ddof=1) / n_rest))
        if error < alone.standard_error:
            value = float(own.mean() + tuned * (f[~labelled].mean() - seen.mean()))
            missed = np.abs(own - own.mean() - slope * from_mean) >= 0.5 - ROUNDING
            n_others = min(n - int(np.unique(own, return_counts=True)[1].max()), int(missed.sum()))
            rate = spread_interval(min(max(value, 0.0), 1.0), error, n, n_others, level)
            weight = tuned
    return Anchored(
        rate=rate,
        labels_only=alone,
        weight=weight,
        correlation=_correlation(y[both], f[both]),
        n_labelled=n,
        n_items=y.size,
        n_unjudged=n - int(both.sum()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RoganGladen:
    """A win rate corrected for a judge's errors: `sensitivity` is how often it sees a win of the
    `n_wins` labelled ones, `specificity` how often it sees none in the `n_losses`."""

    value: float
    low: float
    high: float
    level: float
    sensitivity: float
    specificity: float
    n_wins: int
    n_losses: int


def rogan_gladen(labels: ArrayLike, judge: ArrayLike, level: float = 0.95) -> RoganGladen | None:
    """The win rate that the judge's share of wins stands for, given its errors on the labels.

    `labels`, shape (N,), are 0, 1, or nan where nobody was asked; `judge`, shape (N,), says win
    above 0.5, and nothing where it is nan. With p its share of wins where nobody was asked, se and
    sp its sensitivity and specificity where somebody was,

        value = (p + sp - 1) / (se + sp - 1), cut to [0, 1].

    The interval is that of Lang and Reiczigel for three independent samples: z**2 is added to the
    count behind p, half of it to its wins, 2 and 1 to those behind se and sp; then value + shift -+
    z * error, with error**2 the variance by the delta method and
    shift = 2 * z**2 * (value * se * (1 - se) / n_wins - (1 - value) * sp * (1 - sp) / n_losses).

    None where it is not defined: no verdict without a label, no labelled win or no loss that the
    judge saw, se + sp <= 1, a judge no better than chance, or an interval wholly outside of [0, 1],
    a share of wins that such errors do not explain. Raises ValueError for other labels.
    Sources: Rogan and Gladen (1978), American Journal of Epidemiology 107; Lang and Reiczigel
    (2014), Preventive Veterinary Medicine 113.
    """
    check_level(level)
    y, f = _rates(labels, "labels"), _rates(judge, "judge")
    if not np.isin(y[~np.isnan(y)], (0, 1)).all():
        raise ValueError("a label is neither 0 nor 1")
    judged = ~np.isnan(f)
    says, rest = f > 0.5, np.isnan(y) & judged
    won, lost = says[(y == 1) & judged], ~says[(y == 0) & judged]
    if not (rest.any() and won.size and lost.size and won.mean() + lost.mean() > 1):
        return None
    wins, n = int(says[rest].sum()), int(rest.sum())
    youden = won.mean() + lost.mean() - 1
    value = min(max((wins / n + lost.mean() - 1) / youden, 0.0), 1.0)

    z = float(ndtri((1 + level) / 2))
    n_p, n_se, n_sp = n + z**2, won.size + 2, lost.size + 2
    p, se, sp = (wins + z**2 / 2) / n_p, (won.sum() + 1) / n_se, (lost.sum() + 1) / n_sp
    centre = (p + sp - 1) / (se + sp - 1)
    of_se, of_sp = se * (1 - se) / n_se, sp * (1 - sp) / n_sp
    variance = p * (1 - p) / n_p + centre**2 * of_se + (1 - centre) ** 2 * of_sp
    middle = centre + 2 * z**2 * (centre * of_se - (1 - centre) * of_sp)
    reach = z * float(np.sqrt(variance)) / (se + sp - 1)
    if not -reach < middle < 1 + reach:
        return None
    return RoganGladen(
        value=float(value),
        low=float(min(max(middle - reach, 0.0), value)),
        high=float(max(min(middle + reach, 1.0), value)),
        level=level,
        sensitivity=float(won.mean()),
        specificity=float(lost.mean()),
        n_wins=won.size,
        n_losses=lost.size,
    )


# ---------------------------------------------------------------------------------------- planning
def expected_ratio(correlation: float, n_labelled: int, n_items: int) -> float:
    """How wide the interval is beside that of the labels alone, sqrt(1 - rho**2 * (1 - n / N)).

    It is what the variance above comes to at the best lambda, cov / ((1 + n / (N - n)) var(f)):
    var(y) / n * (1 - rho**2 * (N - n) / N). Raises ValueError for what cannot be.
    """
    if not -1 <= correlation <= 1:
        raise ValueError(f"the correlation must be between -1 and 1, not {correlation}")
    if not 1 <= n_labelled <= n_items:
        raise ValueError(f"{n_labelled} labels of {n_items} instructions are not possible")
    return float(np.sqrt(1 - correlation**2 * (1 - n_labelled / n_items)))


def expected_half_width(
    deviation: float, correlation: float, n_labelled: int, n_items: int, level: float = 0.95
) -> float:
    """Half of the interval that so many labels will have, `deviation` being theirs."""
    alone = half_width(deviation, n_labelled, level=level)
    return alone * expected_ratio(correlation, n_labelled, n_items)


def labels_needed(
    deviation: float, correlation: float, half: float, n_items: int, level: float = 0.95
) -> int | None:
    """The fewest labels that bring half of the interval down to `half`; None where all of the
    instructions would not do."""
    few, enough = 0, n_items + 1
    while enough - few > 1:
        middle = (few + enough) // 2
        if expected_half_width(deviation, correlation, middle, n_items, level) > half:
            few = middle
        else:
            enough = middle
    return enough if enough <= n_items else None


def _correlation(y: Floats, f: Floats) -> float:
    if y.size < 2 or y.std() < ROUNDING or f.std() < ROUNDING:
        return float("nan")
    return float(np.clip(np.mean((y - y.mean()) * (f - f.mean())) / (y.std() * f.std()), -1, 1))


def _rates(values: ArrayLike, what: str) -> Floats:
    """The values as floats; raises ValueError unless they are one row of numbers in [0, 1] or nan."""
    rates = np.asarray(values, dtype=np.float64)
    if rates.ndim != 1:
        raise ValueError(f"{what} must have one dimension, not {rates.ndim}")
    outside = (rates < 0) | (rates > 1)  # false for nan
    if outside.any():
        at = int(np.argmax(outside))
        raise ValueError(f"{what}: value {at} is {rates[at]}, not in [0, 1]")
    return rates
