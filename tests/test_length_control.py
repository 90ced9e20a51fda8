from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import linear_model

from leaderboard.statistics.length_control import (
    GAMED_WEIGHT,
    GamedRows,
    choose_strength,
    fit_l1_logistic,
    lc_alpaca_eval,
    scaled_length,
)

RNG = np.random.default_rng(0)


def sample(n: int, length: float = 0.0, quality: float = 0.0) -> tuple[np.ndarray, ...]:
    """Preferences with a taste for length and a quality, and lengths and difficulties to go."""
    rng = np.random.default_rng(n)
    len_reference = rng.integers(100, 2000, n)
    len_model = (len_reference * rng.uniform(0.3, 2.0, n)).astype(int)
    difficulty = rng.normal(size=n)
    margin = length * scaled_length(len_model, len_reference) + 0.3 * difficulty + quality
    return 1 / (1 + np.exp(-margin)), len_model, len_reference, difficulty


def gamed(n: int = 100) -> GamedRows:
    rng = np.random.default_rng(7)
    reference = rng.integers(100, 2000, 2 * n)
    factor = np.repeat([1.6, 0.5], n) * rng.uniform(0.9, 1.1, 2 * n)
    return GamedRows(
        preference=np.repeat([0.6, 0.3], n),
        len_model=(reference * factor).astype(int),
        len_reference=reference,
        difficulty=np.tile(rng.normal(size=n), 2),
        version=np.repeat(["long", "short"], n),
    )


def load(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    verdicts = pd.read_parquet(folder / "annotations.parquet")
    figures = pd.read_csv(folder / "recomputed_figures.csv").set_index("model")
    difficulty = pd.read_csv(folder.parent / "alpaca_eval_2" / "instruction_difficulty.csv")
    return verdicts, figures, difficulty.set_index("instruction_index")["instruction_difficulty"]


@pytest.mark.parametrize("version", ["alpaca_eval_1", "alpaca_eval_2"])
def test_it_is_within_a_tenth_of_a_point_of_the_package(shared_data: Path, version: str) -> None:
    verdicts, figures, difficulty = load(shared_data / version)
    rows = pd.read_csv(shared_data / "alpaca_eval_2" / "gamed_references.csv")
    rows_of_reference = GamedRows(
        preference=rows["preference"].to_numpy() - 1,
        len_model=rows["len_model"].to_numpy(),
        len_reference=rows["len_reference"].to_numpy(),
        difficulty=difficulty[rows["instruction_index"]].to_numpy(),
        version=rows["model"].to_numpy(),
    )
    for model, of in verdicts.groupby("model"):
        if (of["preference"] == 1.5).all():  # the reference itself: 50 by definition
            continue
        listed = figures.loc[model]
        # By row position, as the package does it.
        by_position = difficulty.iloc[: len(of)].to_numpy()
        arrays = (of["preference"].to_numpy() - 1, of["len_model"].to_numpy())
        for strength in (None, listed["regularisation_c"]):
            found = lc_alpaca_eval(
                *arrays,
                of["len_reference"].to_numpy(),
                by_position,
                rows_of_reference,
                strength=strength,
            )
            assert abs(100 * found.value - listed["length_controlled_winrate"]) < 0.1, model


@pytest.mark.parametrize("strength", [0.01, 1.0, 100.0])
def test_the_fit_is_the_optimum_that_scikit_learn_finds(strength: float) -> None:
    p, len_model, len_reference, difficulty = sample(300, length=-1.5, quality=-0.5)
    x = np.column_stack([scaled_length(len_model, len_reference), difficulty, np.ones(300)])
    w = RNG.uniform(0.1, 1, 300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        oracle = linear_model.LogisticRegression(
            penalty="l1", solver="liblinear", C=strength, fit_intercept=False, tol=1e-12,
            max_iter=100_000, random_state=0,
        )  # fmt: skip
        both = np.vstack([x, x]), np.repeat([1, 0], 300), np.concatenate([w * p, w * (1 - p)])
        oracle.fit(both[0], both[1], sample_weight=both[2])
    assert fit_l1_logistic(x, p, w, strength) == pytest.approx(oracle.coef_[0], abs=1e-7)


def test_a_strong_penalty_leaves_nothing() -> None:
    p, len_model, len_reference, difficulty = sample(50, quality=2.0)
    x = np.column_stack([scaled_length(len_model, len_reference), difficulty, np.ones(50)])
    assert not fit_l1_logistic(x, p, np.ones(50), 1e-4).any()


def test_a_separable_sample_has_a_finite_fit() -> None:
    x = np.linspace(-1, 1, 20)[:, None]
    fit = fit_l1_logistic(x, (x[:, 0] > 0).astype(float), np.ones(20), 1e6)
    assert np.isfinite(fit).all()
    assert fit[0] > 10


@settings(max_examples=15, deadline=None)
@given(st.integers(30, 200), st.floats(-3, 3), st.floats(-3, 3))
def test_swapping_the_sides_maps_p_to_one_less_p(n: int, length: float, quality: float) -> None:
    p, one, two, difficulty = sample(n, length, quality)
    rows = gamed()
    mirrored = GamedRows(
        preference=1 - rows.preference,
        len_model=rows.len_reference,
        len_reference=rows.len_model,
        difficulty=rows.difficulty,
        version=rows.version,
    )
    here = lc_alpaca_eval(p, one, two, difficulty, rows, strength=10.0)
    there = lc_alpaca_eval(1 - p, two, one, difficulty, mirrored, strength=10.0)
    assert 0 <= here.value <= 1
    assert here.value + there.value == pytest.approx(1, abs=0.02)


def test_a_taste_for_length_is_taken_out() -> None:
    p, len_model, len_reference, difficulty = sample(800, length=-2.0, quality=-1.0)
    truth = (1 / (1 + np.exp(-(0.3 * difficulty - 1.0)))).mean()
    rows = gamed()
    found = lc_alpaca_eval(p, len_model, len_reference, difficulty, rows)
    assert abs(found.value - truth) < 0.02
    assert found.length == pytest.approx(-2.0, abs=0.3)
    assert found.n == 800
    assert GAMED_WEIGHT == 0.1


def test_a_missing_verdict_is_predicted_but_not_fitted() -> None:
    p, len_model, len_reference, difficulty = sample(100, quality=0.5)
    p[3] = np.nan
    found = lc_alpaca_eval(p, len_model, len_reference, difficulty, gamed(), strength=10.0)
    assert found.n == 100
    assert np.isfinite(found.value)


def test_the_strength_is_one_of_the_ten() -> None:
    p, len_model, len_reference, difficulty = sample(60)
    x = np.column_stack([scaled_length(len_model, len_reference), difficulty, np.ones(60)])
    assert 1e-4 <= choose_strength(x, p, np.ones(60)) <= 1e4


def test_what_cannot_be_fitted_is_refused() -> None:
    p, len_model, len_reference, difficulty = sample(10)
    with pytest.raises(ValueError, match="one entry an instruction"):
        lc_alpaca_eval(p[1:], len_model, len_reference, difficulty, gamed())
    with pytest.raises(ValueError, match="by the same in every row"):
        scaled_length(np.array([1, 2]), np.array([2, 3]))
    with pytest.raises(ValueError, match="by the same in every row"):
        scaled_length(np.array([1]), np.array([3]))
