"""The win rate of a training method, from several models that differ in their training seed alone.

A model's own interval says how its win rate would vary over other instructions. Whoever trains the
method anew also gets another model: the interval of a method has both in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from leaderboard.statistics.uncertainty import (
    Floats,
    Interval,
    check_level,
    difference_interval,
    mean_interval,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedGroup:
    """The win rate of a method over its seeds, as fractions.

    `mean` is the mean of the seeds' win rates and `seed_sd` their standard deviation (ddof=1), as
    observed: the chance of the single verdicts is part of it. `standard_error`, `low` and `high`
    are for the method's win rate over all seeds and instructions that could have been drawn.
    """

    mean: float
    seed_sd: float
    standard_error: float
    low: float
    high: float
    n_seeds: int
    n_instructions: int
    level: float


@dataclass(frozen=True, slots=True)
class _Variances:
    """What adds to the variance of a method's mean win rate."""

    seeds: float
    """As the seeds' win rates show it: with the chance of single verdicts in it."""
    instructions: float
    """As the instructions' means show it: again with the chance of single verdicts in it."""
    verdicts: float
    """The chance of single verdicts: neither the seed's nor the instruction's."""

    def of_seeds(self, n_seeds: int) -> float:
        """The seeds' share alone: all of their part where they clearly differ, as Student's t then
        needs it, and nothing where single verdicts explain it. With few seeds less is taken for
        chance: that so small a sample seems to vary by chance alone says little."""
        chance = (n_seeds - 1) / n_seeds * self.verdicts
        return self.seeds - chance**2 / self.seeds if self.seeds > chance else 0.0

    @property
    def total(self) -> float:
        return self.instructions + max(self.seeds - self.verdicts, 0.0)


def seed_group(
    preferences: Floats, *, n_rounds: int = 2000, seed: int = 0, level: float = 0.95
) -> SeedGroup:
    """The win rate of a method from `preferences`, shape (seeds, instructions), nan where missing.

    Every number is in [0, 1]; an instruction counts where any seed is judged on it. The interval is
    that of `mean_interval` on the instructions' means, low_i to high_i, widened for the seeds:

        mean - sqrt((mean - low_i)**2 + t**2 * v),  mean + sqrt((high_i - mean)**2 + t**2 * v),

    with t Student's quantile at seeds - 1 degrees of freedom and v the seeds' part of the variance
    of the mean. So seeds without a difference have the interval of one model. v comes from a
    two-way bootstrap of `n_rounds` rounds, which draws instructions and seeds anew. Its own
    variance will not do: it counts the chance of single verdicts three times, and shrinks the
    seeds' part to (seeds - 1) / seeds. So the three parts are taken from it one by one, each is
    scaled to be unbiased, and the chance of single verdicts is taken off the seeds' part.

    Raises ValueError for fewer than two seeds, a seed without a verdict and values outside [0, 1].
    Sources: Owen (2007), Annals of Applied Statistics 1, on the two-way bootstrap; Zou and Donner
    (2008), Statistics in Medicine 27, on intervals joined by the squares of their arms.
    """
    checked = _checked(preferences)
    n_seeds = len(checked)
    rates = np.nanmean(checked, axis=1)
    mean = float(rates.mean())
    parts = _variances(checked, n_rounds, seed)
    within = mean_interval(_instruction_means(checked), level)
    seeds = _squared_arm(parts, n_seeds, level)
    return SeedGroup(
        mean=mean,
        seed_sd=float(rates.std(ddof=1)),
        standard_error=float(np.sqrt(parts.total)),
        low=max(mean - float(np.hypot(within.value - within.low, np.sqrt(seeds))), 0.0),
        high=min(mean + float(np.hypot(within.high - within.value, np.sqrt(seeds))), 1.0),
        n_seeds=n_seeds,
        n_instructions=checked.shape[1],
        level=level,
    )


