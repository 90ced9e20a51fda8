"""What `coverage.py` simulates where something is fitted: length control, strengths, seeds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import combinations

import numpy as np
import pandas as pd
from coverage_samples import Ends, Floats, Outcome, Rng, Statistic, Z, grid, held, wald
from scipy.optimize import brentq
from scipy.special import expit, logit, stdtrit

from leaderboard.statistics.bradley_terry import bradley_terry
from leaderboard.statistics.lc_calibration import calibrate
from leaderboard.statistics.lc_joint import Calibration, ControlRows, lc_joint
from leaderboard.statistics.length_control import GamedRows, lc_alpaca_eval
from leaderboard.statistics.training_seeds import seed_group

DIFFICULTY = 1.0  # standard deviation of the instructions' difficulty, in log odds
FACTORS = {"as long": 1.0, "longer": 1.5}  # the model's answers against the reference's
TASTE = -1.0  # what the judge gives to an answer shorter than the reference's, in log odds
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(40)


@cache
def quality_for(rate: float, deviation: float = DIFFICULTY) -> float:
    """The q for which expit(q + deviation * a standard normal) is `rate` on average."""

    def excess(quality: float) -> float:
        return float(expit(quality + deviation * NODES) @ WEIGHTS / WEIGHTS.sum() - rate)

    return float(brentq(excess, -40, 40))


def bernoulli(rng: Rng, logits: Floats) -> Floats:
    """Hard verdicts with these log odds of a win."""
    return (rng.random(logits.shape) < expit(logits)).astype(float)


def gather(rows: Iterator[dict[str, tuple[float, float]]], truth: float) -> dict[str, Outcome]:
    """The outcomes of (low, high) by method, one dict a repetition."""
    ends: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for method, both in row.items():
            ends.setdefault(method, []).append(both)
    arrays: dict[str, Ends] = {m: (np.array(e)[:, 0], np.array(e)[:, 1]) for m, e in ends.items()}
    return {method: held(both, truth) for method, both in arrays.items()}


# -------------------------------------------------------------------------------- length control
def lengths(rng: Rng, n: int, factor: float = 1.0) -> tuple[Floats, Floats]:
    """Characters of the model's answers, `factor` times as long on average, and the reference's."""
    reference = np.exp(rng.normal(6.5, 0.7, n))
    return np.round(reference * factor * np.exp(rng.normal(0, 0.35, n))), np.round(reference)


def gamed_rows(rng: Rng, difficulty: Floats) -> GamedRows:
    """Verdicts on a longer and a shorter version of the reference: length alone moves them."""
    n = len(difficulty)
    own, theirs = zip(*(lengths(rng, n, factor) for factor in (1.6, 0.6)), strict=True)
    scaled = [np.tanh((r - m) / (r - m).std(ddof=1)) for m, r in zip(own, theirs, strict=True)]
    return GamedRows(
        preference=bernoulli(rng, TASTE * np.concatenate(scaled) + np.tile(difficulty, 2)),
        len_model=np.concatenate(own),
        len_reference=np.concatenate(theirs),
        difficulty=np.tile(difficulty, 2),
        version=np.repeat(["longer", "shorter"], n),
        instruction=np.tile(np.arange(n), 2),
    )


def published_lc(rng: Rng, data: str, rate: float, n: int, reps: int) -> dict[str, Outcome]:
    """The recipe's figure where its model is true: the win rate without the length term."""
    quality, factor = quality_for(rate), FACTORS[data]

    def rows() -> Iterator[dict[str, tuple[float, float]]]:
        for _ in range(reps):
            difficulty = rng.normal(0, DIFFICULTY, n)
            model, reference = lengths(rng, n, factor)
            scaled = np.tanh((reference - model) / (reference - model).std(ddof=1))
            preference = bernoulli(rng, TASTE * scaled + difficulty + quality)
            gamed = gamed_rows(rng, difficulty)
            found = lc_alpaca_eval(preference, model, reference, difficulty, gamed)
            theirs = Z * found.published_standard_error
            yield {
                "ours": (found.low, found.high),
                "AlpacaEval's LC SE": (found.value - theirs, found.value + theirs),
            }

    return gather(rows(), rate)


