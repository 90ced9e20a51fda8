"""What `coverage.py` simulates where the estimate is a plain mean: win rates, differences, ranks.

A statistic is a name, its estimand, and a function that draws many repetitions of one cell and
says for each method whether its interval held the truth and how wide it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import betaincinv

from leaderboard.statistics.ranking import paired_differences, rank_intervals
from leaderboard.statistics.uncertainty import Interval, difference_interval, mean_interval
from leaderboard.statistics.winrate import win_rate

Floats = NDArray[np.float64]
Rng = np.random.Generator
Ends = tuple[Floats, Floats]
Outcome = tuple[NDArray[np.bool_], Floats]
"""Whether each repetition's interval held the truth, and its width; both of shape (reps,)."""

Z = 1.959964
ROUNDS = 100  # of the row bootstrap, as in Arena-Hard's code


@dataclass(frozen=True, slots=True)
class Statistic:
    """One statistic to try: `cells` are (data, true rate), `draw(rng, data, rate, n, reps)`."""

    name: str
    estimand: str
    cells: Sequence[tuple[str, float]]
    draw: Callable[[Rng, str, float, int, int], dict[str, Outcome]]
    unit: str = "points"
    sizes: Sequence[int] = (20, 50, 120, 805)


def grid(*data: str) -> list[tuple[str, float]]:
    """Every kind of data at every true rate."""
    return [(name, rate) for name in data for rate in (0.5, 0.2, 0.02)]


# --------------------------------------------------------------------------------------- intervals
def held(ends: Ends, truth: float | Floats) -> Outcome:
    """Whether the intervals hold the truth, and their widths in points of a percentage."""
    low, high = ends
    return (low <= truth) & (truth <= high), 100 * (high - low)


def each(interval: Callable[[Floats], Interval], samples: Floats) -> Ends:
    """Our interval of every row of `samples`, shape (reps, n)."""
    found = [interval(sample) for sample in samples]
    return np.array([one.low for one in found]), np.array([one.high for one in found])


def wald(samples: Floats) -> Ends:
    """The mean ± 1.96 · std(ddof=1) / √n of every row: what the published standard errors are for."""
    mean, half = samples.mean(axis=1), Z * samples.std(axis=1, ddof=1) / np.sqrt(samples.shape[1])
    return mean - half, mean + half


def row_bootstrap(rng: Rng, rows: Floats) -> Ends:
    """The 2.5 % and 97.5 % quantiles of the mean of resampled rows, for each of (reps, rows)."""
    n = rows.shape[1]
    means = [row[rng.integers(0, n, (ROUNDS, n), dtype=np.int32)].mean(axis=1) for row in rows]
    low, high = np.quantile(means, (0.025, 0.975), axis=1)
    return low, high


def clopper_pearson(samples: Floats) -> Ends:
    """The exact interval of a proportion, for rows of zeros and ones."""
    n, wins = samples.shape[1], samples.sum(axis=1)
    low = np.where(wins > 0, betaincinv(np.maximum(wins, 1), n - wins + 1, 0.025), 0.0)
    high = np.where(wins < n, betaincinv(wins + 1, np.maximum(n - wins, 1), 0.975), 1.0)
    return low, high


# ---------------------------------------------------------------------------------------- win rate
def beta(rng: Rng, mean: float, concentration: float, shape: tuple[int, ...]) -> Floats:
    """Preferences with this mean; the smaller the concentration, the nearer to zeros and ones."""
    return rng.beta(mean * concentration, (1 - mean) * concentration, shape)


def verdicts(rng: Rng, data: str, rate: Any, n: int, reps: int) -> Floats:
    """One reference: preferences of shape (reps, n, verdicts an instruction) with mean `rate`."""
    if data == "hard":
        return (rng.random((reps, n, 1)) < rate).astype(float)
    if (
        data == "soft"
    ):  # as certain as GPT-4 in AlpacaEval 2: median concentration of 29 models 0.31
        return beta(rng, rate, 0.3, (reps, n, 1))
    if data == "graded":
        return beta(rng, rate, 4.0, (reps, n, 1))
    if data == "ties":
        tie = 1.2 * rate  # 60 % of the verdicts at a rate of 0.5
        drawn = rng.random((reps, n, 1))
        return np.where(drawn < tie, 0.5, (drawn < rate + tie / 2).astype(float))
    if data == "two orders":  # the orders agree with a correlation of 1 / 1.5
        chance = beta(rng, rate, 0.5, (reps, n, 1))
        return (rng.random((reps, n, 2)) < chance).astype(float)
    if data.startswith("nearly constant"):
        return nearly_constant(rng, data, rate, (reps, n, 1))
    raise ValueError(f"unknown data: {data}")


