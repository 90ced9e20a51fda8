"""Bradley-Terry against hand computations, its properties, evalica and plain reference loops."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
import scipy.optimize
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from leaderboard.statistics.bradley_terry import BradleyTerry, bootstrap_strengths, bradley_terry

NATURAL = math.log(10) / 400
Row = tuple[str, str, str, float]


def frame(rows: Sequence[Row]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["instruction_id", "model_1", "model_2", "preference"])


def pairs(model_1: str, model_2: str, preferences: Sequence[float]) -> pd.DataFrame:
    """One battle an instruction."""
    return frame([(f"i{k}", model_1, model_2, p) for k, p in enumerate(preferences)])


def swapped(battles: pd.DataFrame) -> pd.DataFrame:
    return battles.assign(
        model_1=battles["model_2"],
        model_2=battles["model_1"],
        preference=1 - battles["preference"],
    )


def drawn(
    rng: np.random.Generator, strength: Sequence[float], n: int, *, votes: int = 1
) -> pd.DataFrame:
    """All pairs of models on n instructions, `votes` verdicts each.

    A model's answer has a quality of its strength and Gumbel noise, the better one wins: then the
    chance of each pair is Bradley-Terry's exactly, and the verdicts on one instruction are far from
    independent, as they share the qualities.
    """
    quality = np.asarray(strength) + rng.gumbel(size=(n, len(strength)))
    one, two = np.array(list(itertools.combinations(range(len(strength)), 2))).T
    wins = (quality[:, two] > quality[:, one]).astype(float)
    names = np.array([f"m{k}" for k in range(len(strength))], dtype=object)
    return pd.DataFrame(
        {
            "instruction_id": np.tile(np.repeat(np.arange(n), len(one)), votes),
            "model_1": np.tile(names[one], n * votes),
            "model_2": np.tile(names[two], n * votes),
            "preference": np.tile(wins.ravel(), votes),
        }
    )


def arena(seed: int = 0, *, n_models: int = 8, n_battles: int = 3000) -> pd.DataFrame:
    """Battles of random pairs, one in five a tie, some fifteen an instruction."""
    rng = np.random.default_rng(seed)
    strength = np.linspace(-2, 2, n_models)
    one = rng.integers(n_models, size=n_battles)
    two = (one + rng.integers(1, n_models, size=n_battles)) % n_models
    chance = 1 / (1 + np.exp(strength[one] - strength[two]))
    preference = (rng.random(n_battles) < chance).astype(float)
    preference[rng.random(n_battles) < 0.2] = 0.5
    instruction = rng.integers(n_battles // 15, size=n_battles)
    return frame(
        [
            (f"i{i}", f"m{a}", f"m{b}", p)
            for i, a, b, p in zip(instruction, one, two, preference, strict=True)
        ]
    )


# ---------------------------------------------------------------------------------- by hand
def test_two_models_by_hand() -> None:
    # 30 wins of 40: log odds log 3, curvature 40 · ¾ · ¼ = 7.5, scores 30 · (¼)² + 10 · (¾)² = 7.5.
    fit = bradley_terry(pairs("a", "b", [1.0] * 30 + [0.0] * 10), anchor="a")
    assert fit.models == ("a", "b")
    assert fit.strength == pytest.approx([0, math.log(3)])
    assert fit.rating == pytest.approx([1000, 1000 + 400 * math.log10(3)])
    error = math.sqrt(40 / 39 / 7.5)
    assert fit.standard_error == pytest.approx([0, error])
    half = 400 / math.log(10) * scipy.stats.t.ppf(0.975, 39) * error
    assert (fit.low[1], fit.high[1]) == pytest.approx((fit.rating[1] - half, fit.rating[1] + half))
    assert (fit.low[0], fit.high[0]) == (1000, 1000)
    assert fit.win_probability == pytest.approx(np.array([[0.5, 0.25], [0.75, 0.5]]))
    assert (fit.n_battles, fit.n_clusters, fit.anchor, fit.level) == (40, 40, "a", 0.95)


def test_four_hundred_points_are_ten_to_one() -> None:
    fit = bradley_terry(pairs("a", "b", [1.0] * 100 + [0.0] * 10), anchor="a")
    assert fit.rating[1] == pytest.approx(1400)


def test_published_example() -> None:
    # Agresti, Categorical Data Analysis (2nd ed., 2002), section 10.6.1: the American League
    # baseball season of 1987, 13 games a pair; strengths against Baltimore, to three digits.
    teams = ["Milwaukee", "Detroit", "Toronto", "New York", "Boston", "Cleveland", "Baltimore"]
    wins = np.array(
        [
            [0, 7, 9, 7, 7, 9, 11],
            [6, 0, 7, 5, 11, 9, 9],
            [4, 6, 0, 7, 7, 8, 12],
            [6, 8, 6, 0, 6, 7, 10],
            [6, 2, 6, 7, 0, 7, 12],
            [4, 4, 5, 6, 6, 0, 6],
            [2, 4, 1, 3, 1, 7, 0],
        ]
    )
    rows = [
        (f"{a} {b} {k}", teams[b], teams[a], 1.0)
        for a in range(7)
        for b in range(7)
        for k in range(wins[a, b])
    ]
    fit = bradley_terry(frame(rows), anchor="Baltimore")
    expected = [1.581, 1.436, 1.294, 1.248, 1.108, 0.684, 0.0]
    found = [fit.strength[fit.models.index(team)] for team in teams]
    assert found == pytest.approx(expected, abs=6e-4)


def test_a_tie_is_half_a_win_each() -> None:
    tied = bradley_terry(pairs("a", "b", [0.5, 0.5, 1.0, 1.0, 0.0]))
    split = bradley_terry(pairs("a", "b", [1.0, 0.0, 1.0, 1.0, 0.0]))
    assert tied.strength == pytest.approx(split.strength)
    assert tied.standard_error[0] < split.standard_error[0]


def test_missing_verdicts_are_dropped() -> None:
    battles = arena()
    more = frame([("i0", "m1", "m2", math.nan), ("other", "m1", "unjudged", math.nan)])
    fit, same = bradley_terry(battles), bradley_terry(pd.concat([battles, more]))
    assert same.models == fit.models
    assert (same.n_battles, same.n_clusters) == (fit.n_battles, fit.n_clusters)
    assert np.array_equal(same.rating, fit.rating)
    assert np.array_equal(same.low, fit.low)


# ------------------------------------------------------------------------- second implementations
def test_points_are_those_of_evalica() -> None:
    evalica = pytest.importorskip("evalica", reason="evalica is not installed")
    battles = arena(1)
    winner = {0.0: evalica.Winner.X, 0.5: evalica.Winner.Draw, 1.0: evalica.Winner.Y}
    theirs = evalica.bradley_terry(
        battles["model_1"].tolist(),
        battles["model_2"].tolist(),
        [winner[p] for p in battles["preference"]],
        tolerance=1e-12,
        limit=10_000,
    )
    ours = bradley_terry(battles)
    expected = np.log(theirs.scores[list(ours.models)].to_numpy())
    assert ours.strength == pytest.approx(expected, abs=1e-6)


def test_soft_preferences_are_those_of_evalica_with_weights() -> None:
    evalica = pytest.importorskip("evalica", reason="evalica is not installed")
    battles = arena(2)
    preference = np.random.default_rng(2).random(len(battles))
    one, two = battles["model_1"].tolist(), battles["model_2"].tolist()
    theirs = evalica.bradley_terry(
        one * 2,
        two * 2,
        [evalica.Winner.Y] * len(one) + [evalica.Winner.X] * len(one),
        weights=[*preference, *(1 - preference)],
        tolerance=1e-12,
        limit=10_000,
    )
    ours = bradley_terry(battles.assign(preference=preference))
    expected = np.log(theirs.scores[list(ours.models)].to_numpy())
    assert ours.strength == pytest.approx(expected, abs=1e-6)


def plain_strengths(battles: pd.DataFrame, models: Sequence[str]) -> np.ndarray:
    """The maximum of the likelihood by a general optimiser, row by row, 0 on average."""
    place = {model: k for k, model in enumerate(models)}
    one = battles["model_1"].map(place).to_numpy()
    two = battles["model_2"].map(place).to_numpy()
    p = battles["preference"].to_numpy()

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        lead = x[two] - x[one]
        value = np.sum(np.logaddexp(0, lead) - p * lead) + 0.5 * x.sum() ** 2
        pull = 1 / (1 + np.exp(-lead)) - p
        n = len(models)
        return value, np.bincount(two, pull, n) - np.bincount(one, pull, n) + x.sum()

    return scipy.optimize.minimize(loss, np.zeros(len(models)), jac=True, method="BFGS").x


def test_bootstrap_agrees_with_a_plain_loop_and_with_the_sandwich() -> None:
    battles = drawn(np.random.default_rng(3), [-1, -0.3, 0.2, 1.1], 150, votes=2)
    fit = bradley_terry(battles)
    parts = [rows for _, rows in battles.groupby("instruction_id")]
    rng = np.random.default_rng(4)
    loop = np.array(
        [
            plain_strengths(
                pd.concat([parts[k] for k in rng.integers(len(parts), size=len(parts))]), fit.models
            )
            for _ in range(200)
        ]
    )
    ours = bootstrap_strengths(battles, 2000, seed=5)
    # Two standard deviations of 200 and 2,000 normal draws: each within 5 % and 1.6 %, times four.
    assert ours.std(axis=0) == pytest.approx(loop.std(axis=0), rel=0.21)
    assert ours.mean(axis=0) == pytest.approx(loop.mean(axis=0), abs=0.04)
    assert fit.standard_error == pytest.approx(ours.std(axis=0), rel=0.1)
    assert ours.sum(axis=1) == pytest.approx(0, abs=1e-9)


def test_each_round_is_the_maximum_for_what_it_drew() -> None:
    battles = drawn(np.random.default_rng(6), [-1, 0, 1], 60)
    rounds = bootstrap_strengths(battles, 3, seed=7)
    rng = np.random.default_rng(7)
    parts = [rows for _, rows in battles.groupby("instruction_id")]
    for strengths in rounds:
        sample = pd.concat([parts[k] for k in rng.integers(60, size=60)])
        assert strengths == pytest.approx(plain_strengths(sample, ["m0", "m1", "m2"]), abs=1e-4)


def plain_sandwich(battles: pd.DataFrame, fit: BradleyTerry) -> np.ndarray:
    """The textbook's: a design matrix without the anchor's column, scores added up by cluster."""
    free = [model for model in fit.models if model != fit.anchor]
    design = np.array(
        [
            [(two == model) - (one == model) for model in free]
            for one, two in zip(battles["model_1"], battles["model_2"], strict=True)
        ],
        dtype=float,
    )
    p = 1 / (1 + np.exp(-design @ [fit.strength[fit.models.index(model)] for model in free]))
    bread = np.linalg.inv((design.T * (p * (1 - p))) @ design)
    scores = pd.DataFrame(design * (battles["preference"].to_numpy() - p)[:, None])
    by_cluster = scores.groupby(battles["instruction_id"].to_numpy()).sum().to_numpy()
    n = len(by_cluster)
    return n / (n - 1) * bread @ by_cluster.T @ by_cluster @ bread


@pytest.mark.parametrize("anchor", ["m0", "m3", "m7"])
def test_covariance_is_the_textbooks_sandwich(anchor: str) -> None:
    battles = arena(8)
    fit = bradley_terry(battles, anchor=anchor)
    free = [k for k, model in enumerate(fit.models) if model != anchor]
    expected = plain_sandwich(battles, fit)
    assert fit.covariance[np.ix_(free, free)] == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert fit.standard_error[free] == pytest.approx(np.sqrt(np.diag(expected)))


# ------------------------------------------------------------------------------------ properties
@given(st.randoms(use_true_random=False))
def test_swapping_the_sides_and_the_order_of_rows_change_nothing(random: object) -> None:
    battles = arena(9, n_models=4, n_battles=60)
    seed = random.randint(0, 2**31)
    flip = np.random.default_rng(seed).random(len(battles)) < 0.5
    other = pd.concat([swapped(battles[flip]), battles[~flip]]).sample(frac=1, random_state=seed)
    fit, same = bradley_terry(battles), bradley_terry(other)
    assert same.models == fit.models
    assert same.rating == pytest.approx(fit.rating, abs=1e-6)
    assert same.standard_error == pytest.approx(fit.standard_error, abs=1e-9)


def test_exchanging_the_verdicts_negates_the_strengths() -> None:
    battles = arena(10)
    fit, mirrored = (
        bradley_terry(battles),
        bradley_terry(battles.assign(preference=1 - battles["preference"])),
    )
    assert mirrored.strength == pytest.approx(-fit.strength)
    assert mirrored.standard_error == pytest.approx(fit.standard_error)


@pytest.mark.parametrize("anchor", ["m0", "m5"])
def test_an_anchor_shifts_all_and_changes_no_difference(anchor: str) -> None:
    battles = arena(11)
    fit, anchored = bradley_terry(battles), bradley_terry(battles, anchor=anchor)
    assert fit.strength.sum() == pytest.approx(0)
    shift = fit.strength[fit.models.index(anchor)]
    assert anchored.strength == pytest.approx(fit.strength - shift)
    assert anchored.rating[fit.models.index(anchor)] == 1000
    assert np.array_equal(anchored.win_probability, fit.win_probability)
    for a, b in itertools.combinations(fit.models, 2):
        one, two = fit.difference(a, b), anchored.difference(a, b)
        assert (one.low, one.high) == pytest.approx((two.low, two.high))


def test_differences() -> None:
    fit = bradley_terry(arena(12), anchor="m2", level=0.9)
    against = fit.difference("m6", "m2")  # the anchor's own error is 0
    assert against.value == pytest.approx(fit.strength[6])
    assert against.standard_error == pytest.approx(fit.standard_error[6])
    assert against.low == pytest.approx((fit.low[6] - 1000) * NATURAL)
    assert (against.n, against.level) == (fit.n_clusters, 0.9)
    back = fit.difference("m2", "m6")
    assert (back.low, back.high) == pytest.approx((-against.high, -against.low))
    same = fit.difference("m6", "m6")
    assert (same.low, same.high) == (0, 0)


def test_chances_of_both_sides_add_up_to_one() -> None:
    chance = bradley_terry(arena(13)).win_probability
    assert chance + chance.T == pytest.approx(1)
    assert np.all(np.diag(chance) == 0.5)


def test_twice_the_instructions_shrink_the_errors_by_root_two() -> None:
    battles = arena(14)
    again = battles.assign(instruction_id="again " + battles["instruction_id"])
    fit, double = bradley_terry(battles), bradley_terry(pd.concat([battles, again]))
    n = fit.n_clusters
    factor = math.sqrt((n / (n - 1)) / (2 * n / (2 * n - 1)) * 2)
    assert double.strength == pytest.approx(fit.strength)
    assert fit.standard_error / double.standard_error == pytest.approx(factor)


def test_repeated_verdicts_on_the_same_instructions_are_no_news() -> None:
    battles = arena(15)
    fit, repeated = bradley_terry(battles), bradley_terry(pd.concat([battles] * 5))
    assert repeated.standard_error == pytest.approx(fit.standard_error)
    assert repeated.n_battles == 5 * fit.n_battles


def test_rounds_follow_the_seed() -> None:
    battles = arena(16, n_models=4, n_battles=300)
    one, two = bootstrap_strengths(battles, 5, seed=1), bootstrap_strengths(battles, 5, seed=1)
    assert np.array_equal(one, two)
    assert not np.array_equal(one, bootstrap_strengths(battles, 5, seed=2))
    assert np.array_equal(one[:3], bootstrap_strengths(battles, 3, seed=1))


# -------------------------------------------------------------------------------------- coverage
@pytest.mark.parametrize("n", [50, 120])
@pytest.mark.parametrize("width", [0.3, 2.5])
def test_intervals_cover_and_those_that_ignore_the_instructions_do_not(
    n: int, width: float
) -> None:
    rng = np.random.default_rng(17)
    truth = np.linspace(-width, width, 5)
    hits, row_hits = [], []
    for _ in range(160):
        battles = drawn(rng, truth, n, votes=3)
        fit = bradley_terry(battles)
        by_row = bradley_terry(battles.assign(instruction_id=np.arange(len(battles))))
        true = 1000 + truth / NATURAL
        hits.append((fit.low <= true) & (true <= fit.high))
        row_hits.append((by_row.low <= true) & (true <= by_row.high))
    # The standard deviation of a model's coverage in 160 samples is 1.7 points.
    assert np.mean(hits, axis=0).min() > 0.88
    assert 0.92 < np.mean(hits) < 0.98
    assert np.mean(row_hits) < 0.85


# ------------------------------------------------------------------- where there is no maximum
def test_a_model_that_won_everything_is_given_half_a_loss() -> None:
    fit = bradley_terry(pairs("a", "b", [1.0] * 20))
    assert fit.strength[1] - fit.strength[0] == pytest.approx(math.log(20.5 / 0.5))
    # Scores ½ · 20½ / 21 of the ties' and the verdicts' expected variance, and nearly none seen.
    difference = fit.difference("b", "a")
    assert 1.4 < difference.standard_error < 1.5
    assert difference.low > 0


def test_the_half_win_is_one_however_many_opponents_there_are() -> None:
    battles = arena(18)
    lost = frame([(f"i{k}", "loser", f"m{k % 8}", 1.0) for k in range(160)])
    fit, whole = bradley_terry(battles), bradley_terry(pd.concat([battles, lost]))
    assert whole.models[0] == "loser"
    opponents = whole.strength[1:]
    expected = np.sum((20 + 0.125) * whole.win_probability[0, 1:])
    assert expected == pytest.approx(0.5, rel=1e-6)
    assert whole.strength[0] < opponents.min()
    assert whole.standard_error[0] > 1
    # The others hardly notice.
    assert opponents - opponents.mean() == pytest.approx(fit.strength, abs=0.06)


def test_a_ladder_of_models_that_win_everything_is_put_in_order() -> None:
    rows = [
        (f"i{k}", f"m{a}", f"m{b}", 1.0)
        for k in range(30)
        for a, b in itertools.combinations(range(4), 2)
    ]
    fit = bradley_terry(frame(rows), anchor="m1")
    assert np.all(np.diff(fit.strength) > 0)
    assert np.all(np.isfinite(fit.low))
    others = bradley_terry(frame(rows), anchor="m3")
    assert others.strength - others.strength[1] == pytest.approx(fit.strength)


def test_a_model_with_ties_alone_has_an_interval() -> None:
    fit = bradley_terry(pairs("a", "b", [0.5] * 50), anchor="a")
    assert fit.strength[1] == pytest.approx(0, abs=1e-12)
    # One unseen verdict among 50: a variance of 1 over a squared curvature of 12.5².
    assert fit.standard_error[1] == pytest.approx(1 / 12.5)


@pytest.mark.parametrize("p", [1e-3, 1e-6, 1e-9, 1e-11])
def test_verdicts_of_nearly_zero_are_taken_as_they_are(p: float) -> None:
    fit = bradley_terry(pairs("a", "b", [p, 2 * p] * 10), anchor="a")
    assert fit.strength[1] == pytest.approx(math.log(1.5 * p / (1 - 1.5 * p)), rel=1e-6)


def test_equal_verdicts_of_nearly_zero_leave_no_more_doubt_than_half_a_win() -> None:
    fit = bradley_terry(pairs("a", "b", [1e-9] * 10), anchor="a")
    assert fit.standard_error[1] == pytest.approx(math.sqrt(2), rel=1e-3)


def test_verdicts_of_zero_but_for_rounding_are_no_wins() -> None:
    none = bradley_terry(pairs("a", "b", [1e-20] * 10), anchor="a")  # rounding, no win
    assert none.strength[1] == pytest.approx(-math.log(10.5 / 0.5))


def test_rounds_without_a_maximum_or_without_a_model_are_finite() -> None:
    battles = pd.concat(
        [pairs("a", "b", [1.0] * 9 + [0.0]), frame([("i3", "c", "a", 1.0), ("i3", "c", "a", 0.0)])]
    )
    rounds = bootstrap_strengths(battles, 200)
    assert np.all(np.isfinite(rounds))
    assert np.abs(rounds).max() < 10


def test_a_single_instruction_has_no_interval() -> None:
    fit = bradley_terry(frame([("i", "a", "b", 1.0), ("i", "a", "b", 0.0)]))
    assert fit.strength == pytest.approx([0, 0])
    assert np.all(np.isnan([fit.standard_error, fit.low, fit.high]))
    assert math.isnan(fit.difference("a", "b").low)


def test_models_that_no_battles_join_are_named() -> None:
    with pytest.raises(ValueError, match=r"2 groups that never met, around 'a', 'c'"):
        bradley_terry(pd.concat([pairs("a", "b", [1.0, 0.0]), pairs("c", "d", [1.0, 0.0])]))


# ------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda b: b.drop(columns="preference"), "columns must be .*, not instruction_id, model_1"),
        (lambda b: b.assign(judge="gpt"), "columns must be .*judge"),
        (lambda b: b.assign(preference=math.nan), "no battles"),
        (lambda b: b.head(0), "no battles"),
        (lambda b: b.assign(preference=1.5), r"in \[0, 1\]"),
        (lambda b: b.assign(preference=-0.1), r"in \[0, 1\]"),
        (lambda b: b.assign(model_1=None), "is missing in some rows"),
        (lambda b: b.assign(instruction_id=None), "is missing in some rows"),
        (lambda b: b.assign(model_1="a", model_2="a"), "'a' is compared with itself"),
    ],
)
def test_bad_battles_are_refused(change: object, complaint: str) -> None:
    battles = change(pairs("a", "b", [1.0, 0.0]))
    with pytest.raises(ValueError, match=complaint):
        bradley_terry(battles)
    with pytest.raises(ValueError, match=complaint):
        bootstrap_strengths(battles)


def test_strengths_that_do_not_settle_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leaderboard.statistics.bradley_terry._MOST_STEPS", 2)
    with pytest.raises(ValueError, match="did not settle in 2 steps"):
        bradley_terry(pairs("a", "b", [1.0] * 30 + [0.0]))


def test_bad_settings_are_refused() -> None:
    battles = pairs("a", "b", [1.0, 0.0])
    with pytest.raises(ValueError, match="no battle of 'c'; the models are a, b"):
        bradley_terry(battles, anchor="c")
    with pytest.raises(ValueError, match="no battle of 'c'"):
        bradley_terry(battles).difference("a", "c")
    with pytest.raises(ValueError, match="level"):
        bradley_terry(battles, level=95)
    with pytest.raises(ValueError, match="n_rounds"):
        bootstrap_strengths(battles, 0)
