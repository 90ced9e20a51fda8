"""Every figure of one judge against labelled pairs: agreement, bias, what it prefers, what it costs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from judges.schema import Annotation, Comparison
from leaderboard.rows.columns import MEASURES
from leaderboard.statistics.against_majority import (
    ByOrder,
    Unparsed,
    by_order,
    classes_against_majority,
)
from leaderboard.statistics.agreement import (
    AgainstHumans,
    against_humans,
    labels_per_item,
    with_each_human,
)
from leaderboard.statistics.alternative_annotator import AlternativeAnnotator, alternative_annotator
from leaderboard.statistics.annotator_pools import LABELS
from leaderboard.statistics.bias_variance import (
    BiasVariance,
    of_judge,
    of_judge_alpaca_eval,
)
from leaderboard.statistics.class_tables import as_classes, majority_tables
from leaderboard.statistics.estimates import Figure, Undefined, difference_of, mean_of
from leaderboard.statistics.kappa import Classification, Weights, kappa
from leaderboard.statistics.preference_biases import (
    PreferredShare,
    preferred_share,
)
from leaderboard.statistics.preference_calibration import Calibration, calibration
from leaderboard.statistics.repeatability import Repeatability, repeatability
from leaderboard.statistics.uncertainty import Floats
from leaderboard.validity.answer_features import more_of, own_answers
from leaderboard.validity.judged import Judged

Rule = Literal["zero_one", "absolute", "squared"]
RULES: tuple[Rule, ...] = ("zero_one", "absolute", "squared")
WEIGHTS: tuple[Weights, ...] = ("none", "linear", "quadratic")
CONSTANTS = {"always output 1": 0.0, "always a tie": 0.5, "always output 2": 1.0}
"""Floors by what they always say; a tie has half credit everywhere, as a coin has on average."""
MAX_SINGLE = 200
"""Humans up to whom one by one is measured: of a crowd, each has labelled little."""
HALF_CREDIT = 1 - np.abs(LABELS[:, None] - LABELS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a reader of the figures has to know beside the data."""

    k: int | None = None
    """Other people that an annotator is held against; None: as many as the data have."""
    epsilon: float = 0.2
    """What the alternative annotator test forgives a judge for being cheaper."""
    unparsed: Unparsed = "missing"
    """How missing verdicts count in the confusion matrix and the figures by order."""
    level: float = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class InCategory:
    """One category's pairs that the judge was shown."""

    n: int
    judge: Figure
    humans: Figure
    orders: ByOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class OfJudge:
    """All that is known of one judge, of the panel, or of a floor that does not read."""

    name: str
    is_floor: bool
    judge: str | None
    """Digest of its identity, where it was asked now."""
    model: str
    n_pairs: int
    """Pairs that it was shown, or has a recorded verdict on."""
    n_verdicts: int
    n_missing: int
    """Of these verdicts."""
    against: AgainstHumans
    floor: str
    """The best of those that do not read, on the pairs that it has judged."""
    over_floor: Figure
    """Its `half_credit` less that floor's, pair by pair."""
    half_credit: Figure
    """Agreement with k humans with half a point where one side of the two is a tie: a judge that
    flips with the order, whose verdict is a tie then, is held to be undecided and not wrong."""
    each: tuple[Figure, ...]
    """How often it says what each human says, in the order of `Agreement.humans`."""
    kappa: Mapping[str, Figure]
    """By weights; against the mode of k humans."""
    classes: Classification
    """Against the mode of all of a pair's labels."""
    orders: ByOrder
    """Against the mode of all of a pair's labels."""
    categories: Mapping[str, InCategory]
    bias_variance: Mapping[str, BiasVariance]
    alpaca_eval: Mapping[str, BiasVariance]
    prefers: Mapping[str, PreferredShare]
    """By what the one answer has more of: length, lists, markdown; what is shown first; self, family."""
    repeats: Repeatability
    calibration: Calibration | Undefined
    replaces: AlternativeAnnotator
    usd_per_1000: float | None
    seconds_per_1000: float | None