def nearly_constant(rng: Rng, data: str, rate: float, shape: tuple[int, ...]) -> Floats:
    """Rare clear wins among preferences near `usual`, so that their mean is `rate`."""
    graded = data in ("nearly constant, two grades", "nearly constant, uniform")
    rare = 0.01 if graded else min(0.04, rate / 2)
    usual = (rate - rare) / (1 - rare)
    if data == "nearly constant":
        noise = np.zeros(shape)
    elif data == "nearly constant, noisy":
        noise = rng.uniform(-1, 1, shape) * min(0.03, usual)
    elif data == "nearly constant, two grades":  # 0 and twice the usual value
        noise = rng.choice([-usual, usual], shape)
    elif data == "nearly constant, uniform":  # from 0 to twice the usual value
        noise = rng.uniform(-usual, usual, shape)
    else:
        raise ValueError(f"unknown data: {data}")
    return np.where(rng.random(shape) < rare, 1.0, usual + noise)


def one_reference(rng: Rng, data: str, rate: float, n: int, reps: int) -> dict[str, Outcome]:
    """The mean preference against one reference, from one number an instruction.

    A rate ± 25 % is another one in every repetition: the average over the rates nearby.
    """
    data, _, nearby = data.partition(" ± ")
    truth = rate * rng.uniform(0.75, 1.25, reps) if nearby else np.full(reps, rate)
    rows = verdicts(rng, data, truth[:, None, None] if nearby else rate, n, reps)
    means = rows.mean(axis=2)
    found = {
        "ours": held(each(mean_interval, means), truth),
        "Wald": held(wald(means), truth),
        "row bootstrap": held(row_bootstrap(rng, rows.reshape(reps, -1)), truth),
    }
    if data == "hard":
        found["Clopper–Pearson"] = held(clopper_pearson(means), truth)
    return found


def several_references(rng: Rng, data: str, rate: float, n: int, reps: int) -> dict[str, Outcome]:
    """The mean over references and instructions; an instruction's verdicts go together."""
    references = 3
    chance = beta(rng, rate, {"loose": 4.0, "tight": 0.5}[data], (reps, n, 1))
    rows = (rng.random((reps, n, references)) < chance).astype(float)
    ids = np.repeat(np.arange(n), references)
    frame = pd.DataFrame({"instruction_id": ids, "preference": 0.0, "low": 0.0, "high": 0.0})
    low, high = np.empty(reps), np.empty(reps)
    for rep in range(reps):
        for column in ("preference", "low", "high"):
            frame[column] = rows[rep].ravel()
        found = win_rate(frame)
        low[rep], high[rep] = found.low, found.high
    flat = rows.reshape(reps, -1)
    return {
        "ours": held((low, high), rate),
        "Wald of instructions": held(wald(rows.mean(axis=2)), rate),
        "Wald of rows": held(wald(flat), rate),
        "row bootstrap": held(row_bootstrap(rng, flat), rate),
    }


# -------------------------------------------------------------------------------------- two models
def two_models(rng: Rng, data: str, rate: float, gap: float, shape: tuple[int, int]) -> Floats:
    """Preferences of shape (2, reps, n) for two models with the rates `rate` ± gap / 2."""
    rates = rate + gap / 2 * np.array([1.0, -1.0])[:, None, None]
    if data == "independent":
        return (rng.random((2, *shape)) < rates).astype(float)
    if data == "correlated":  # nine in ten instructions are as hard for one as for the other
        own, common = rng.random((2, *shape)), rng.random((1, *shape))
        return (np.where(rng.random(shape) < 0.9, common, own) < rates).astype(float)
    if data == "mostly ties":  # soft preferences, which differ on one instruction in ten
        differs = np.broadcast_to(rng.random(shape) < 0.1, (2, *shape))
        usual = np.broadcast_to(rng.random(shape) < rate, (2, *shape)).astype(float)
        spread = 10 * gap / 2 * np.array([1.0, -1.0])[:, None, None]
        return np.where(differs, (rng.random((2, *shape)) < rate + spread).astype(float), usual)
    raise ValueError(f"unknown data: {data}")


