"""A panel: the votes of its judges, what is made of them, and the bounds for missing ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges.base import stable_fraction
from judges.errors import UserError
from judges.kinds.checklist import Checklist
from judges.kinds.heuristic import Heuristic
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


# ---------------------------------------------------------------- weights, and who judges what
@pytest.mark.parametrize(
    ("votes", "weights", "preference"),
    [
        ([1.0, 0.0], [3, 1], 0.75),
        ([1.0, None], [3, 1], 1.0),
        ([0.2, 0.4, 0.9], [1, 1, 2], 0.6),
    ],
)
def test_the_weighted_mean_is_over_the_votes_that_are_there(votes, weights, preference):
    found = item(votes, aggregate="weighted", weights=weights, min_votes=1)
    assert found["preference"] == pytest.approx(preference)


def test_bounds_of_a_weighted_panel_weigh_the_missing_vote_too():
    found = item([1.0, None], aggregate="weighted", weights=[3, 1], min_votes=1)
    assert (found["low"], found["high"]) == (0.75, 1)


@given(
    votes=st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=4),
    data=st.data(),
)
def test_equal_weights_are_the_mean(votes, data):
    weight = data.draw(st.floats(0.01, 100))
    plain = item(votes, min_votes=1)
    weighed = item(votes, aggregate="weighted", weights=[weight] * len(votes), min_votes=1)
    for name in ("preference", "low", "high"):
        assert weighed[name] == pytest.approx(plain[name], nan_ok=True, abs=1e-12)


def masked(votes: list[float | None], asked: list[bool], **settings: Any) -> dict[str, Any]:
    """As `item`, where some judges were not to judge; their verdicts are stored all the same."""
    judges = [f"j{n}" for n in range(len(votes))]
    rows = frame(*(("c", judge, vote) for judge, vote in zip(judges, votes, strict=True)))
    return (
        panel_preferences(rows, ["c"], judges, assigned=np.array([asked]), **settings)
        .iloc[0]
        .to_dict()
    )


@given(
    votes=st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=4),
    data=st.data(),
    aggregate=st.sampled_from([*AGGREGATES, "weighted"]),
    min_votes=st.sampled_from(["all", 1]),
)
def test_judges_that_were_not_to_judge_are_as_if_they_were_not_there(
    votes, data, aggregate, min_votes
):
    asked = data.draw(st.lists(st.booleans(), min_size=len(votes), max_size=len(votes)))
    weights = [float(n + 1) for n in range(len(votes))] if aggregate == "weighted" else []
    found = masked(votes, asked, aggregate=aggregate, min_votes=min_votes, weights=weights)
    left = [vote for vote, is_asked in zip(votes, asked, strict=True) if is_asked]
    if not left:
        assert math.isnan(found["preference"])
        assert (found["low"], found["high"], found["n_votes"]) == (0, 1, 0)
        return
    kept = [weight for weight, is_asked in zip(weights, asked, strict=False) if is_asked]
    alone = item(left, aggregate=aggregate, min_votes=min_votes, weights=kept)
    for name in ("preference", "low", "high", "n_votes"):
        assert found[name] == pytest.approx(alone[name], nan_ok=True, abs=1e-12)


def test_where_fewer_are_to_judge_than_votes_are_needed_all_of_them_are():
    assert masked([0.5, 0.7, 0.9], [True, False, False], min_votes=2)["preference"] == 0.5
    assert masked([0.5, 0.7, 0.9], [True, True, False], min_votes=3)["preference"] == 0.6
    assert math.isnan(masked([0.5, None, 0.9], [True, True, False], min_votes=2)["preference"])
    assert masked([0.5, None, 0.9], [True, True, False], min_votes=1)["preference"] == 0.5


# --------------------------------------------------------------------------- one judge an item
def asked(text: str) -> Instruction:
    return Instruction(id=text, messages=(Message("user", text),))


TASKS = [asked(f"task {n}") for n in range(2000)]
PINNED = ["c2", "c3", "c1", "c3", "c1", "c0", "c0", "c0"]
POOL = Panel(tuple(Checklist(name=f"c{n}") for n in range(4)), assign="one")


def drawn(panel: Panel, seed: int = 0, excluded: tuple[str, ...] = ()) -> list[str]:
    found = [panel.assigned(task, seed, excluded) for task in TASKS]
    assert all(len(judges) == 1 for judges in found)
    return [judges[0].name for judges in found]


def test_all_judges_judge_everything_unless_one_is_drawn():
    panel = Panel(POOL.judges)
    assert panel.assigned(TASKS[0], 0) == panel.judges
    assert [j.name for j in panel.assigned(TASKS[0], 0, {"c1"})] == ["c0", "c2", "c3"]
    assert (panel.votes, POOL.votes) == (4, 1)
    assert panel.assignment(TASKS[:2], 0, {"c1"}).tolist() == [[True, False, True, True]] * 2


def test_the_draw_is_even_and_follows_from_seed_and_instruction():
    names = drawn(POOL)
    assert names == drawn(POOL)
    assert drawn(POOL, seed=1) != names
    counts = [names.count(name) for name in POOL.names]
    assert max(abs(count - 500) for count in counts) < 80  # four standard deviations
    # On every machine and in every version: a board's items must not change judges.
    assert drawn(POOL)[:8] == PINNED
    assert POOL.assignment(TASKS, 0).sum(axis=1).tolist() == [1] * len(TASKS)


def test_leaving_a_judge_out_gives_away_its_own_items_only():
    before, after = drawn(POOL), drawn(POOL, excluded=("c2",))
    moved = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert {a for a, _ in moved} == {"c2"}
    assert "c2" not in after
    assert {b for _, b in moved} == {"c0", "c1", "c3"}
    assert POOL.assigned(TASKS[0], 0, set(POOL.names)) == ()


def test_the_draw_tells_nothing_of_the_random_order():
    swapped = [stable_fraction(0, task.text) < 0.5 for task in TASKS]
    first = [name in ("c0", "c1") for name in drawn(POOL)]
    both = sum(a and b for a, b in zip(swapped, first, strict=True))
    assert abs(both - 500) < 80


# -------------------------------------------------------------------------------- the identity
def test_what_a_panel_of_before_says_of_itself_is_what_it_said():
    assert list(Panel((Checklist(),)).identity()) == ["aggregate", "judges"]


def test_the_new_settings_of_a_panel_are_in_its_identity():
    two = (Checklist(), Heuristic(rule="longest"))
    made = [
        Panel(two),
        Panel(two, assign="one"),
        Panel(two, "weighted", (1, 1)),
        Panel(two, "weighted", (1, 2)),
    ]
    assert len({str(panel.identity()) for panel in made}) == len(made)
