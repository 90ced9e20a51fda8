"""What a win rate would be if the answers were as long as the reference's.

`lc_alpaca_eval` is the published recipe of length-controlled AlpacaEval (arXiv 2404.04475), for
comparability: a logistic model of the preference p on an instruction i,

    p_i = logistic( a · tanh(z_i) + b · d_i + c ),    z_i = (len_reference - len_model)_i / sd

with d_i the instruction's difficulty, and sd the sample standard deviation of the difference over
the model's rows. The figure is the mean of the predicted p with the length term left out. The
verdicts on the reference's own longer and shorter versions ("gamed") are added with a weight of
0.1 each and without the term c: they pull a and b towards values under which length alone wins
nothing. An L1 penalty is put on the three coefficients, its strength chosen by cross-validation.

The published figures are those of liblinear, stopped at a tolerance of 1e-4, so the last fit is
liblinear's; the fits of the cross-validation, which only choose among ten strengths, are our own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from leaderboard.statistics.uncertainty import Floats, influence_interval

STRENGTHS = np.logspace(-4, 4, 10)
"""The inverse strengths C of the penalty that cross-validation chooses among."""
N_FOLDS = 5
GAMED_WEIGHT = 0.1
_TOLERANCE = 1e-12  # a fit ends when a step improves its objective by a smaller share
_ROUNDING = 1e-14


class Coefficients(NamedTuple):
    """The coefficients a, b and c of the model: of the length, the difficulty and the constant."""

    length: float
    difficulty: float
    model: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GamedRows:
    """Verdicts on the reference's own longer and shorter versions, all against the reference.

    Arrays of one length: preference in [0, 1] or NaN, the lengths, the instruction's difficulty,
    the version's name, since lengths are scaled within a version, and the instruction's number.
    """

    preference: Floats
    len_model: NDArray[Any]
    len_reference: NDArray[Any]
    difficulty: Floats
    version: NDArray[Any]
    instruction: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthControlled:
    """A length-controlled win rate as a fraction, with its interval and the fit it rests on.

    `n` is the number of instructions. `influence`, shape (n,), is what each adds to the figure,
    times n, and NaN where the preference is missing. It, the standard error and the interval are
    those of the fit with the weakest penalty, by `influence_interval`. `published_standard_error`
    is the one that AlpacaEval publishes, the spread of the predictions alone: it leaves out the
    error of the fit and is far too small. `strength` is the C of the fit.
    """

    value: float
    standard_error: float
    low: float
    high: float
    level: float
    n: int
    published_standard_error: float
    coefficients: Coefficients
    strength: float
    influence: Floats = field(compare=False, repr=False)


def lc_alpaca_eval(
    preference: Floats,
    len_model: NDArray[Any],
    len_reference: NDArray[Any],
    difficulty: Floats,
    gamed: GamedRows,
    *,
    instruction: NDArray[np.int64] | None = None,
    strength: float | None = None,
    level: float = 0.95,
) -> LengthControlled:
    """The published length-controlled win rate of one model other than the reference.

    Arrays of shape (n,), one entry an instruction; a preference is in [0, 1], or NaN where the
    verdict is missing: such a row is predicted, but not fitted. `instruction` holds their numbers
    as `gamed` has them, 0 to n - 1 unless given: the standard error takes the gamed rows of an
    instruction together with its own. `strength` fixes C in place of the cross-validation.

    The published figure of a model that lacks rows takes the difficulties in order, as if the last
    rows were the ones that are missing: pass the first n of all difficulties to get it.

    Raises ValueError for arrays of different lengths, numbers that are missing or out of range, no
    preference at all, fewer than five rows to cross-validate, and lengths that do not vary.
    """
    own = _rows(preference, scaled_length(len_model, len_reference), difficulty, 1.0)
    scaled = np.empty(len(gamed.version))
    for version in np.unique(gamed.version):
        of = gamed.version == version
        scaled[of] = scaled_length(gamed.len_model[of], gamed.len_reference[of])
    others = _rows(gamed.preference, scaled, gamed.difficulty, 0.0)
    n, judged = len(own), ~np.isnan(own[:, 0])
    if not judged.any():
        raise ValueError("no preference is there")
    cluster = _clusters(instruction, gamed.instruction, n)
    rows = np.vstack([others, own])
    held = ~np.isnan(rows[:, 0])
    target, features = rows[held, 0], rows[held, 1:]
    weight = np.repeat([GAMED_WEIGHT, 1.0], [len(others), n])[held]
    if strength is None:
        strength = choose_strength(features, target, weight)
    coefficients = fit_liblinear(features, target, weight, strength)

    predicted = expit(own[:, 2:] @ coefficients[1:])
    # The penalty pulls the figure to 50 %, and an interval about it would go along: the interval is
    # that of the weakest penalty, widened to hold the figure.
    loose = fit_l1_logistic(features, target, weight, STRENGTHS[-1], coefficients)
    unpulled = expit(own[:, 2:] @ loose[1:])
    slope = (unpulled * (1 - unpulled)) @ own[:, 1:] / n
    slope[0] = 0.0  # the length term is left out of the prediction
    pull = _pull(loose, slope, features, target, weight)
    of_instruction = np.bincount(cluster[held], pull, cluster.max() + 1)[cluster[len(others) :]]
    influence = unpulled - unpulled.mean() + np.count_nonzero(judged) * of_instruction
    counts = np.unique(own[judged, 0], return_counts=True)[1]
    n_others = int(counts.sum() - counts.max())
    interval = influence_interval(float(unpulled.mean()), influence[judged], n_others, level)
    value = float(predicted.mean())
    return LengthControlled(
        value=value,
        standard_error=interval.standard_error,
        low=min(interval.low, value),
        high=max(interval.high, value),
        level=level,
        n=n,
        published_standard_error=float(predicted.std(ddof=1) / np.sqrt(n)),
        coefficients=Coefficients(*coefficients.tolist()),
        strength=float(strength),
        influence=np.where(judged, influence, np.nan),
    )


def scaled_length(len_model: NDArray[Any], len_reference: NDArray[Any]) -> Floats:
    """The tanh of the reference's length less the model's, in standard deviations of the difference.

    Raises ValueError for a missing length, and where that deviation is zero, as in a single row.
    """
    difference = np.asarray(len_reference, float) - np.asarray(len_model, float)
    if not np.isfinite(difference).all():
        raise ValueError("a length is missing")
    spread = difference.std(ddof=1) if len(difference) > 1 else 0.0
    if not spread > 0:
        raise ValueError("the lengths differ from the reference's by the same in every row")
    scaled: Floats = np.tanh(difference / spread)
    return scaled


def choose_strength(features: Floats, target: Floats, weight: Floats) -> float:
    """The C with the smallest cross-validated log loss, the smaller one of two that are equal."""
    if len(target) < N_FOLDS:
        raise ValueError(f"{len(target)} rows cannot be split into {N_FOLDS} folds")
    # Dealt out from the last row to the first, as scikit-learn's GroupKFold does it.
    fold = np.arange(len(target))[::-1] % N_FOLDS
    loss = np.zeros(len(STRENGTHS))
    for k in range(N_FOLDS):
        train, test = fold != k, fold == k
        x, y, w = features[train], target[train], weight[train]
        fit = np.zeros(features.shape[1])
        for n, strength in enumerate(STRENGTHS):
            fit = fit_l1_logistic(x, y, w, strength, fit)
            loss[n] += _entropy(features[test] @ fit, target[test], weight[test]) / test.sum()
    return float(STRENGTHS[loss.argmin()])


def fit_liblinear(features: Floats, target: Floats, weight: Floats, strength: float) -> Floats:
    """What `fit_l1_logistic` minimises, as near as liblinear comes at its usual tolerance.

    The order of the rows and the seed are those of the published fit; they matter to the fourth
    digit of a coefficient. More iterations than the published 100 change nothing where it converges.
    """
    from sklearn.linear_model import LogisticRegression

    lasso = LogisticRegression(C=strength, l1_ratio=1.0, solver="liblinear", fit_intercept=False)
    lasso.set_params(tol=1e-4, random_state=123, max_iter=100_000)
    both, label = np.vstack([features, features]), np.repeat([1, 0], len(target))
    lasso.fit(both, label, np.concatenate([weight * target, weight * (1 - target)]))
    coefficients: Floats = lasso.coef_[0]
    return coefficients


def fit_l1_logistic(
    features: Floats, target: Floats, weight: Floats, strength: float, start: Floats
) -> Floats:
    """The w that minimises ‖w‖₁ + C · Σ weight · cross-entropy(target, logistic(features · w)).

    Proximal Newton: the quadratic model of the loss is minimised with the penalty, followed by a
    line search on the true objective. For a handful of features.
    """

    def objective(at: Floats) -> float:
        return float(np.abs(at).sum()) + strength * _entropy(features @ at, target, weight)

    w, value, improved = start, objective(start), np.inf
    while improved > _TOLERANCE * value:
        p = expit(features @ w)
        gradient = strength * ((weight * (p - target)) @ features)
        curvature = strength * ((features.T * (weight * p * (1 - p))) @ features)
        step = _penalised_minimum(curvature, curvature @ w - gradient) - w
        expected = gradient @ step + np.abs(w + step).sum() - np.abs(w).sum()
        size, reached = 1.0, objective(w + step)
        while reached > value * (1 + _ROUNDING) + 1e-4 * size * expected and size > _ROUNDING:
            size /= 2
            reached = objective(w + size * step)
        improved = value - reached
        w, value = w + size * step, reached
    return w


def _penalised_minimum(curvature: Floats, linear: Floats) -> Floats:
    """The u that minimises ½ u · curvature · u - linear · u + ‖u‖₁.

    Where the signs of u are known, u solves a linear system; so every choice of -, 0 and + is
    solved, and the best of the solutions is the minimum.
    """
    signs = np.array(list(product((0, 1, -1), repeat=len(linear))), float)
    active = np.abs(signs)
    systems = curvature * active[:, :, None] * active[:, None, :]
    diagonal = np.arange(len(linear))
    # The last term keeps features that are all zero, or the same as others, from being singular.
    systems[:, diagonal, diagonal] += 1 - active + 1e-12 * (1 + np.trace(curvature))
    u = np.linalg.solve(systems, (active * linear - signs)[:, :, None])[:, :, 0]
    objective = 0.5 * ((u @ curvature) * u).sum(axis=1) - u @ linear + np.abs(u).sum(axis=1)
    best: Floats = u[objective.argmin()]
    return best


def _pull(
    coefficients: Floats, slope: Floats, features: Floats, target: Floats, weight: Floats
) -> Floats:
    """What each row adds by way of the coefficients to what has this `slope` in them.

    A row's score goes through the inverse curvature of the loss, as in the sandwich.
    """
    p = expit(features @ coefficients)
    curvature = (features.T * (weight * p * (1 - p))) @ features
    # The pseudo-inverse, as a feature can be zero in all rows.
    direction = np.linalg.pinv(curvature, hermitian=True) @ slope
    pull: Floats = weight * (target - p) * (features @ direction)
    return pull


def _clusters(own: NDArray[np.int64] | None, gamed: NDArray[np.int64], n: int) -> NDArray[np.intp]:
    """One number an instruction for each of the rows, the gamed ones first."""
    if own is None:
        own = np.arange(n)
        if (gamed >= n).any():
            raise ValueError("a gamed row is on an instruction that the model has no row for")
    if len(own) != n or len(np.unique(own)) != n:
        raise ValueError("every row must have an instruction of its own")
    return np.unique(np.concatenate([gamed, own]), return_inverse=True)[1]


def _rows(preference: Floats, length: Floats, difficulty: Floats, model: float) -> Floats:
    """Rows of preference and features, checked."""
    preference, difficulty = np.asarray(preference, float), np.asarray(difficulty, float)
    if not len(preference) == len(length) == len(difficulty):
        raise ValueError("preference, lengths and difficulty must have one entry an instruction")
    if not np.isfinite(difficulty).all():
        raise ValueError("a difficulty is missing")
    if ((preference < 0) | (preference > 1)).any():
        raise ValueError("a preference is not in [0, 1]")
    return np.column_stack([preference, length, difficulty, np.full(len(length), model)])


def _entropy(margin: Floats, target: Floats, weight: Floats) -> float:
    """Σ weight · cross-entropy(target, logistic(margin))."""
    return float(
        weight @ (np.maximum(margin, 0) + np.log1p(np.exp(-np.abs(margin))) - target * margin)
    )
