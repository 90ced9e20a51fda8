"""What `coverage.py` simulates for rank correlations: a few models, of which others could be there.

The sizes are numbers of models. The rate of a cell is the correlation of the normal scores that the
models are drawn from; the truth is Spearman's coefficient of a million of them, or, with the models
taken as they are, that of their true win rates.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from coverage_samples import ROUNDS, Floats, Outcome, Rng, Statistic, Z
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata, spearmanr

from leaderboard.statistics.rank_correlation import (
    from_standard_errors,
    mean_scores,
    over_both,
    over_instructions,
    over_models,
    over_models_and_errors,
)

SIZES = (10, 20, 40)
RHO = (0.0, 0.5, 0.8, 0.95, 0.99)
N_ROUNDS = 400  # of our resampling, which is 2,000 in use

Interval = tuple[float, float]


def scores(rng: Rng, data: str, rho: float, n: int) -> tuple[Floats, Floats]:
    """Two scores of `n` models: normal, one model in five far off by both, or with heavy tails."""
    one, noise = rng.standard_normal((2, n))
    other = rho * one + math.sqrt(1 - rho**2) * noise
    if data == "far apart":
        far = np.where(rng.random(n) < 0.2, rng.choice([-3.0, 3.0], n), 0.0)
        return one + far, other + far
    if data == "heavy tails":
        scale = 1 / np.sqrt(rng.chisquare(3, n) / 3)
        return one * scale, other * scale
    return one, other


@cache
def true_spearman(data: str, rho: float) -> float:
    """Spearman's coefficient of all models that could be there."""
    if data == "normal":
        return 6 / math.pi * math.asin(rho / 2)
    return spearman(*scores(np.random.default_rng(0), data, rho, 1_000_000))


def spearman(one: Floats, other: Floats) -> float:
    """Of two scores, shape (models,)."""
    return float(spearmanr(one, other).statistic)


def rows_spearman(one: Floats, other: Floats) -> Floats:
    """Of each row; NaN where one is constant."""
    a, b = (rankdata(v, axis=1) - (v.shape[1] + 1) / 2 for v in (one, other))
    size = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return np.divide((a * b).sum(axis=1), size, out=np.full(len(a), np.nan), where=size > 0)


# ---------------------------------------------------------------------------------- other models
def on_fishers_scale(value: float, n: int, variance: float) -> Interval:
    """tanh(artanh(r) -+ 1.96 sqrt(variance / (n - 3))); without a width where r is 1."""
    if abs(value) > 1 - 1e-12:
        return value, value
    half = Z * math.sqrt(variance / (n - 3))
    return math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half)


def percentile(found: Floats) -> Interval:
    """The middle 95 % of what was found; NaN left out."""
    low, high = np.nanquantile(found, (0.025, 0.975))
    return float(low), float(high)


def bca(one: Floats, other: Floats, found: Floats) -> Interval:
    """Efron's bias-corrected and accelerated interval (JASA 82, 1987), by the jackknife."""
    known, value, n = found[~np.isnan(found)], spearman(one, other), len(one)
    below = ((known < value - 1e-12).sum() + (known < value + 1e-12).sum()) / 2 / len(known)
    bias = ndtri(np.clip(below, 0.5 / len(known), 1 - 0.5 / len(known)))
    keep = np.array([np.delete(np.arange(n), k) for k in range(n)])
    pulls = rows_spearman(one[keep], other[keep])
    pulls = pulls.mean() - pulls
    size = 6 * (pulls @ pulls) ** 1.5
    skew = (pulls**3).sum() / size if size > 0 else 0.0
    z = bias + np.array([-Z, Z])
    low, high = np.quantile(known, ndtr(bias + z / (1 - skew * z)))
    return float(low), float(high)


def other_models(rng: Rng, data: str, rho: float, n: int, reps: int) -> dict[str, Outcome]:
    """Scores without noise of models that are drawn anew."""
    found: dict[str, list[Interval]] = {}
    for rep in range(reps):
        one, other = scores(rng, data, rho, n)
        value, at = spearman(one, other), rng.integers(n, size=(N_ROUNDS, n))
        again = rows_spearman(one[at], other[at])
        for method, ends in {
            "ours": over_models(one, other, n_rounds=N_ROUNDS, seed=rep),
            "percentile": percentile(again),
            "BCa": bca(one, other, again),
            "Bonett–Wright": on_fishers_scale(value, n, 1 + value**2 / 2),
            "Fisher": on_fishers_scale(value, n, 1.0),
        }.items():
            found.setdefault(method, []).append(ends)
    truth = np.full(reps, true_spearman(data, rho))
    return {method: outcome(ends, truth) for method, ends in found.items()}


