"""A panel: the votes of its judges, what is made of them, and the bounds for missing ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges.checklist import Checklist
from judges.errors import UserError
from judges.heuristic import Heuristic
from judges.panel import Panel, panel_preferences
from judges.schema import Instruction, Message

AGGREGATES = ["mean", "median", "majority"]


NAN = math.nan


def frame(*votes: tuple[str, str, float | None]) -> pd.DataFrame:
    """Annotations: comparison, annotator, preference."""
    columns = ["comparison_id", "annotator", "preference"]
    return pd.DataFrame(list(votes), columns=columns).astype({"preference": float})


def item(votes: list[float | None], **settings: Any) -> dict[str, Any]:
    """The panel's view of one comparison, on which each judge gave one verdict."""
    judges = [f"j{n}" for n in range(len(votes))]
    rows = frame(*(("c", judge, vote) for judge, vote in zip(judges, votes, strict=True)))
    return panel_preferences(rows, ["c"], judges, **settings).iloc[0].to_dict()


@pytest.mark.parametrize(
    ("votes", "mean", "median", "majority"),
    [
        ([0.9, 0.8, 0.1], 0.6, 0.8, 1),
        ([0.4, 0.4, 1.0], 0.6, 0.4, 0),
        ([1.0, 0.0, 0.5], 0.5, 0.5, 0.5),
        ([0.5, 0.5, 0.9], 1.9 / 3, 0.5, 1),
        ([0.2, 0.6], 0.4, 0.4, 0.5),
        ([0.3], 0.3, 0.3, 0),
    ],
)
def test_votes_become_one_preference(votes, mean, median, majority):
    for aggregate, expected in zip(AGGREGATES, (mean, median, majority), strict=True):
        found = item(votes, aggregate=aggregate)
        assert found["preference"] == pytest.approx(expected)
        assert found["low"] == found["high"] == found["preference"]
        assert [found[f"j{n}"] for n in range(len(votes))] == votes


@pytest.mark.parametrize(("min_votes", "preference"), [(1, 0.7), (2, 0.7), (3, NAN), ("all", NAN)])
def test_a_preference_needs_enough_votes(min_votes, preference):
    found = item([0.6, None, 0.8], min_votes=min_votes)
    assert found["preference"] == pytest.approx(preference, nan_ok=True)
    assert found["n_votes"] == 2
    assert math.isnan(found["j1"])


@pytest.mark.parametrize(
    ("aggregate", "low", "high"),
    [("mean", 1.4 / 3, 2.4 / 3), ("median", 0.6, 0.8), ("majority", 1, 1)],
)
def test_the_bounds_fill_in_the_worst_and_the_best(aggregate, low, high):
    found = item([0.6, None, 0.8], aggregate=aggregate, min_votes=1)
    assert (found["low"], found["high"]) == (pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_without_any_vote_everything_is_possible(aggregate):
    found = item([None, None], aggregate=aggregate, min_votes=1)
    assert math.isnan(found["preference"])
    assert (found["low"], found["high"], found["n_votes"]) == (0, 1, 0)


@pytest.mark.parametrize("min_votes", [0, -1, 3])
def test_a_number_of_votes_that_no_item_can_have_is_refused(min_votes):
    with pytest.raises(UserError, match=r"min_votes must lie in 1\.\.2"):
        item([0.5, 0.5], min_votes=min_votes)


def test_a_vote_is_the_mean_over_the_orders_and_missing_with_one_of_them():
    rows = frame(("a", "j", 0.2), ("a", "j", 0.6), ("b", "j", 0.2), ("b", "j", None))
    found = panel_preferences(rows, ["a", "b"], ["j"])
    assert found["preference"].tolist() == pytest.approx([0.4, NAN], nan_ok=True)
    assert found["low"].tolist() == pytest.approx([0.4, 0.1])
    assert found["high"].tolist() == pytest.approx([0.4, 0.6])
    assert found["n_votes"].tolist() == [1, 0]


def test_the_bounds_hold_a_preference_that_leaves_half_a_vote_out():
    rows = frame(("c", "j", 0), ("c", "j", None), ("c", "k", 1))
    found = panel_preferences(rows, ["c"], ["j", "k"], min_votes=1).iloc[0]
    assert (found["low"], found["preference"], found["high"]) == (0.5, 1, 1)


def test_what_was_not_asked_for_is_left_out():
    rows = frame(("b", "j", 1), ("x", "j", 0), ("a", "stranger", 0), ("a", "j", 0.75))
    found = panel_preferences(rows, ["a", "c", "b"], ["j"])
    assert found["comparison_id"].tolist() == ["a", "c", "b"]
    assert found["preference"].tolist() == pytest.approx([0.75, NAN, 1], nan_ok=True)
    assert found["n_votes"].tolist() == [1, 0, 1]
    assert "stranger" not in found


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("comparisons", [[], ["a", "b"]])
def test_no_annotations_at_all(aggregate, comparisons):
    found = panel_preferences(frame(), comparisons, ["j", "k"], aggregate=aggregate)
    assert found["preference"].isna().all()
    assert found["low"].tolist() == [0] * len(comparisons)
    assert found["high"].tolist() == [1] * len(comparisons)


VOTES = st.lists(
    st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=2), min_size=1, max_size=4
)


