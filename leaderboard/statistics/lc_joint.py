"""A win rate at the reference's length and style, by a model that is fitted for one row at a time.

The preference p on an instruction i is modelled as

    logit p_i = theta + sum_k phi_k * t_ik + psi * gamma_i,    t_ik = tanh(d_ik / s_k)

with d_ik the reference's less the model's amount of mediator k (characters, list items, ...), s_k
its scale and gamma_i the instruction's difficulty. The figure is the mean over instructions of
p_i with the mediators left out. Scales, difficulties and the pooled taste, the mean of phi over the
calibration models, are estimated once, jointly, and frozen; theta, phi and psi are the row's own,
with Gaussian priors about 0, the pooled taste and 1. A new row therefore moves no other.

Three sorts of control answers, shared by all rows, keep a row from gaming the length. A neutral one
says what the reference says at another length: its verdicts are length alone, logit p = sum phi t.
A content one is worth less (or more) than the reference for what it says: length explains none of
it, and phi is pulled to zero. A constant one, a phrase for every instruction, is taken alike, but
counts for as much as it takes to keep it from gaining. All speak of a mediator only to rows on
their own side, longer or shorter than the reference.

The model with one mediator is that of Dubois et al. (2024), arXiv 2404.04475; the frozen scales,
the priors in place of a cross-validated penalty, all but the neutral controls and the interval are
ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from leaderboard.statistics.uncertainty import Floats, influence_interval, mean_interval

CONTROL_WEIGHT = 0.1
"""What one verdict on a control counts for, beside the row's own of weight 1."""
MAX_GAIN = 0.005
"""A constant answer that gains more from length control has found a way around it."""
CONSTANT_BELOW = 0.5
"""With a smaller share of distinct answers, a row is a constant one."""

# Standard deviations of the priors. They are wide: a few dozen verdicts outweigh each of them.
QUALITY, TASTE, DISCRIMINATION = 5.0, 1.0, 0.3
TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRows:
    """Verdicts on one control answer an instruction against the reference, one entry each.

    `preference`, shape (n,), is NaN where it is missing; `mediators`, shape (n, k), is the
    reference's amount less the control's. See the module for the two roles.
    """

    name: str
    role: Literal["neutral", "content", "constant"]
    preference: Floats
    mediators: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What is frozen, and shared by every row: nothing here depends on the row that is fitted.

    `mediators` are k names; `difficulty` has shape (n,), positive where models do better; `scale`,
    shape (k,), is 0 for a mediator that does not vary, which then explains nothing; `taste`, shape
    (k,), is the mean of phi over the calibration models.
    """

    mediators: tuple[str, ...]
    difficulty: Floats
    scale: Floats
    taste: Floats
    controls: tuple[ControlRows, ...]
    constant_weight: float
    """What one verdict on a constant control counts for: as little as keeps them from gaining."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LcJoint:
    """A length-controlled win rate with its interval and the model that it rests on, in fractions.

    `influence`, shape (instructions,), is each instruction's pull on the value, NaN where it is not
    judged: the standard error is its standard deviation over sqrt(n), and the differences of two
    rows' influences compare them. `coefficients` are theta, psi and phi by the mediator's name.
    `gain` is what leaving the mediators out of the fit adds to the mean of its predictions. Where
    `is_constant_guarded`, none of it is in value, interval and influence, which are those of the
    plain win rate.
    """

    value: float
    standard_error: float
    low: float
    high: float
    level: float
    n: int
    influence: Floats
    coefficients: dict[str, float]
    is_constant_guarded: bool
    gain: float


def lc_joint(
    preference: Floats,
    mediators: Floats,
    calibration: Calibration,
    *,
    distinct: float = 1.0,
    level: float = 0.95,
) -> LcJoint:
    """The win rate of one row at the reference's length and style.

    `preference`, shape (n,), is in [0, 1], or NaN where the verdict is missing: such an instruction
    counts for nothing. `mediators`, shape (n, k), is the reference's amount less the model's.
    `distinct` is the number of different answers of the row over the number of its answers; below
    `CONSTANT_BELOW` it is a constant row, and gets the smaller one of this and the plain win rate:
    what one phrase won or lost everywhere, its length has not explained. The interval is that of
    `influence_interval`; the calibration, controls included, is taken as given, not as random.

    Raises ValueError for shapes that do not fit the calibration, no verdicts and bad numbers.
    """
    k = len(calibration.mediators)
    judged = judged_of(preference, mediators, k)
    if judged.shape != calibration.difficulty.shape:
        raise ValueError(f"the calibration has {len(calibration.difficulty)} instructions")
    if not judged.any():
        raise ValueError("no verdicts")
    p = preference[judged]
    lengths = features_of(mediators[judged], calibration.scale)
    own = np.column_stack([np.ones(len(p)), lengths, calibration.difficulty[judged]])
    w, inverse = _fit_row(own, p, calibration, _control_rows(calibration, _side(lengths)))
    value, pulls = _value_and_influence(own, p, w, inverse)
    guarded = distinct < CONSTANT_BELOW and value > p.mean()
    if guarded:
        interval, pulls = mean_interval(p, level), p - p.mean()
    else:
        others = len(p) - int(np.unique(p, return_counts=True)[1].max())
        interval = influence_interval(value, pulls, others, level)
    influence = np.full(len(preference), np.nan)
    influence[judged] = pulls
    return LcJoint(
        value=interval.value,
        standard_error=interval.standard_error,
        low=interval.low,
        high=interval.high,
        level=level,
        n=len(p),
        influence=influence,
        coefficients=dict(zip(("theta", *calibration.mediators, "psi"), w.tolist(), strict=True)),
        is_constant_guarded=bool(guarded),
        gain=value - float(expit(own @ w).mean()),
    )