WORLD = 20_000  # instructions that boards are drawn from
CALIBRATED = 12  # models that a calibration is made of


@cache
def world() -> tuple[Calibration, Floats]:
    """A calibration on all instructions of a world, and their true difficulty."""
    rng = np.random.default_rng(0)
    difficulty = rng.normal(0, DIFFICULTY, WORLD)
    mediators, preferences = [], []
    for k in range(CALIBRATED):
        model, reference = lengths(rng, WORLD, (0.6, 1.0, 1.6)[k % 3])
        mediators.append((reference - model)[:, None])
        explained = TASTE * np.tanh(mediators[-1][:, 0] / 500)
        preferences.append(bernoulli(rng, -2 + 0.3 * k + explained + difficulty))
    controls = []
    for name, factor in (("longer", 1.6), ("shorter", 0.6)):
        model, reference = lengths(rng, WORLD, factor)
        d = reference - model
        verdicts = bernoulli(rng, TASTE * np.tanh(d / 500))
        controls.append(
            ControlRows(name=name, role="neutral", preference=verdicts, mediators=d[:, None])
        )
    made = calibrate(np.stack(preferences), np.stack(mediators), ["length"], controls)
    return made, difficulty


def board_of(made: Calibration, at: Floats) -> Calibration:
    """The calibration of a board with these instructions."""
    controls = [
        replace(control, preference=control.preference[at], mediators=control.mediators[at])
        for control in made.controls
    ]
    return replace(made, difficulty=made.difficulty[at], controls=tuple(controls))


def joint_lc(rng: Rng, data: str, rate: float, n: int, reps: int) -> dict[str, Outcome]:
    """Our figure on boards drawn from a world: its truth is that of the world."""
    made, difficulty = world()
    factor = FACTORS[data]
    quality = float(brentq(lambda q: expit(q + difficulty).mean() - rate, -40, 40))

    def rows() -> Iterator[dict[str, tuple[float, float]]]:
        for _ in range(reps):
            at = rng.integers(0, WORLD, n)
            model, reference = lengths(rng, n, factor)
            d = reference - model
            preference = bernoulli(rng, quality + TASTE * np.tanh(d / 500) + difficulty[at])
            board = board_of(made, at)
            found = lc_joint(preference, d[:, None], board)
            theta, psi = found.coefficients["theta"], found.coefficients["psi"]
            predicted = expit(theta + psi * board.difficulty)
            spread = Z * float(predicted.std(ddof=1)) / np.sqrt(n)
            yield {
                "ours": (found.low, found.high),
                "spread of predictions": (found.value - spread, found.value + spread),
                "Wald of the plain win rate": tuple(float(e[0]) for e in wald(preference[None])),
            }

    return gather(rows(), rate)


# ---------------------------------------------------------------------------------- Bradley-Terry
MODELS = tuple("abcde")
PAIRS = np.array(list(combinations(range(len(MODELS)), 2)))
SKILL = 1.0  # standard deviation over instructions of a model's strength, in log odds


@cache
def marginal_difference(rate: float) -> tuple[float, tuple[float, ...]]:
    """The estimand for strengths evenly spread over logit(rate), and these strengths.

    Strengths vary over instructions, so that the best strengths are those of the win rates that
    are left when this is averaged out: fitted to expected verdicts, one a pair.
    """
    true = np.linspace(0.5, -0.5, len(MODELS)) * logit(rate)
    gaps = (true[PAIRS[:, 1]] - true[PAIRS[:, 0]])[:, None] + np.sqrt(2) * SKILL * NODES
    expected = expit(gaps) @ WEIGHTS / WEIGHTS.sum()
    fitted = bradley_terry(battles(expected[None]))
    return float(fitted.strength[0] - fitted.strength[-1]), tuple(true)


