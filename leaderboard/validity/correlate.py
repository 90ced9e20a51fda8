"""Does one score rank models as another does? Coefficients, intervals, what they lean on, a verdict.

The second score is the reference: people, say, where the first is a simulator of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from judges.errors import UserError
from leaderboard.statistics.rank_correlation import (
    MIN_MODELS,
    Coefficients,
    Ends,
    Floats,
    coefficients,
    from_standard_errors,
    over_both,
    over_instructions,
    over_models,
    over_models_and_errors,
)
from leaderboard.statistics.ranking import paired_differences
from leaderboard.statistics.ranking_accuracy import (
    PairwiseAccuracy,
    adjusted,
    far_apart,
    leave_one_out,
    pairwise_accuracy,
    separation,
    swapped_pairs,
)
from leaderboard.validity.scores import Pair, Side

LEVEL = 0.95
ENOUGH = 10
"""Below so many models nothing is concluded."""

Verdict = Literal["withheld", "against", "not shown", "related", "broadly alike", "alike"]
Source = Literal[
    "models",
    "instructions",
    "models and instructions",
    "models and standard errors",
    "standard errors",
]
Separated = Literal["both", "A", "B", "neither", "not known"]

ALIKE, BROADLY = 0.8, 0.5
"""Where the interval of Spearman's coefficient has to begin for a verdict; a convention of ours."""
MUCH = 0.05
"""A coefficient that falls by so much without some models leans on them."""


@dataclass(frozen=True, slots=True)
class Figures:
    """How alike two scores rank some models."""

    models: tuple[str, ...]
    coefficients: Coefficients | None
    """None where fewer than three models are there, or all score the same by a side."""
    intervals: Mapping[Source, Ends]
    """Spearman's, by what may vary."""
    accuracy: PairwiseAccuracy

    @property
    def source(self) -> Source:
        """What may vary in the interval that the verdict rests on: all that is known to."""
        both: tuple[Source, ...] = ("models and instructions", "models and standard errors")
        return next((source for source in both if source in self.intervals), "models")

    @property
    def verdict(self) -> Verdict:
        if self.coefficients is None or len(self.models) < ENOUGH:
            return "withheld"
        low, high = self.intervals[self.source]
        if high < 0:
            return "against"
        if low <= 0:
            return "not shown"
        return "alike" if low >= ALIKE else "broadly alike" if low >= BROADLY else "related"


@dataclass(frozen=True, slots=True)
class Swap:
    """A pair of models that the two sides rank the other way round, and who tells them apart at the
    5 % level, Holm-adjusted over all pairs; the p-values are those adjusted ones."""

    better_by_a: str
    better_by_b: str
    p_a: float | None
    p_b: float | None
    separated_by: Separated


@dataclass(frozen=True, slots=True)
class Correlation:
    """All that is said of two scores."""

    pair: Pair
    whole: Figures
    rest: Figures | None
    """Without the models that were left out; None where there are none."""
    removed: tuple[str, ...]
    is_named: bool
    """Whether the models left out were named, not found to lie far apart."""
    is_about_rest: bool
    """Whether the verdict is asked for without those models."""
    leave_one_out: Mapping[str, float]
    """Model → Spearman's coefficient without it, NaN where there is none."""
    swaps: tuple[Swap, ...]

    @property
    def figures(self) -> Figures:
        """What the verdict is about."""
        return self.rest if self.is_about_rest and self.rest is not None else self.whole

    @property
    def leans(self) -> bool:
        """Whether it leans on the models left out: without them the coefficient is nearer 0, by
        `MUCH` or so that the verdict is another, or none."""
        if self.rest is None or self.rest.coefficients is None or self.whole.coefficients is None:
            return False
        fall = abs(self.whole.coefficients.spearman) - abs(self.rest.coefficients.spearman)
        return fall >= MUCH or (fall > 0 and self.rest.verdict != self.whole.verdict)


def correlate(pair: Pair, *, without: Sequence[str] = (), without_far: bool = False) -> Correlation:
    """The figures of two scores, with all models and without those far apart, or those named.

    The verdict is about all models unless `without_far` is asked for or models are named. Raises
    UserError for a name that both do not have, and where fewer than three are left by names.
    """
    if unknown := [name for name in without if name not in pair.models]:
        raise UserError(f"no model {unknown[0]!r} in both; there are: {', '.join(pair.models)}")
    if without and without_far:
        raise UserError("give --without or --without-extremes")
    far = far_apart(pair.a.values, pair.b.values)
    removed = tuple(without) or tuple(
        m for m, is_far in zip(pair.models, far, strict=True) if is_far
    )
    kept = [model for model in pair.models if model not in removed]
    if without and len(kept) < MIN_MODELS:
        raise UserError(f"--without leaves {len(kept)} models; it takes at least {MIN_MODELS}")
    one_less = leave_one_out(pair.a.values, pair.b.values).tolist()
    return Correlation(
        pair=pair,
        whole=_figures(pair),
        rest=_figures(pair.of(kept)) if removed else None,
        removed=removed,
        is_named=bool(without),
        is_about_rest=bool(removed) and (bool(without) or without_far),
        leave_one_out=dict(zip(pair.models, one_less, strict=True)),
        swaps=tuple(_swaps(pair)),
    )


def _figures(pair: Pair) -> Figures:
    a, b = pair.a, pair.b
    found = coefficients(a.values, b.values)
    intervals: dict[Source, Ends] = {}
    if found is not None:
        intervals["models"] = over_models(a.values, b.values, level=LEVEL)
        if (preferences := pair.preferences()) is not None:
            intervals["instructions"] = over_instructions(*preferences, level=LEVEL)
            intervals["models and instructions"] = over_both(*preferences, level=LEVEL)
        elif a.errors is not None and b.errors is not None:
            given = (a.values, b.values, (a.errors, b.errors))
            intervals["models and standard errors"] = over_models_and_errors(*given, level=LEVEL)
            intervals["standard errors"] = from_standard_errors(*given, level=LEVEL)
    accuracy = pairwise_accuracy(a.values, b.values, _p_values(b))
    return Figures(pair.models, found, intervals, accuracy)


def _p_values(side: Side) -> Floats | None:
    """Of the difference of each pair of models: by paired tests where verdicts are there, else by
    standard errors; None where neither is."""
    if side.preferences is not None:
        return paired_differences(side.preferences).p_value
    return None if side.errors is None else separation(side.values, side.errors)


def _swaps(pair: Pair) -> list[Swap]:
    p_values = [_p_values(side) for side in (pair.a, pair.b)]
    by_a, by_b = (None if p is None else adjusted(p) for p in p_values)
    found = []
    for i, j in swapped_pairs(pair.a.values, pair.b.values):
        p_a, p_b = (None if p is None else float(p[i, j]) for p in (by_a, by_b))
        found.append(Swap(pair.models[i], pair.models[j], p_a, p_b, _separated(p_a, p_b)))
    return found


def _separated(p_a: float | None, p_b: float | None) -> Separated:
    by_a, by_b = (p is not None and p <= 1 - LEVEL + 1e-12 for p in (p_a, p_b))
    if by_a and by_b:
        return "both"
    if by_a or by_b:
        return "A" if by_a else "B"
    return "neither" if p_a is not None and p_b is not None else "not known"


def n_separated(swaps: Sequence[Swap]) -> dict[Separated, int]:
    """How many swaps are told apart by whom; those that are none are not listed."""
    kinds: tuple[Separated, ...] = ("both", "A", "B", "neither", "not known")
    counts = {kind: sum(swap.separated_by == kind for swap in swaps) for kind in kinds}
    return {kind: n for kind, n in counts.items() if n}