@given(
    votes=VOTES,
    aggregate=st.sampled_from(AGGREGATES),
    min_votes=st.sampled_from(["all", 1]),
    fill=st.floats(0, 1),
)
def test_the_bounds_hold_whatever_the_missing_verdicts_had_been(votes, aggregate, min_votes, fill):
    judges = [f"j{n}" for n in range(len(votes))]

    def found(missing: float | None) -> dict[str, Any]:
        rows = [
            ("c", judge, missing if verdict is None else verdict)
            for judge, verdicts in zip(judges, votes, strict=True)
            for verdict in verdicts
        ]
        items = panel_preferences(
            frame(*rows), ["c"], judges, aggregate=aggregate, min_votes=min_votes
        )
        return items.iloc[0].to_dict()

    seen, filled = found(None), found(fill)
    slack = 1e-12  # of rounding, in sums of different lengths
    assert seen["low"] - slack <= filled["preference"] <= seen["high"] + slack
    assert 0 <= seen["low"] <= seen["high"] <= 1
    if not math.isnan(seen["preference"]):
        assert seen["low"] - slack <= seen["preference"] <= seen["high"] + slack
    assert (seen["n_votes"] == len(judges)) == all(None not in verdicts for verdicts in votes)


@given(votes=VOTES, aggregate=st.sampled_from(AGGREGATES))
def test_exchanging_the_sides_turns_preference_and_bounds(votes, aggregate):
    def found(turn: bool) -> dict[str, Any]:
        one = [v[0] if v[0] is None or not turn else 1 - v[0] for v in votes]
        return item(one, aggregate=aggregate, min_votes=1)

    plain, turned = found(False), found(True)
    # 1 - p rounds a preference within 1e-16 of a half to it, and the majority with it.
    if aggregate == "majority" and any(v[0] and 0 < abs(v[0] - 0.5) < 1e-9 for v in votes):
        return
    for name, other in (("preference", "preference"), ("low", "high"), ("high", "low")):
        assert turned[name] == pytest.approx(1 - plain[other], abs=1e-9, nan_ok=True)


def test_a_panel_needs_judges_with_names_of_their_own():
    with pytest.raises(UserError, match="at least one judge"):
        Panel(())
    with pytest.raises(UserError, match="have one name: checklist, checklist"):
        Panel((Checklist(), Checklist(tie_band=0.1)))


@pytest.mark.parametrize("aggregate", ["modus", ["mean"], None])
def test_an_unknown_aggregate_is_refused(aggregate):
    with pytest.raises(UserError, match="known: mean, median, majority"):
        Panel((Checklist(),), aggregate)


def test_the_identity_of_a_panel_changes_with_what_its_judges_do():
    made = [
        Panel((Checklist(),)),
        Panel((Checklist(),), "median"),
        Panel((Checklist(tie_band=0.1),)),
        Panel((Checklist(), Heuristic(rule="longest"))),
        Panel((Checklist(name="other"),)),
    ]
    assert len({str(panel.identity()) for panel in made}) == len(made)


def test_a_judge_that_cannot_judge_an_instruction_is_named():
    able = Instruction(id="a", messages=(Message("user", "Go"),), checks=({"kind": "words"},))
    bare = Instruction(id="b", messages=(Message("user", "Go"),))
    panel = Panel((Heuristic(rule="longest"), Checklist(name="strict")))
    panel.check([able])
    with pytest.raises(UserError, match=r"judge strict cannot judge 2 of 3 .* 'b': it has no"):
        panel.check([able, bare, bare])


def test_preferences_are_one_number_a_comparison_in_the_order_asked_for():
    rng = np.random.default_rng(0)
    ids, judges = [f"c{n}" for n in range(50)], ["a", "b", "c"]
    votes = rng.random((50, 3))
    rows = [(c, j, votes[n, m]) for n, c in enumerate(ids) for m, j in enumerate(judges)]
    rng.shuffle(rows)
    found = panel_preferences(frame(*[(c, j, float(v)) for c, j, v in rows]), ids, judges)
    assert found["preference"].to_numpy() == pytest.approx(votes.mean(axis=1))
    assert found[judges].to_numpy() == pytest.approx(votes)


def test_an_order_without_a_row_is_missing():
    rows = [("c", "j", "original", 0.8)]
    frame = pd.DataFrame(rows, columns=["comparison_id", "annotator", "order", "preference"])
    found = panel_preferences(frame, ["c"], ["j"], n_orders=[2]).iloc[0]
    assert np.isnan(found["preference"])
    assert (found["low"], found["high"]) == pytest.approx((0.4, 0.9))
