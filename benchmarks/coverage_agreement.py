"""What `coverage.py` simulates of agreement with people: shares, Cohen's kappa, Krippendorff's alpha.

An item has a true class, and an annotator says it with a chance that is the cell's rate; otherwise
their word is drawn from the classes' shares. So the tables of two annotators, and with them kappa
and alpha of infinitely many items, are known exactly. Three classes are output 1, a tie, output 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
from coverage_fits import gather
from coverage_samples import Floats, Outcome, Rng, Statistic, Z, each, held, wald

from leaderboard.statistics.agreement import agreement_scores
from leaderboard.statistics.alpha import alpha
from leaderboard.statistics.annotator_pools import LABELS, mode_shares
from leaderboard.statistics.class_tables import human_tables, paired_tables
from leaderboard.statistics.estimates import Estimate, Figure
from leaderboard.statistics.kappa import kappa
from leaderboard.statistics.uncertainty import mean_interval

SHARES = {
    "balanced": (0.4, 0.2, 0.4),
    "skewed": (0.85, 0.05, 0.1),
    "two classes": (0.5, 0.0, 0.5),
    "two skewed classes": (0.9, 0.0, 0.1),
}
KNOWN = (0.95, 0.8, 0.4)
ROUNDS = 200  # of the bootstrap over items
STEPS = np.abs(LABELS[:, None] - LABELS)
WEIGHTS = {"none": (STEPS > 0).astype(float), "quadratic": STEPS**2}


def words(rng: Rng, data: str, known: float, shape: tuple[int, int]) -> Floats:
    """The labels of annotators, shape (items, annotators)."""
    true = rng.choice(LABELS, (shape[0], 1), p=SHARES[data])
    return np.where(rng.random(shape) < known, true, rng.choice(LABELS, shape, p=SHARES[data]))


def says(data: str, known: float) -> Floats:
    """How often an annotator says a class (columns) where one is true (rows)."""
    return known * np.eye(3) + (1 - known) * np.array(SHARES[data])


def chance_corrected(data: str, known: float, apart: Floats) -> float:
    """Kappa and alpha of infinitely many items, which are one, annotators being alike."""
    table = np.einsum("t,ta,tb->ab", SHARES[data], says(data, known), says(data, known))
    margin = table.sum(axis=1)
    return float(1 - (table * apart).sum() / (np.outer(margin, margin) * apart).sum())


def ends_of(figure: Figure) -> tuple[float, float]:
    """All is possible where a figure is undefined, which is what a report says of it then."""
    return (figure.low, figure.high) if isinstance(figure, Estimate) else (-1.0, 1.0)


def bootstrap(rng: Rng, tables: Floats, apart: Floats) -> tuple[float, float]:
    """The 2.5 % and 97.5 % quantiles of kappa over resampled items; tables of items that share a
    symmetric sum give alpha but for its small-sample term."""
    n = len(tables)
    sums = (rng.multinomial(n, np.full(n, 1 / n), ROUNDS) @ tables.reshape(n, 9)).reshape(-1, 3, 3)
    total = sums.sum(axis=(1, 2))
    by_chance = np.einsum("mi,mj,ij->m", sums.sum(axis=2), sums.sum(axis=1), apart) / total
    found = 1 - np.divide(
        (sums * apart).sum(axis=(1, 2)), by_chance, out=np.zeros(ROUNDS), where=by_chance > 0
    )
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


def agreement(rng: Rng, data: str, rate: float, n: int, reps: int) -> dict[str, Outcome]:
    """One of four annotators against the mode of the three others."""
    rows = says(data, rate)
    truth = float(np.array(SHARES[data]) @ (rows * mode_shares(rows, 3)).sum(axis=1))
    labels = words(rng, data, rate, (reps * n, 4))
    scores = agreement_scores(human_tables(labels, 3)).reshape(reps, n)
    return {
        "ours": held(each(mean_interval, scores), truth),
        "Wald": held(wald(scores), truth),
        "as if labels were independent": held(narrowed(scores), truth),
    }


def narrowed(scores: Floats) -> tuple[Floats, Floats]:
    """Wald's interval of a proportion of four labels an item."""
    mean = scores.mean(axis=1)
    half = Z * np.sqrt(mean * (1 - mean) / (4 * scores.shape[1]))
    return mean - half, mean + half


def kappas(rng: Rng, data: str, rate: float, n: int, reps: int) -> dict[str, Outcome]:
    """Cohen's kappa of two annotators, plain or with quadratic weights."""
    name, weighted, _ = data.partition(", quadratic")
    apart = WEIGHTS["quadratic" if weighted else "none"]

    def rounds() -> Iterator[dict[str, tuple[float, float]]]:
        for _ in range(reps):
            labels = words(rng, name, rate, (n, 2))
            tables = paired_tables(labels[:, 0], labels[:, 1])
            yield {
                "ours": ends_of(kappa(tables, "quadratic" if weighted else "none")),
                "bootstrap": bootstrap(rng, tables, apart),
            }

    return gather(rounds(), chance_corrected(name, rate, apart))


def alphas(rng: Rng, data: str, rate: float, n: int, reps: int) -> dict[str, Outcome]:
    """Krippendorff's alpha of three annotators who each miss one item in five."""
    name, weighted, _ = data.partition(", quadratic")
    apart = WEIGHTS["quadratic" if weighted else "none"]

    def rounds() -> Iterator[dict[str, tuple[float, float]]]:
        for _ in range(reps):
            labels = words(rng, name, rate, (n, 3))
            labels[rng.random(labels.shape) < 0.2] = np.nan
            pairs = [
                paired_tables(labels[:, a], labels[:, b])
                for a, b in product(range(3), repeat=2)
                if a != b
            ]
            several = np.maximum((~np.isnan(labels)).sum(axis=1) - 1, 1)[:, None, None]
            yield {
                "ours": ends_of(alpha(labels, "interval" if weighted else "nominal")),
                "bootstrap": bootstrap(rng, np.sum(pairs, axis=0) / several, apart),
            }

    return gather(rounds(), chance_corrected(name, rate, apart))


# With two classes all weights are the same.
CELLS = [
    (data, known)
    for data in (*SHARES, "balanced, quadratic", "skewed, quadratic")
    for known in KNOWN
]

STATISTICS = (
    Statistic(
        "agreement",
        "how often one annotator says what the mode of three others is",
        [(data, known) for data in SHARES for known in KNOWN],
        agreement,
    ),
    Statistic("kappa", "Cohen's kappa of two annotators over all items", CELLS, kappas),
    Statistic("alpha", "Krippendorff's alpha of three over all items", CELLS, alphas),
)
