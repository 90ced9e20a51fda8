"""The win rate against AlpacaEval's published figures and against its properties."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderboard.statistics.uncertainty import mean_interval
from leaderboard.statistics.winrate import WinRate, by_category, reference_win_rate, win_rate

PUBLISHED = [
    ("alpaca_eval_1", "annotations.parquet", "official_leaderboard.csv", 26),
    ("alpaca_eval_2", "annotations.parquet", "official_leaderboard.csv", 28),
    (
        "alpaca_eval_2",
        "annotations_other_judges.parquet",
        "official_leaderboard_other_judges.csv",
        8,
    ),
]

rows_strategy = st.lists(
    st.tuples(
        st.integers(0, 6),
        st.one_of(st.none(), st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1)),
    ),
    min_size=1,
    max_size=30,
)


def frame(rows: list[tuple[int, float | None]]) -> pd.DataFrame:
    """Items whose votes are either all there or all missing."""
    preference = pd.Series([p for _, p in rows], dtype=float)
    return pd.DataFrame(
        {
            "instruction_id": [f"i{i}" for i, _ in rows],
            "preference": preference,
            "low": preference.fillna(0.0),
            "high": preference.fillna(1.0),
        }
    )


@pytest.mark.parametrize(("board", "annotations", "leaderboard", "n_rows"), PUBLISHED)
def test_alpaca_evals_published_figures(
    shared_data: Path, board: str, annotations: str, leaderboard: str, n_rows: int
) -> None:
    verdicts = pd.read_parquet(shared_data / board / annotations)
    keys = [name for name in ("judge", "model") if name in verdicts.columns]
    groups = dict(list(verdicts.groupby(keys)))
    published = pd.read_csv(shared_data / board / leaderboard)
    assert len(published) == n_rows
    for row in published.to_dict("records"):
        rows = groups[tuple(row[key] for key in keys)]
        preference = rows["preference"] - 1
        ours = win_rate(
            pd.DataFrame(
                {
                    "instruction_id": rows["instruction_index"],
                    "preference": preference,
                    "low": preference.fillna(0.0),
                    "high": preference.fillna(1.0),
                }
            )
        )
        counts = (ours.n_wins, ours.n_losses, ours.n_draws, ours.n_judged)
        assert counts == (row["n_wins"], row["n_wins_base"], row["n_draws"], row["n_total"])
        assert 100 * ours.value == pytest.approx(row["win_rate"], abs=1e-9, rel=0)
        assert 100 * ours.standard_error == pytest.approx(row["standard_error"], abs=1e-9, rel=0)
        assert 100 * ours.discrete == pytest.approx(row["discrete_win_rate"], abs=1e-9, rel=0)
        assert ours.low < ours.value < ours.high


def test_several_references_by_hand() -> None:
    items = pd.DataFrame(
        {
            "instruction_id": ["a", "b", "a", "c", "c", "d"],
            "preference": [1.0, 0.5, 0.2, 0.7, None, None],
            "low": [1.0, 0.5, 0.2, 0.4, 0.0, 0.0],
            "high": [1.0, 0.5, 0.2, 0.9, 1.0, 1.0],
        }
    )
    found = win_rate(items, level=0.9)
    # c and d are not judged against every reference.
    interval = mean_interval([0.6, 0.5], level=0.9)
    assert found.value == pytest.approx(0.55)
    assert found.standard_error == pytest.approx(0.05)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert (found.n_wins, found.n_losses, found.n_draws) == (2, 1, 1)
    assert (found.n_judged, found.n_items, found.n_instructions) == (4, 6, 2)
    assert found.discrete == 0.625
    assert found.coverage == pytest.approx(4 / 6)
    assert found.bound_low == pytest.approx((0.6 + 0.5 + 0.2 + 0.0) / 4)
    assert found.bound_high == pytest.approx((0.6 + 0.5 + 0.95 + 1.0) / 4)
    assert found.level == 0.9


def test_only_an_exact_half_is_a_draw() -> None:
    found = win_rate(frame([(0, 0.5), (1, np.nextafter(0.5, 1)), (2, np.nextafter(0.5, 0))]))
    assert (found.n_wins, found.n_losses, found.n_draws) == (1, 1, 1)


@pytest.mark.parametrize("dtype", ["float64", "object", "Float64"])
def test_nothing_judged(dtype: str) -> None:
    items = frame([(0, None), (1, None)])
    items["preference"] = items["preference"].astype(dtype)
    found = win_rate(items)
    assert math.isnan(found.value)
    assert math.isnan(found.standard_error)
    assert math.isnan(found.discrete)
    assert (found.low, found.high, found.bound_low, found.bound_high) == (0, 1, 0, 1)
    assert (found.n_judged, found.n_items, found.n_instructions, found.coverage) == (0, 2, 0, 0)


@given(rows_strategy)
def test_swapping_the_sides_mirrors_everything(rows: list[tuple[int, float | None]]) -> None:
    found = win_rate(frame(rows))
    swapped = win_rate(frame([(i, None if p is None else 1 - p) for i, p in rows]))
    for ours, theirs in [
        ("value", "value"),
        ("low", "high"),
        ("high", "low"),
        ("bound_low", "bound_high"),
        ("bound_high", "bound_low"),
    ]:
        assert getattr(swapped, ours) == pytest.approx(
            1 - getattr(found, theirs), abs=1e-9, nan_ok=True
        )
    assert swapped.standard_error == pytest.approx(found.standard_error, abs=1e-9, nan_ok=True)


@given(rows_strategy)
def test_a_second_implementation(rows: list[tuple[int, float | None]]) -> None:
    found = win_rate(frame(rows))
    judged: dict[int, list[float]] = {}
    worst: dict[int, list[float]] = {}
    for i, p in rows:
        worst.setdefault(i, []).append(0.0 if p is None else p)
        if p is not None:
            judged.setdefault(i, []).append(p)
    whole = [i for i in judged if len(judged[i]) == len(worst[i])]
    means = [sum(judged[i]) / len(judged[i]) for i in whole]
    bounds = [sum(values) / len(values) for values in worst.values()]
    assert found.bound_low == pytest.approx(sum(bounds) / len(bounds))
    assert found.n_instructions == len(means)
    assert found.n_wins + found.n_losses + found.n_draws == found.n_judged
    if means:
        assert found.value == pytest.approx(sum(means) / len(means))
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert found.low < found.high


@given(st.data(), rows_strategy)
def test_the_order_of_rows_does_not_matter(
    data: st.DataObject, rows: list[tuple[int, float | None]]
) -> None:
    found = win_rate(frame(rows))
    shuffled = win_rate(frame(data.draw(st.permutations(rows))))
    for name in WinRate.__dataclass_fields__:
        assert getattr(shuffled, name) == pytest.approx(
            getattr(found, name), abs=1e-12, nan_ok=True
        )


@given(rows_strategy, st.data())
def test_a_better_verdict_never_lowers_the_value(
    rows: list[tuple[int, float | None]], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(rows) - 1))
    i, p = rows[at]
    before, after = list(rows), list(rows)
    before[at] = (i, p or 0.0)
    after[at] = (i, data.draw(st.floats(p or 0.0, 1)))
    first, second = win_rate(frame(before)), win_rate(frame(after))
    assert not second.value < first.value - 1e-12  # nan where no instruction is judged in full
    assert second.discrete >= first.discrete


@given(rows_strategy)
def test_with_nothing_missing_the_bounds_are_the_value(
    rows: list[tuple[int, float | None]],
) -> None:
    found = win_rate(frame([(i, p or 0.0) for i, p in rows]))
    assert found.bound_low == found.value == found.bound_high
    assert found.coverage == 1


def test_one_reference_more_is_not_one_instruction_more() -> None:
    once = win_rate(frame([(i, p) for i, p in enumerate([0.1, 0.9, 0.6])]))
    twice = win_rate(frame([(i, p) for i, p in enumerate([0.1, 0.9, 0.6]) for _ in range(2)]))
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high))
    assert twice.standard_error == pytest.approx(once.standard_error)


def test_the_reference_is_half_by_definition() -> None:
    found = reference_win_rate(805)
    assert found.value == found.low == found.high == found.discrete == 0.5
    assert found.bound_low == found.bound_high == 0.5
    assert (found.standard_error, found.coverage, found.level) == (0, 1, 0.95)
    assert (found.n_wins, found.n_losses, found.n_draws) == (0, 0, 805)
    assert (found.n_judged, found.n_items, found.n_instructions) == (805, 805, 805)
    with pytest.raises(ValueError, match="at least 1"):
        reference_win_rate(0)
    with pytest.raises(ValueError, match="level"):
        reference_win_rate(5, level=95)


def test_categories_in_the_order_of_their_names() -> None:
    items = frame([(0, 1.0), (1, 0.0), (2, 0.5), (3, None), (4, 0.2)])
    items["category"] = ["writing", "code", "writing", "code", "code"]
    found = by_category(items, level=0.9)
    assert list(found) == ["code", "writing"]
    assert found["code"] == win_rate(items[items["category"] == "code"], 0.9)
    assert found["writing"].value == 0.75
    assert win_rate(items).n_items == 5


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("preference", 1.5, "preference of instruction 'i1' is 1.5"),
        ("preference", -0.5, "preference of instruction 'i1'"),
        ("preference", math.inf, "preference of instruction 'i1'"),
        ("low", math.nan, "low of instruction 'i1' is nan"),
        ("low", 0.9, "low is above high"),
        ("high", 2.0, "high of instruction 'i1' is 2.0"),
        ("instruction_id", None, "instruction_id is missing"),
    ],
)
def test_bad_cells_are_refused(column: str, value: float | None, message: str) -> None:
    items = frame([(0, None), (1, 0.5)])
    items.loc[1, column] = value
    with pytest.raises(ValueError, match=message):
        win_rate(items)


def test_bad_frames_are_refused() -> None:
    items = frame([(0, 0.5)])
    with pytest.raises(ValueError, match="missing columns: preference, low"):
        win_rate(items.drop(columns=["preference", "low"]))
    with pytest.raises(ValueError, match=r"unknown columns: 7, judge; known are instruction_id, "):
        win_rate(items.assign(**{"7": 1, "judge": "x"}))
    with pytest.raises(ValueError, match="no items"):
        win_rate(items.iloc[:0])
    with pytest.raises(ValueError, match="level"):
        win_rate(items, level=95)
    with pytest.raises(ValueError, match="missing columns: category"):
        by_category(items)
    with pytest.raises(ValueError, match="category is missing"):
        by_category(items.assign(category=None))


def test_what_is_missing_against_a_strong_reference_does_not_flatter() -> None:
    answered = [(i, p) for i in range(10) for p in (0.9, 0.1)]
    silent = [(i, None if p == 0.1 and i < 5 else p) for i, p in answered]
    assert win_rate(frame(silent)).value == pytest.approx(win_rate(frame(answered)).value)