def battles(preference: Floats) -> pd.DataFrame:
    """One verdict on each pair of models for each instruction, from (instructions, pairs)."""
    n = len(preference)
    names = np.array(MODELS)
    return pd.DataFrame(
        {
            "instruction_id": np.repeat(np.arange(n), len(PAIRS)),
            "model_1": np.tile(names[PAIRS[:, 0]], n),
            "model_2": np.tile(names[PAIRS[:, 1]], n),
            "preference": preference.ravel(),
        }
    )


def strengths(rng: Rng, data: str, rate: float, n: int, reps: int) -> dict[str, Outcome]:
    """The strength of the first of five models, who all met, less that of the last, in log odds.

    With a unit of its own for each row the same code gives the error of a bootstrap of rows.
    """
    if data != "all pairs":
        raise ValueError(f"unknown data: {data}")
    truth, true = marginal_difference(rate)

    def rows() -> Iterator[dict[str, tuple[float, float]]]:
        for _ in range(reps):
            shown = np.array(true) + SKILL * rng.normal(0, 1, (n, len(MODELS)))
            frame = battles(bernoulli(rng, shown[:, PAIRS[:, 1]] - shown[:, PAIRS[:, 0]]))
            found = {
                "ours": bradley_terry(frame),
                "rows as independent": bradley_terry(
                    frame.assign(instruction_id=np.arange(len(frame)))
                ),
            }
            differences = {method: one.difference("a", "e") for method, one in found.items()}
            yield {method: (one.low, one.high) for method, one in differences.items()}

    outcomes = gather(rows(), truth)
    return {method: (inside, width / 100) for method, (inside, width) in outcomes.items()}


# ----------------------------------------------------------------------------------- seed groups
def seeds(rng: Rng, data: str, rate: float, n: int, reps: int) -> dict[str, Outcome]:
    """A method's win rate over all seeds and instructions that could have been drawn."""
    number, deviation = int(data.split()[0]), 0.0 if "equal" in data else 0.3
    quality = quality_for(rate, float(np.hypot(DIFFICULTY, deviation)))

    def rows() -> Iterator[dict[str, tuple[float, float]]]:
        for rep in range(reps):
            of_seed = rng.normal(0, deviation, (number, 1)) + rng.normal(0, DIFFICULTY, n)
            verdicts = bernoulli(rng, quality + of_seed)
            ours = seed_group(verdicts, n_rounds=200, seed=rep)
            rates = verdicts.mean(axis=1)
            half = stdtrit(number - 1, 0.975) * rates.std(ddof=1) / np.sqrt(number)
            pooled = wald(verdicts.reshape(1, -1))
            yield {
                "ours": (ours.low, ours.high),
                "t of the seeds": (float(rates.mean() - half), float(rates.mean() + half)),
                "Wald of all rows": (float(pooled[0][0]), float(pooled[1][0])),
            }

    return gather(rows(), rate)


STATISTICS = (
    Statistic(
        "lc-alpaca-eval",
        "the win rate without the length term, where the recipe's model is true",
        grid("longer"),
        published_lc,
    ),
    Statistic(
        "lc-joint",
        "the win rate at the reference's length, over all instructions of a world",
        grid("as long", "longer"),
        joint_lc,
    ),
    Statistic(
        "strength",
        "the Bradley-Terry strength of the first of five models less that of the last",
        [("all pairs", rate) for rate in (0.5, 0.8, 0.98)],
        strengths,
        unit="log odds",
    ),
    Statistic(
        "seeds",
        "the win rate of a training method over seeds and instructions",
        [*grid("3 seeds", "5 seeds"), ("3 seeds, equal", 0.5)],
        seeds,
    ),
)