class JudgeMeasure:
    """Judges, one after the other, on the same labelled pairs."""

    def __init__(
        self,
        pairs: Sequence[Comparison],
        labels: Floats,
        k: int,
        settings: Settings,
        judged: Judged,
    ) -> None:
        self.pairs, self.labels, self.k, self.settings = pairs, labels, k, settings
        self.judged = judged
        self.row = {pair.id: at for at, pair in enumerate(pairs)}
        self.features = {name: more_of(name, pairs) for name in MEASURES}
        self.categories = np.array([pair.instruction.category for pair in pairs])
        self.verdicts: dict[str, list[Annotation]] = defaultdict(list)
        for verdict in judged.verdicts:
            if verdict.comparison_id in self.row:
                self.verdicts[verdict.annotator].append(verdict)
        alone = all(n == 1 for n in labels_per_item(labels))
        self.has_enough = (~np.isnan(labels)).sum(axis=1) >= k + (not alone)
        self.is_single = labels.shape[1] <= MAX_SINGLE
        self.floors = self._floors()

    def judge(self, name: str) -> OfJudge:
        own, judged = self.verdicts[name], self.judged
        level, k = self.settings.level, self.k
        single = self._verdicts(own)
        mean = self._preferences(own, single)
        original, swapped = (self._in_order(own, order) for order in ("original", "swapped"))
        was_shown = self._was_shown(own)
        tables = majority_tables(as_classes(mean), self.labels, k)
        right = self._half_right(mean)
        # Bias and agreement by rules rest on the pairs that `against` does.
        used = np.where((self.has_enough & ~np.isnan(mean))[:, None], single, np.nan)
        floor, over_floor = self._over_floor(right, name in judged.floors)
        return OfJudge(
            name=name,
            is_floor=name in judged.floors,
            judge=next((verdict.judge for verdict in own if verdict.judge), None),
            model=judged.models.get(name, ""),
            n_pairs=int(was_shown.sum()),
            n_verdicts=len(own),
            n_missing=sum(verdict.preference is None for verdict in own),
            against=against_humans(mean, self.labels, k, level=level),
            floor=floor,
            over_floor=over_floor,
            half_credit=mean_of(right, level=level),
            each=with_each_human(mean, self.labels, level=level) if self.is_single else (),
            kappa={weights: kappa(tables, weights, level) for weights in WEIGHTS},
            classes=classes_against_majority(
                mean[was_shown], self.labels[was_shown], self.settings.unparsed, level=level
            ),
            orders=self._by_order(original, swapped, was_shown),
            categories={
                category: self._in_category(category, mean, original, swapped, was_shown)
                for category in dict.fromkeys(self.categories[was_shown].tolist())
                if category
            },
            bias_variance=by_rule(lambda rule: of_judge(used, self.labels, rule, k, level), k),
            alpaca_eval=by_rule(
                lambda rule: of_judge_alpaca_eval(single, self.labels, rule, level), k
            ),
            prefers=self._prefers(name, own, mean),
            repeats=repeatability(single, level=level),
            calibration=self._calibration(single, mean),
            replaces=self._replaces(mean),
            usd_per_1000=_usd_per_1000(own, name in judged.free),
            seconds_per_1000=_per_1000(judged.seconds.get(name), own),
        )

    def _floors(self) -> dict[str, Floats]:
        """How far those are right that do not read."""
        found = {name: np.full(len(self.pairs), value) for name, value in CONSTANTS.items()}
        for name in self.judged.floors:
            own = self.verdicts[name]
            found[name] = self._preferences(own, self._verdicts(own))
        return {name: self._half_right(of) for name, of in found.items()}

    def _half_right(self, preferences: Floats) -> Floats:
        """By how much each is the mode of k humans, half where one of the two is a tie; nan where
        there is no preference, or no other k humans whom a human could be held against."""
        tables = majority_tables(as_classes(preferences), self.labels, self.k)
        there = self.has_enough & ~np.isnan(preferences)
        return np.where(there, (tables * HALF_CREDIT).sum(axis=(1, 2)), np.nan)

    def _over_floor(self, right: Floats, is_floor: bool) -> tuple[str, Figure]:
        there = ~np.isnan(right)
        if is_floor or not there.any():
            why = "it is a floor itself" if is_floor else "no item has a verdict and enough labels"
            return "", Undefined(reason=why)
        known = {name: float(of[there].mean()) for name, of in self.floors.items()}
        best = max(known, key=lambda name: known[name])
        return best, difference_of(right, self.floors[best], level=self.settings.level)

    def _verdicts(self, own: Sequence[Annotation]) -> Floats:
        """All verdicts on a pair, shape (pairs, most verdicts on one), nan where there is none."""
        of: list[list[float]] = [[] for _ in self.pairs]
        for verdict in own:
            if verdict.preference is not None:
                of[self.row[verdict.comparison_id]].append(verdict.preference)
        single = np.full((len(of), max(map(len, of), default=0) or 1), np.nan)
        for at, found in enumerate(of):
            single[at, : len(found)] = found
        return single

    def _preferences(self, own: Sequence[Annotation], single: Floats) -> Floats:
        """The mean of a pair's verdicts, none where one of them is missing: that of the others is
        not the judge's."""
        mean = _mean(single)
        mean[[self.row[v.comparison_id] for v in own if v.preference is None]] = np.nan
        return mean

    def _was_shown(self, own: Sequence[Annotation]) -> NDArray[np.bool_]:
        """Where it has a verdict, missing ones included: of other pairs it can be neither right nor
        wrong."""
        shown = np.zeros(len(self.pairs), dtype=bool)
        shown[[self.row[verdict.comparison_id] for verdict in own]] = True
        return shown

    def _in_order(self, own: Sequence[Annotation], order: str) -> Floats:
        found = np.full(len(self.pairs), np.nan)
        for verdict in own:
            if verdict.order == order and verdict.preference is not None:
                found[self.row[verdict.comparison_id]] = verdict.preference
        return found

    def _by_order(self, original: Floats, swapped: Floats, there: NDArray[np.bool_]) -> ByOrder:
        # A judge that was never shown a pair in an order is not wrong in it.
        is_told = not (np.isnan(original).all() or np.isnan(swapped).all())
        return by_order(
            original[there],
            swapped[there],
            self.labels[there],
            self.settings.unparsed if is_told else "missing",
            level=self.settings.level,
        )

    def _in_category(
        self,
        category: str,
        mean: Floats,
        original: Floats,
        swapped: Floats,
        was_shown: NDArray[np.bool_],
    ) -> InCategory:
        there = (self.categories == category) & was_shown
        found = against_humans(mean[there], self.labels[there], self.k, level=self.settings.level)
        return InCategory(
            n=int(there.sum()),
            judge=found.judge,
            humans=found.humans,
            orders=self._by_order(original, swapped, there),
        )

    def _prefers(
        self, name: str, own: Sequence[Annotation], mean: Floats
    ) -> dict[str, PreferredShare]:
        level = self.settings.level
        found = {
            what: preferred_share(mean, self.labels, feature, level=level)
            for what, feature in self.features.items()
        }
        shown = [v for v in own if v.order != "none"]
        if shown:
            at = np.array([self.row[verdict.comparison_id] for verdict in shown])
            said = np.array([np.nan if v.preference is None else v.preference for v in shown])
            first = np.array([-1.0 if v.order == "original" else 1.0 for v in shown])
            found["shown first"] = preferred_share(
                said, self.labels[at], first, items=at, level=level
            )
        model, family = (of.get(name, "") for of in (self.judged.models, self.judged.families))
        for what, feature in own_answers(model, family, self.pairs).items():
            found[what] = preferred_share(mean, self.labels, feature, level=level)
        return found

    def _replaces(self, mean: Floats) -> AlternativeAnnotator:
        epsilon, level = self.settings.epsilon, self.settings.level
        if self.is_single:
            return alternative_annotator(mean, self.labels, epsilon, level=level)
        none = Undefined(reason=f"more than {MAX_SINGLE} human annotators, taken one by one")
        refused = alternative_annotator(mean, self.labels[:, :1], epsilon, level=level)
        return replace(refused, reason=none.reason, humans=(), advantage=none)

    def _calibration(self, single: Floats, mean: Floats) -> Calibration | Undefined:
        if np.isin(single[~np.isnan(single)], (0.0, 0.5, 1.0)).all():
            return Undefined(reason="its verdicts are a side or a tie, not a probability")
        return calibration(mean, self.labels, level=self.settings.level)