def group_difference(
    a: Floats, b: Floats, *, n_rounds: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval:
    """How much better method a is than b, from the preferences of their seeds.

    Both have the shape (seeds, instructions), over the same instructions, nan where missing; those
    that both are judged on count. The interval is that of `difference_interval` on the differences
    of the instructions' means, widened for the seeds of both as in `seed_group`.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError("both groups must have the shape (seeds, instructions), the same ones")
    common = ~np.isnan(a).all(axis=0) & ~np.isnan(b).all(axis=0)
    groups = [_checked(group[:, common]) for group in (a, b)]
    means = [_instruction_means(group) for group in groups]
    within = difference_interval(means[0] - means[1], level)
    parts = [_variances(group, n_rounds, seed) for group in groups]
    seeds = sum(_squared_arm(p, len(g), level) for p, g in zip(parts, groups, strict=True))
    rates = [float(np.nanmean(group, axis=1).mean()) for group in groups]
    value = rates[0] - rates[1]
    only_seeds = sum(max(p.seeds - p.verdicts, 0.0) for p in parts)
    return Interval(
        value=value,
        standard_error=float(np.hypot(within.standard_error, np.sqrt(only_seeds))),
        low=max(value - float(np.hypot(within.value - within.low, np.sqrt(seeds))), -1.0),
        high=min(value + float(np.hypot(within.high - within.value, np.sqrt(seeds))), 1.0),
        n=int(common.sum()),
        level=level,
    )


def _squared_arm(parts: _Variances, n_seeds: int, level: float) -> float:
    check_level(level)
    return float(stdtrit(n_seeds - 1, (1 + level) / 2)) ** 2 * parts.of_seeds(n_seeds)


def _instruction_means(preferences: Floats) -> Floats:
    means: Floats = np.nanmean(preferences, axis=0)
    return means


def _variances(preferences: Floats, n_rounds: int, seed: int) -> _Variances:
    """The parts of the variance of the mean of the seeds' win rates, by a two-way bootstrap.

    Every round draws the instructions and the seeds with replacement. Its mean with the instructions
    drawn, with the seeds drawn and with both give the three parts: what both move beyond what each
    moves alone is the chance of single verdicts. The factors make the parts of a table without
    missing verdicts unbiased.
    """
    if n_rounds < 1:
        raise ValueError(f"n_rounds must be at least 1, not {n_rounds}")
    n_seeds, n = preferences.shape
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n, np.full(n, 1 / n), n_rounds).astype(np.float64)
    seeds_drawn = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), n_rounds) / n_seeds
    missing = np.isnan(preferences)
    judged = drawn @ (~missing).T.astype(np.float64)
    # A round that drew no instruction of some seed says nothing; with few missing there is none.
    is_whole = (judged > 0).all(axis=1)
    judged, seeds_drawn = judged[is_whole], seeds_drawn[is_whole]
    rates = drawn[is_whole] @ np.where(missing, 0.0, preferences).T / judged
    own = np.nanmean(preferences, axis=1)
    by_instructions = rates.mean(axis=1) - own.mean()
    by_seeds = seeds_drawn @ own - own.mean()
    by_both = (seeds_drawn * rates).sum(axis=1) - own.mean() - by_instructions - by_seeds
    of_seeds, of_instructions = n_seeds / (n_seeds - 1), n / max(n - 1, 1)
    return _Variances(
        seeds=of_seeds * _mean_square(by_seeds),
        instructions=of_instructions * _mean_square(by_instructions),
        verdicts=of_seeds * of_instructions * _mean_square(by_both),
    )


def _mean_square(deviations: Floats) -> float:
    return float(np.square(deviations).sum()) / max(len(deviations), 1)


def _checked(preferences: Floats) -> Floats:
    """The preferences without the instructions that no seed is judged on."""
    if preferences.ndim != 2:
        raise ValueError(f"preferences must have two dimensions, not {preferences.ndim}")
    if len(preferences) < 2:
        raise ValueError(f"at least two seeds are needed, not {len(preferences)}")
    present = ~np.isnan(preferences)
    if not np.all((preferences[present] >= 0) & (preferences[present] <= 1)):
        raise ValueError("preferences must be in [0, 1], or nan where missing")
    if not present.any(axis=1).all():
        raise ValueError("a seed has no verdict at all")
    return preferences[:, present.any(axis=0)]
