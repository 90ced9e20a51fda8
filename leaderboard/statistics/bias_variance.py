"""Bias and variance of annotators: how far the centre of their verdicts is off, and how they scatter.

The variance is how far one verdict on an item lies from the centre of others of the same annotator
(for the humans: of k other humans); the bias how far the centre of a judge's verdicts lies from
that of k humans. Rule and centre belong together: `zero_one` counts what differs from the mode,
`absolute` takes the distance from the mode, or the median where values other than 0, 0.5 and 1
occur, and `squared` the squared distance from the mean. Where there are several modes or several
choices of k, all count alike. `alpaca_eval` differs from this in the two ways that it names.
Source of the rules: AlpacaEval's `analyze.py`; Domingos (2000), A unified bias-variance
decomposition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import comb
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from leaderboard.statistics.agreement import usual_k
from leaderboard.statistics.annotator_pools import LABELS
from leaderboard.statistics.class_tables import checked_humans
from leaderboard.statistics.estimates import Figure, Undefined, mean_of
from leaderboard.statistics.uncertainty import Floats, check_level

Rule = Literal["zero_one", "absolute", "squared"]
MAX_CHOICES = 5000
"""Choices of k among an item's verdicts that are gone through; more are refused."""

Values = tuple[float, ...]
Centres = Callable[[Values, Rule], Values]


@dataclass(frozen=True, slots=True, kw_only=True)
class BiasVariance:
    """All by `rule`, in [0, 1]. `agreement` is 1 less how far one verdict lies from the centre of
    `k_humans` humans. `k_others` is how many of an annotator's own other verdicts the variance
    holds one against. The humans themselves are the centre: their bias is not a figure."""

    rule: Rule
    agreement: Figure
    bias: Figure
    variance: Figure
    k_humans: int
    k_others: int


def of_judge(
    verdicts: ArrayLike,
    humans: ArrayLike,
    rule: Rule = "absolute",
    k: int | None = None,
    level: float = 0.95,
) -> BiasVariance:
    """A judge's repeated verdicts, (items, repeats) in [0, 1], against human labels, (items,
    annotators); nan where missing. `k` is `usual_k` unless given.

    Items with fewer than k labels are left out. With one verdict an item, bias and variance cannot
    be told apart and are undefined. Raises ValueError for other numbers, shapes that do not fit and
    choices without end.
    """
    mine, labels = _checked(verdicts, humans, rule, level)
    k = usual_k(labels) if k is None else k
    return _judge(mine, labels, rule, (k, usual_k_of(mine)), level, _shared_centres)


def of_humans(
    humans: ArrayLike, rule: Rule = "absolute", k: int | None = None, level: float = 0.95
) -> BiasVariance:
    """Each human against the centre of k others; with one human nothing of it is defined."""
    labels, _ = _checked(humans, humans, rule, level)
    k = usual_k(labels) if k is None else k
    return _humans(labels, rule, k, level, _shared_centres)


def of_judge_alpaca_eval(
    verdicts: ArrayLike, humans: ArrayLike, rule: Rule = "absolute", level: float = 0.95
) -> BiasVariance:
    """The same as AlpacaEval counts, to stand beside its published figures.

    A judge is held against the centre of all human labels of an item, a human against the others;
    so with four labels the judge's task is the easier one. And of several modes its fixed seed takes
    the same every time: of two the greater, so that two against two is output 2.
    """
    mine, labels = _checked(verdicts, humans, rule, level)
    k = max((~np.isnan(labels)).sum(axis=1), default=0)
    return _judge(mine, labels, rule, (int(k), usual_k_of(mine)), level, _alpaca_eval_centres)


def of_humans_alpaca_eval(
    humans: ArrayLike, rule: Rule = "absolute", level: float = 0.95
) -> BiasVariance:
    """The humans as AlpacaEval counts: each against the others, its choice among several modes."""
    labels, _ = _checked(humans, humans, rule, level)
    return _humans(labels, rule, usual_k(labels), level, _alpaca_eval_centres)


def usual_k_of(verdicts: Floats) -> int:
    """The others that a verdict can be held against: the most frequent number of verdicts on an item
    with two or more, less one; 0 where there is none."""
    n = (~np.isnan(verdicts)).sum(axis=1)
    return int(np.bincount(n[n > 1]).argmax()) - 1 if (n > 1).any() else 0