def judged_of(preference: Floats, mediators: Floats, k: int) -> NDArray[np.bool_]:
    """Which instructions have a verdict; raises ValueError for bad shapes or numbers."""
    if preference.ndim != 1 or mediators.shape != (len(preference), k):
        raise ValueError(
            f"shapes {preference.shape} and {mediators.shape} are not n and n by {k} mediators"
        )
    judged: NDArray[np.bool_] = ~np.isnan(preference)
    if not np.all((preference[judged] >= 0) & (preference[judged] <= 1)):
        raise ValueError("a preference is not in [0, 1]")
    if not np.isfinite(mediators[judged]).all():
        raise ValueError("a mediator is missing where there is a verdict")
    return judged


def features_of(mediators: Floats, scale: Floats) -> Floats:
    """tanh(d / s) for mediators of shape (..., k); 0 where the scale is."""
    result: Floats = np.tanh(mediators * np.divide(1, scale, where=scale > 0, out=0 * scale))
    return result


def _side(lengths: Floats) -> Floats:
    """-1 for each mediator of which an answer has more than the reference, 1 for less, on average."""
    side: Floats = np.sign(lengths.mean(axis=0).round(9))  # not the sign of a rounding error
    return side


def _control_rows(calibration: Calibration, side: Floats) -> tuple[Floats, ...]:
    """Features, targets, offsets and weights of the verdicts on the controls, for a row on this side.

    A control speaks of a mediator only to rows on its own side: that padding is liked does not say
    that a cut is forgiven. It has no quality or difficulty: a neutral one is the reference, and
    any other is fixed at its win rate, which leaves nothing for its mediators to explain.
    """
    k = len(side)
    features, target, offset = [np.empty((0, k + 2))], [np.empty(0)], [np.empty(0)]
    weight = [np.empty(0)]
    for control in calibration.controls:
        judged = ~np.isnan(control.preference)
        if not judged.any():
            continue
        lengths = features_of(control.mediators[judged], calibration.scale)
        p, fixed = control.preference[judged], np.zeros(len(lengths))
        if control.role != "neutral":
            p = np.full(len(p), (p.sum() + 0.25) / (len(p) + 0.5))  # of neither all nor none
            fixed = logit(p)
        features.append(np.pad(lengths * (_side(lengths) == side), ((0, 0), (1, 1))))
        target.append(p)
        offset.append(fixed)
        is_constant = control.role == "constant"
        counts = calibration.constant_weight if is_constant else CONTROL_WEIGHT
        weight.append(np.full(len(lengths), counts))
    parts = (features, target, offset, weight)
    return tuple(np.concatenate(part) for part in parts)


def _fit_row(
    own: Floats, preference: Floats, calibration: Calibration, controls: tuple[Floats, ...]
) -> tuple[Floats, Floats]:
    """The coefficients (theta, phi_1 .. phi_k, psi), and the inverse of the penalised Hessian."""
    x = np.concatenate([own, controls[0]])
    target = np.concatenate([preference, controls[1]])
    offset = np.concatenate([np.zeros(len(own)), controls[2]])
    weight = np.concatenate([np.ones(len(own)), controls[3]])
    prior = np.array([0.0, *calibration.taste, 1.0])
    precision = np.array([QUALITY, *[TASTE] * len(calibration.taste), DISCRIMINATION]) ** -2
    w, change = prior.copy(), np.inf
    while change > TOLERANCE:
        p = expit(x @ w + offset)
        inverse = np.linalg.inv((x.T * (weight * p * (1 - p))) @ x + np.diag(precision))
        step = inverse @ (x.T @ (weight * (target - p)) - precision * (w - prior))
        change = float(np.abs(x @ step).max())
        w = w + safe_size(change) * step
    return w, inverse


def _value_and_influence(
    own: Floats, preference: Floats, w: Floats, inverse: Floats
) -> tuple[float, Floats]:
    """The mean prediction without mediators, and each instruction's influence on it, shape (n,).

    An instruction moves the value by its own prediction and through the fit:

        p_i(0) - value + n * G' H⁻¹ x_i (p - p_i) / (1 - h_i)

    with G the value's gradient, H the penalised Hessian and h_i the leverage. Where few verdicts
    fall on answers of the reference's length, on which the fit leans, the observed residuals there
    say little; the second part is then scaled up to the variance that the fitted p_i imply, with
    the overall scatter.
    """
    level = own.copy()
    level[:, 1:-1] = 0.0
    at_level, predicted = expit(level @ w), expit(own @ w)
    value = float(at_level.mean())
    spread = predicted * (1 - predicted)
    leverage = spread * np.einsum("ij,jk,ik->i", own, inverse, own)
    reach = own @ (inverse @ ((at_level * (1 - at_level)) @ level)) / (1 - leverage)
    residual = preference - predicted
    observed = float(np.square(reach * residual).sum())
    implied = float(np.square(reach) @ spread * np.square(residual).sum() / spread.sum())
    scale = np.sqrt(implied / observed) if 0 < observed < implied else 1.0
    return value, at_level - value + scale * reach * residual


def safe_size(change: float) -> float:
    """The share of a Newton step that cannot overshoot.

    Along a step that changes no logit by more than r, the curvature of a logistic loss grows at
    most by exp(r * share), so that the loss still falls at log(1 + r) / r.
    Source: Bach (2010), Electronic Journal of Statistics 4.
    """
    return float(np.log1p(change) / change) if change > 0 else 1.0
