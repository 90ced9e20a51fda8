"""What `lc_joint` freezes: difficulties, scales and the pooled taste, from the rows of a board.

See `leaderboard.statistics.lc_joint` for the model. Here all models are fitted at once, with
psi = 1, and the weight of the constant controls is chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from leaderboard.statistics.lc_joint import (
    CONTROL_WEIGHT,
    MAX_GAIN,
    QUALITY,
    TASTE,
    TOLERANCE,
    Calibration,
    ControlRows,
    features_of,
    judged_of,
    lc_joint,
    safe_size,
)
from leaderboard.statistics.uncertainty import Floats

MIN_MODELS = 8
"""Fewer models than this tell little of an instruction's difficulty."""
CONSTANT_WEIGHTS = tuple(0.1 * 2.0**k for k in range(12))
"""Those of constant controls: the smallest with which none of them gains more than MAX_GAIN."""

# Standard deviations of the priors of what all models share.
_POOLED_TASTE, _DIFFICULTY = 5.0, 2.0


def calibrate(
    preferences: Floats, mediators: Floats, names: Sequence[str], controls: Sequence[ControlRows]
) -> Calibration:
    """Difficulties, scales and the pooled taste from the verdicts on the calibration models.

    `preferences`, shape (models, n), is NaN where missing; `mediators`, shape (models, n, k), is
    the reference's amount less the model's, unscaled; `names` are those of the k mediators. All
    coefficients are fitted jointly, with psi = 1: theta ~ N(0, 5²), phi_k ~ N(m_k, 1) about a
    common m_k ~ N(0, 5²), gamma ~ N(0, 2²). The scale is the root of the mean of the models'
    variances, so that it knows spread and not verbosity.

    Raises ValueError for fewer than `MIN_MODELS` models, shapes that do not fit and bad numbers.
    """
    if len(preferences) < MIN_MODELS:
        raise ValueError(f"{len(preferences)} models; a calibration needs {MIN_MODELS}")
    judged = np.stack(
        [judged_of(*row, len(names)) for row in zip(preferences, mediators, strict=True)]
    )
    for control in controls:
        if judged_of(control.preference, control.mediators, len(names)).shape != judged.shape[1:]:
            raise ValueError(f"control {control.name} is not about {judged.shape[1]} instructions")
    if not judged.any(axis=1).all():
        raise ValueError("a calibration model has no verdicts")
    held = judged[:, :, None]
    count = held.sum(axis=1)
    known = np.where(held, mediators, 0.0)
    centred = np.where(held, known - (known.sum(axis=1) / count)[:, None], 0.0)
    scale = np.sqrt((np.square(centred).sum(axis=1) / count).mean(axis=0))
    scale[scale <= TOLERANCE * np.abs(known).max(axis=(0, 1))] = (
        0.0  # a rounding error is no spread
    )
    difficulty, coefficients = _fit_jointly(
        np.where(judged, preferences, 0.5), features_of(known, scale), judged
    )
    calibration = Calibration(
        mediators=tuple(names),
        difficulty=difficulty,
        scale=scale,
        taste=coefficients[:, 1:].mean(axis=0),
        controls=tuple(controls),
        constant_weight=CONTROL_WEIGHT,
    )
    for weight in CONSTANT_WEIGHTS:
        calibration = replace(calibration, constant_weight=weight)
        if _largest_gain(calibration) <= MAX_GAIN:
            break
    return calibration


def _largest_gain(calibration: Calibration) -> float:
    """What length control would add to the constant control that it adds most to, were it a row."""
    return max(
        (
            lc_joint(control.preference, control.mediators, calibration).gain
            for control in calibration.controls
            if control.role == "constant" and not np.isnan(control.preference).all()
        ),
        default=0.0,
    )


def _fit_jointly(
    target: Floats, lengths: Floats, judged: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Difficulties (n,) and coefficients (models, 1 + k) by Newton's method.

    A difficulty meets no other in the Hessian, so that they are eliminated (Schur's complement):
    each step solves for the coefficients of the models alone.
    """
    models, n, k = lengths.shape
    x = np.concatenate([np.ones((models, n, 1)), lengths], axis=2)
    pooled = np.linalg.inv(TASTE**2 * np.eye(models) + _POOLED_TASTE**2)
    precision = np.zeros((models, 1 + k, models, 1 + k))
    precision[:, 0, :, 0] = np.eye(models) / QUALITY**2
    for j in range(k):
        precision[:, 1 + j, :, 1 + j] = pooled
    size = models * (1 + k)
    precision = precision.reshape(size, size)
    each = np.arange(models)
    w, gamma, change = np.zeros(size), np.zeros(n), np.inf
    while change > TOLERANCE:
        p = expit(np.einsum("mij,mj->mi", x, w.reshape(models, -1)) + gamma)
        residual, curvature = np.where(judged, target - p, 0), np.where(judged, p * (1 - p), 0)
        hessian = np.zeros((models, 1 + k, models, 1 + k))
        hessian[each, :, each] = np.einsum("mij,mi,mil->mjl", x, curvature, x)
        cross = (x * curvature[:, :, None]).transpose(0, 2, 1).reshape(size, n)
        diagonal = curvature.sum(axis=0) + _DIFFICULTY**-2
        slope = np.einsum("mij,mi->mj", x, residual).ravel() - precision @ w
        slope_gamma = residual.sum(axis=0) - gamma / _DIFFICULTY**2
        reduced = hessian.reshape(size, size) + precision - (cross / diagonal) @ cross.T
        step = np.linalg.solve(reduced, slope - cross @ (slope_gamma / diagonal))
        step_gamma = (slope_gamma - step @ cross) / diagonal
        moved = np.einsum("mij,mj->mi", x, step.reshape(models, -1)) + step_gamma
        change = float(np.abs(moved).max())
        w, gamma = w + safe_size(change) * step, gamma + safe_size(change) * step_gamma
    return gamma, w.reshape(models, -1)