def paired(rng: Rng, data: str, rate: float, n: int, reps: int) -> dict[str, Outcome]:
    """The difference of two win rates on the same instructions."""
    name, _, equal = data.partition(", ")
    gap = 0.0 if equal else {"mostly ties": 0.1}.get(name, 1.0) * min(0.1, rate)
    first, second = two_models(rng, name, rate, gap, (reps, n))
    difference = first - second
    spread = Z * np.sqrt((first.var(axis=1, ddof=1) + second.var(axis=1, ddof=1)) / n)
    mean = difference.mean(axis=1)
    return {
        "ours": held(each(difference_interval, difference), gap),
        "Wald": held(wald(difference), gap),
        "unpaired": held((mean - spread, mean + spread), gap),
        "row bootstrap": held(row_bootstrap(rng, difference), gap),
    }


# ------------------------------------------------------------------------------------------- ranks
def rank_rates(data: str, models: int, middle: float) -> Floats:
    """The true win rates: all equal, evenly spread over 60 points, or three blocks of equal ones."""
    if data == "equal":
        return np.full(models, middle)
    if data == "spread":
        return middle + np.linspace(0.3, -0.3, models)
    return middle + np.repeat(
        [0.1, 0.0, -0.1], [models // 3, models - 2 * (models // 3), models // 3]
    )


def true_ranks(rates: Floats) -> tuple[Floats, Floats]:
    """The best and worst true rank of each model: those of all of the models that equal it."""
    best = 1 + (rates[:, None] > rates).sum(axis=0)
    worst = len(rates) - (rates[:, None] < rates).sum(axis=0)
    return best, worst


def preference_matrix(rng: Rng, rates: Floats, n: int) -> Floats:
    """Hard verdicts on models, shape (models, n): half of the chance is the instruction's."""
    common, own = rng.random(n), rng.random((len(rates), n))
    return (np.where(rng.random((len(rates), n)) < 0.5, common, own) < rates[:, None]).astype(float)


def bootstrapped_ranks(rng: Rng, preferences: Floats) -> tuple[Floats, Floats]:
    """The 2.5 % and 97.5 % quantiles of each model's rank over resampled instructions."""
    n = preferences.shape[1]
    drawn = rng.multinomial(n, np.full(n, 1 / n), ROUNDS)
    order = np.argsort(np.argsort(-(preferences @ drawn.T), axis=0), axis=0)
    low, high = np.quantile(1 + order, (0.025, 0.975), axis=1)
    return low, high


def simultaneous_ranks(rng: Rng, data: str, rate: float, n: int, reps: int) -> dict[str, Outcome]:
    """All true ranks at once: every model's whole block of equal models lies in its interval."""
    name, models = data.split(", ")
    rates = rank_rates(name, int(models.split()[0]), rate)
    best, worst = true_ranks(rates)
    found: dict[str, list[tuple[bool, float]]] = {}
    for _ in range(reps):
        preferences = preference_matrix(rng, rates, n)
        pairs = paired_differences(preferences)
        for method, (low, high) in {
            "ours": rank_intervals(pairs),
            "unadjusted tests": rank_intervals(replace(pairs, holm=pairs.p_value)),
            "bootstrapped ranks": bootstrapped_ranks(rng, preferences),
        }.items():
            inside = bool(np.all((low <= best) & (worst <= high)))
            found.setdefault(method, []).append((inside, float(np.mean(high - low + 1))))
    return {
        method: (np.array([i for i, _ in each_rep]), np.array([w for _, w in each_rep]))
        for method, each_rep in found.items()
    }


STATISTICS = (
    Statistic(
        "win-rate",
        "the mean preference over all instructions that could have been drawn",
        [
            *grid("hard", "soft", "graded", "ties", "two orders"),
            *grid("nearly constant", "nearly constant, noisy"),
            ("nearly constant, two grades", 0.05),
            ("nearly constant, uniform", 0.11),
            ("hard ± 25 %", 0.02),
        ],
        one_reference,
    ),
    Statistic(
        "references",
        "the mean over three references and over all instructions",
        grid("loose", "tight"),
        several_references,
    ),
    Statistic(
        "difference",
        "the difference of two models' win rates on the same instructions",
        grid(
            *(
                f"{d}{e}"
                for d in ("independent", "correlated", "mostly ties")
                for e in ("", ", equal")
            )
        ),
        paired,
    ),
    Statistic(
        "ranks",
        "all true ranks at once",
        [(f"{d}, {m} models", 0.5) for m in (5, 20) for d in ("equal", "spread", "blocks")],
        simultaneous_ranks,
        unit="ranks",
    ),
)