def by_rule(make: Callable[[Rule], BiasVariance], k: int) -> dict[str, BiasVariance]:
    """Bias and variance by every rule; undefined where a crowd has too many choices of k."""
    found: dict[str, BiasVariance] = {}
    for rule in RULES:
        try:
            found[rule] = make(rule)
        except ValueError as error:
            none = Undefined(reason=str(error))
            found[rule] = BiasVariance(
                rule=rule, agreement=none, bias=none, variance=none, k_humans=k, k_others=0
            )
    return found


def _mean(single: Floats) -> Floats:
    """The mean of each pair's verdicts, nan where there is none."""
    there = ~np.isnan(single)
    count = there.sum(axis=1)
    total = np.where(there, single, 0.0).sum(axis=1)
    mean: Floats = np.divide(total, count, out=np.full(len(single), np.nan), where=count > 0)
    return mean


def _usd_per_1000(own: Sequence[Annotation], is_free: bool) -> float | None:
    """None where nothing was asked, and where a price is not known."""
    if is_free:
        return 0.0
    asked = [verdict for verdict in own if verdict.n_calls or verdict.cost_usd is not None]
    known = [verdict.cost_usd for verdict in asked if verdict.cost_usd is not None]
    return _per_1000(sum(known), asked) if len(known) == len(asked) else None


def _per_1000(total: float | None, own: Sequence[Annotation]) -> float | None:
    """Of a total over the judge's verdicts, what a thousand pairs come to."""
    pairs = {verdict.comparison_id for verdict in own}
    return None if total is None or not pairs else 1000 * total / len(pairs)
