"""What a win rate would be if the answers were as long as the reference's.

`lc_alpaca_eval` is the published recipe of length-controlled AlpacaEval (arXiv 2404.04475), for
comparability: a logistic model of the preference p on an instruction i,

    p_i = logistic( a · tanh(z_i) + b · d_i + c ),    z_i = (len_reference - len_model)_i / sd

with d_i the instruction's difficulty, and sd the sample standard deviation of the difference over
the model's rows. The figure is the mean of the predicted p with the length term left out. The
verdicts on the reference's own longer and shorter versions ("gamed") are added with a weight of
0.1 each and without the term c: they pull a and b towards values under which length alone wins
nothing. An L1 penalty is put on the three coefficients, its strength chosen by cross-validation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

STRENGTHS = np.logspace(-4, 4, 10)
"""The inverse strengths C of the penalty that cross-validation chooses among."""
N_FOLDS = 5
GAMED_WEIGHT = 0.1
_TOLERANCE = 1e-10


@dataclass(frozen=True, slots=True, kw_only=True)
class GamedRows:
    """Verdicts on the reference's own longer and shorter versions, all against the reference.

    Arrays of one length: preference in [0, 1], the lengths, the instruction's difficulty, and the
    version's name, since lengths are scaled within a version.
    """

    preference: np.ndarray
    len_model: np.ndarray
    len_reference: np.ndarray
    difficulty: np.ndarray
    version: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthControlled:
    """A length-controlled win rate with the model it rests on.

    `standard_error` is the published one: the spread of the predictions over the instructions. It
    knows nothing of the error of the fit and is far too small; see docs/statistics.md.
    """

    value: float
    standard_error: float
    length: float
    difficulty: float
    model: float
    strength: float
    n: int


def lc_alpaca_eval(
    preference: np.ndarray,
    len_model: np.ndarray,
    len_reference: np.ndarray,
    difficulty: np.ndarray,
    gamed: GamedRows,
    *,
    strength: float | None = None,
) -> LengthControlled:
    """The published length-controlled win rate of one model, as a fraction.

    Arrays of shape (n,), one entry an instruction that the model was judged on; a preference is in
    [0, 1], or NaN where the verdict is missing: such a row is not fitted, but predicted. `strength`
    fixes C in place of the cross-validation. Raises ValueError for arrays of different lengths, or
    lengths that do not vary.
    """
    arrays = (preference, len_model, len_reference, difficulty)
    if len({len(array) for array in arrays}) != 1:
        raise ValueError("preference, lengths and difficulty must have one entry an instruction")
    own = np.column_stack(
        [scaled_length(len_model, len_reference), difficulty, np.ones(len(preference))]
    )
    parts = np.empty(len(gamed.preference))
    for version in np.unique(gamed.version):
        of = gamed.version == version
        parts[of] = scaled_length(gamed.len_model[of], gamed.len_reference[of])
    others = np.column_stack([parts, gamed.difficulty, np.zeros(len(parts))])
    features = np.vstack([others, own])
    target = np.concatenate([gamed.preference, preference])
    weight = np.concatenate([np.full(len(others), GAMED_WEIGHT), np.ones(len(own))])
    held = ~np.isnan(target)
    features, target, weight = features[held], target[held], weight[held]
    if strength is None:
        strength = choose_strength(features, target, weight)
    coefficients = fit_l1_logistic(features, target, weight, strength)
    predicted = _logistic(own[:, 1:] @ coefficients[1:])
    return LengthControlled(
        value=float(predicted.mean()),
        standard_error=float(predicted.std(ddof=1) / np.sqrt(len(predicted))),
        length=float(coefficients[0]),
        difficulty=float(coefficients[1]),
        model=float(coefficients[2]),
        strength=float(strength),
        n=len(predicted),
    )


def scaled_length(len_model: np.ndarray, len_reference: np.ndarray) -> np.ndarray:
    """The tanh of the reference's length less the model's, in standard deviations of the difference."""
    difference = np.asarray(len_reference, float) - np.asarray(len_model, float)
    spread = difference.std(ddof=1) if len(difference) > 1 else 0.0
    if not spread > 0:
        raise ValueError("the lengths differ from the reference's by the same in every row")
    scaled: np.ndarray = np.tanh(difference / spread)
    return scaled


def choose_strength(features: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """The C with the smallest cross-validated log loss, the smaller one of two that are equal."""
    # Dealt out from the last row to the first, as scikit-learn's GroupKFold does it.
    fold = (np.arange(len(target))[::-1]) % N_FOLDS
    loss = np.zeros(len(STRENGTHS))
    for k in range(N_FOLDS):
        train, test = fold != k, fold == k
        start = np.zeros(features.shape[1])
        for n, strength in enumerate(STRENGTHS):
            start = fit_l1_logistic(features[train], target[train], weight[train], strength, start)
            margin = features[test] @ start
            entropy = np.logaddexp(0, -margin) * target[test]
            entropy += np.logaddexp(0, margin) * (1 - target[test])
            loss[n] += (entropy * weight[test]).mean() / N_FOLDS
    return float(STRENGTHS[loss.argmin()])


def fit_l1_logistic(
    features: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray,
    strength: float,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """The w that minimises ‖w‖₁ + C · Σ weight · cross-entropy(target, logistic(features · w)).

    Proximal Newton: the quadratic model of the loss is minimised with the penalty by coordinate
    descent, followed by a line search on the true objective. For a handful of features.
    """
    w = np.zeros(features.shape[1]) if start is None else start.copy()

    def objective(at: np.ndarray) -> float:
        margin = features @ at
        entropy = np.logaddexp(0, -margin) * target + np.logaddexp(0, margin) * (1 - target)
        return float(np.abs(at).sum() + strength * (weight * entropy).sum())

    value = objective(w)
    for _ in range(100):
        p = _logistic(features @ w)
        gradient = strength * (features.T @ (weight * (p - target)))
        curvature = strength * ((features.T * (weight * p * (1 - p))) @ features)
        curvature[np.diag_indices_from(curvature)] += 1e-12
        step = _penalised_newton_step(w, gradient, curvature)
        size = 1.0
        expected = gradient @ step + np.abs(w + step).sum() - np.abs(w).sum()
        while size > 1e-10 and objective(w + size * step) > value + 1e-4 * size * expected:
            size /= 2
        new = w + size * step
        changed, value, w = np.abs(new - w).max(), objective(new), new
        if changed <= _TOLERANCE * max(1.0, np.abs(w).max()):
            break
    return w


def _penalised_newton_step(
    w: np.ndarray, gradient: np.ndarray, curvature: np.ndarray
) -> np.ndarray:
    """The step d that minimises gradient · d + ½ d · curvature · d + ‖w + d‖₁."""
    step = np.zeros_like(w)
    for _ in range(1000):
        largest = 0.0
        for j in range(len(w)):
            slope = gradient[j] + curvature[j] @ step - curvature[j, j] * step[j]
            # Soft thresholding of the coordinate's own minimum.
            pulled = w[j] - slope / curvature[j, j]
            new = np.sign(pulled) * max(abs(pulled) - 1 / curvature[j, j], 0.0) - w[j]
            largest = max(largest, abs(new - step[j]))
            step[j] = new
        if largest <= 1e-13:
            break
    return step


def _logistic(x: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.exp(-np.logaddexp(0, -x))
    return result