# ----------------------------------------------------------------------------- other instructions
def outcome(ends: list[Interval], truth: Floats) -> Outcome:
    """Whether the intervals hold the truth, and their widths in hundredths."""
    low, high = np.array(ends).T
    return (low - 1e-12 <= truth) & (truth <= high + 1e-12), 100 * (high - low)


def verdicts(
    rng: Rng, data: str, rho: float, n: int
) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Two judges' hard verdicts on the same 200 instructions, (models, instructions) each, and the
    true win rates. A standard deviation of 15 points lies between the models, or of 5."""
    spread = {"spread": 0.15, "close": 0.05}[data]
    rates = [np.clip(0.5 + spread * s, 0.01, 0.99) for s in scores(rng, "normal", rho, n)]
    common = rng.random((n, 200))  # half of the chance is the answers'
    found = [
        (np.where(rng.random((n, 200)) < 0.5, common, rng.random((n, 200))) < rate[:, None]) * 1.0
        for rate in rates
    ]
    return (found[0], found[1]), (rates[0], rates[1])


def standard_errors(both: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Of the models' win rates by both judges."""
    one, other = (v.std(axis=1, ddof=1) / math.sqrt(v.shape[1]) for v in both)
    return one, other


def of_these_models(rng: Rng, data: str, rho: float, n: int, reps: int) -> dict[str, Outcome]:
    """The models are what they are; the instructions could have been others."""
    found: dict[str, list[Interval]] = {}
    truth = np.empty(reps)
    for rep in range(reps):
        both, rates = verdicts(rng, data, rho, n)
        truth[rep] = spearman(*rates)
        one, other = mean_scores(*both)
        ours = over_instructions(*both, n_rounds=ROUNDS, seed=rep)
        found.setdefault("ours", []).append(ours)
        alone = from_standard_errors(one, other, standard_errors(both), n_rounds=N_ROUNDS)
        found.setdefault("standard errors", []).append(alone)
    return {method: outcome(ends, truth) for method, ends in found.items()}


def of_both(rng: Rng, data: str, rho: float, n: int, reps: int) -> dict[str, Outcome]:
    """Models and instructions could have been others."""
    found: dict[str, list[Interval]] = {}
    for rep in range(reps):
        both, _ = verdicts(rng, data, rho, n)
        for method, ends in {
            "ours": over_both(*both, n_rounds=ROUNDS, seed=rep),
            "from standard errors": over_models_and_errors(
                *mean_scores(*both), standard_errors(both), n_rounds=N_ROUNDS, seed=rep
            ),
            "models alone": over_models(*mean_scores(*both), n_rounds=N_ROUNDS, seed=rep),
            "instructions alone": over_instructions(*both, n_rounds=ROUNDS, seed=rep),
        }.items():
            found.setdefault(method, []).append(ends)
    truth = np.full(reps, true_spearman("normal", rho))
    return {method: outcome(ends, truth) for method, ends in found.items()}


_CLOSE = [(data, rho) for data in ("spread", "close") for rho in (0.5, 0.8, 0.95)]

STATISTICS = (
    Statistic(
        "spearman",
        "Spearman's coefficient of all models that could be there; n models",
        [(data, rho) for data in ("normal", "far apart", "heavy tails") for rho in RHO],
        other_models,
        unit="hundredths",
        sizes=SIZES,
    ),
    Statistic(
        "spearman-instructions",
        "Spearman's coefficient of n models' true win rates, from 200 instructions",
        _CLOSE,
        of_these_models,
        unit="hundredths",
        sizes=SIZES,
    ),
    Statistic(
        "spearman-both",
        "Spearman's coefficient of all models' true win rates, from n models and 200 instructions",
        _CLOSE,
        of_both,
        unit="hundredths",
        sizes=SIZES,
    ),
)