# --------------------------------------------------------------------------------------------------
def _judge(
    mine: Floats, labels: Floats, rule: Rule, k: tuple[int, int], level: float, centres: Centres
) -> BiasVariance:
    k_humans, k_others = k
    single, centre, spread = [], [], []
    for own, of_people in zip(map(_present, mine), map(_present, labels), strict=True):
        people = _subset_centres(of_people, k_humans, rule, centres)
        single.append(_loss(own, people, rule))
        centre.append(_loss(_subset_centres(own, len(own), rule, centres), people, rule))
        spread.append(_left_out_loss(own, k_others, rule, centres) if people else np.nan)
    agreement = mean_of(1 - np.array(single), level=level)
    bias, variance = mean_of(centre, level=level), mean_of(spread, level=level)
    if not k_others:
        n = agreement.n
        alone = Undefined(reason="one verdict an item: bias and variance cannot be told apart", n=n)
        bias = variance = alone
    return BiasVariance(
        rule=rule, agreement=agreement, bias=bias, variance=variance,
        k_humans=k_humans, k_others=k_others,
    )  # fmt: skip


def _humans(labels: Floats, rule: Rule, k: int, level: float, centres: Centres) -> BiasVariance:
    spread = np.array([_left_out_loss(_present(row), k, rule, centres) for row in labels])
    few = f"no item has more than {k} human labels"
    agreement, variance = (mean_of(of, level=level, without=few) for of in (1 - spread, spread))
    bias = Undefined(
        reason="people have no bias, as it is measured from them" if variance.n else few
    )
    return BiasVariance(
        rule=rule, agreement=agreement, bias=bias, variance=variance, k_humans=k, k_others=k
    )


def _checked(
    verdicts: ArrayLike, humans: ArrayLike, rule: Rule, level: float
) -> tuple[Floats, Floats]:
    check_level(level)
    if rule not in get_args(Rule):
        raise ValueError(f"the rule must be one of {', '.join(get_args(Rule))}, not {rule}")
    labels, mine = checked_humans(humans), np.asarray(verdicts, dtype=np.float64)
    if mine.ndim != 2 or len(mine) != len(labels):
        raise ValueError(f"verdicts must be ({len(labels)} items, repeats), not {mine.shape}")
    if not (np.isnan(mine) | ((mine >= 0) & (mine <= 1))).all():
        raise ValueError("verdicts must be in [0, 1], or nan where missing")
    return mine, labels


def _present(row: Floats) -> Values:
    # In order, so that the same verdicts are found again whoever gave them.
    return tuple(sorted(row[~np.isnan(row)].tolist()))


@lru_cache(maxsize=4096)
def _loss(ours: Values, theirs: Values, rule: Rule) -> float:
    """The mean loss over all of both; nan where either is empty."""
    if not ours or not theirs:
        return float("nan")
    gaps = np.abs(np.subtract.outer(ours, theirs))
    losses = {"zero_one": gaps > 0, "absolute": gaps, "squared": gaps**2}[rule]
    return float(losses.mean())


@lru_cache(maxsize=4096)
def _left_out_loss(own: Values, k: int, rule: Rule, centres: Centres) -> float:
    """The mean loss of one verdict against the centre of k others; nan where there are too few."""
    if not 0 < k < len(own):
        return float("nan")
    losses = [
        _loss((own[i],), _subset_centres(own[:i] + own[i + 1 :], k, rule, centres), rule)
        for i in range(len(own))
    ]
    return float(np.mean(losses))


@lru_cache(maxsize=4096)
def _subset_centres(values: Values, k: int, rule: Rule, centres: Centres) -> Values:
    """The centres of all choices of k values, each choice as often as any; none where there are fewer
    than k."""
    if comb(len(values), k) > MAX_CHOICES:
        raise ValueError(f"{len(values)} verdicts on an item have too many choices of {k}")
    found: list[float] = []
    for chosen in combinations(values, k) if k else ():
        of = centres(chosen, rule)
        found += of * (6 // len(of))  # 1, 2 or 3 modes share a choice
    return tuple(found)


def _shared_centres(values: Values, rule: Rule) -> Values:
    if rule == "squared":
        return (float(np.mean(values)),)
    if rule == "absolute" and not np.isin(values, LABELS).all():
        return (float(np.median(values)),)
    said, times = np.unique(values, return_counts=True)
    modes = tuple(said[times == times.max()].tolist())
    # Of continuous verdicts none is repeated: their mode tells nothing, the median stands in.
    return modes if len(modes) <= len(LABELS) else (float(np.median(values)),)


def _alpaca_eval_centres(values: Values, rule: Rule) -> Values:
    modes = _shared_centres(values, rule)
    # What one draw with the seed 123 takes of two and of three rows, found by trying it.
    return (modes[{1: 0, 2: 1, 3: 0}[len(modes)]],)
