"""Is a judge good enough to stand in for people? Judges, their panel and the people, measured alike.

All are held to one estimand, one annotator against the mode of k other people, on the same labelled
pairs. A judge's preference on a pair is the mean over the orders that it was shown in, so that one
which flips with the order has said "tie"; single verdicts come in where they are what is measured:
variance, repeatability, position, and being right in both orders.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from leaderboard.statistics.agreement import (
    Floors,
    against_humans,
    each_annotator,
    floors,
    labels_per_item,
    usual_k,
)
from leaderboard.statistics.alpha import alpha
from leaderboard.statistics.bias_variance import (
    BiasVariance,
    of_humans,
    of_humans_alpaca_eval,
)
from leaderboard.statistics.class_tables import (
    human_tables,
    paired_tables,
)
from leaderboard.statistics.estimates import Figure
from leaderboard.statistics.kappa import kappa
from leaderboard.statistics.uncertainty import Floats
from leaderboard.validity.humans import Humans
from leaderboard.validity.judge_figures import MAX_SINGLE, JudgeMeasure, OfJudge, Settings, by_rule
from leaderboard.validity.judged import Judged

MAX_PAIRED = 6
"""Humans up to whom every two are compared; of a crowd, two share too few pairs."""
MAX_K = 20
"""Others that an annotator is held against unless more are asked for: with more, their majority
hardly changes, and their choices grow with the square of k."""


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """The humans among themselves; `each` is in the order of `Agreement.humans`, and empty where
    these are more than `MAX_SINGLE`."""

    agreement: Figure
    each: tuple[Figure, ...]
    kappa: Figure
    """Of one human with the mode of k others."""
    alpha: Mapping[str, Figure]
    """By metric: nominal, ordinal."""
    pairwise_kappa: Mapping[str, Figure]
    """By two names: "A and B"."""
    bias_variance: Mapping[str, BiasVariance]
    alpaca_eval: Mapping[str, BiasVariance]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What `measure` found."""

    source: str
    notes: tuple[str, ...]
    sampled: str | None
    n_pairs: int
    humans: tuple[str, ...]
    k: int
    labels_per_pair: Mapping[int, int]
    shares: Mapping[str, float]
    """How often people say output_1, tie and output_2."""
    people: People
    on_same_pairs: bool
    """Whether all judges have verdicts on the same pairs."""
    judges: tuple[OfJudge, ...]
    """Judges, the panel where there are several, then floors."""
    floors: Floors
    settings: Settings


def measure(humans: Humans, judged: Judged, settings: Settings | None = None) -> Agreement:
    """Every figure of the report, from labels and verdicts alone; raises ValueError as the
    statistics do, for a k below 1 for instance."""
    settings = settings or Settings()
    names = tuple(dict.fromkeys(label.annotator for label in humans.labels))
    labels = _labels(humans, names)
    k = min(usual_k(labels), MAX_K) if settings.k is None else settings.k
    of = JudgeMeasure(humans.comparisons, labels, k, settings, judged)
    counts = [float(np.nansum(labels == value)) for value in (0.0, 0.5, 1.0)]
    return Agreement(
        source=humans.source,
        notes=tuple(humans.notes),
        sampled=humans.sampled,
        n_pairs=len(humans.comparisons),
        humans=names,
        k=k,
        labels_per_pair=labels_per_item(labels),
        shares={
            name: count / sum(counts)
            for name, count in zip(("output_1", "tie", "output_2"), counts, strict=True)
        },
        people=_people(labels, names, k, settings.level),
        on_same_pairs=_on_same_pairs(judged),
        judges=tuple(of.judge(name) for name in judged.names),
        floors=floors(labels, k, settings.level),
        settings=settings,
    )


def _labels(humans: Humans, names: Sequence[str]) -> Floats:
    """Shape (pairs, annotators), nan where one has not labelled."""
    row = {pair.id: at for at, pair in enumerate(humans.comparisons)}
    column = {name: at for at, name in enumerate(names)}
    labels = np.full((len(row), len(column)), np.nan)
    for one in humans.labels:
        labels[row[one.comparison_id], column[one.annotator]] = one.preference
    return labels


def _on_same_pairs(judged: Judged) -> bool:
    pairs: dict[str, set[str]] = defaultdict(set)
    for one in judged.verdicts:
        if one.annotator not in judged.floors and one.preference is not None:
            pairs[one.annotator].add(one.comparison_id)
    return len(set(map(frozenset, pairs.values()))) <= 1


def _people(labels: Floats, names: Sequence[str], k: int, level: float) -> People:
    tables = human_tables(labels, k)
    nobody = np.zeros(len(labels))  # the humans' own figures do not hang on the judge's verdicts
    return People(
        agreement=against_humans(nobody, labels, k, level=level).humans,
        each=each_annotator(labels, k, level) if len(names) <= MAX_SINGLE else (),
        kappa=kappa(tables, level=level),
        alpha={
            "nominal": alpha(labels, "nominal", level),
            "ordinal": alpha(labels, "ordinal", level),
        },
        pairwise_kappa={
            f"{a} and {b}": kappa(paired_tables(labels[:, i], labels[:, j]), level=level)
            for i, a in enumerate(names)
            for j, b in enumerate(names)
            if i < j
        }
        if len(names) <= MAX_PAIRED
        else {},
        bias_variance=by_rule(lambda rule: of_humans(labels, rule, k, level), k),
        alpaca_eval=by_rule(lambda rule: of_humans_alpaca_eval(labels, rule, level), k),
    )
