"""Judges against the mode of all labels: what PandaLM, Auto-J and LLMBar have published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from real_labels import AUTO_J_GROUPS, NAN, auto_j, pandalm

from leaderboard.statistics.against_majority import (
    ByOrder,
    by_order,
    classes_against_majority,
    majority,
)
from leaderboard.statistics.estimates import Estimate, Figure, Undefined

ORDERS = ("original", "swapped", "average", "both", "same")
LABEL = st.sampled_from([0.0, 0.5, 1.0, NAN])
LABELS = arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 5)), elements=LABEL)


def value(figure: Figure) -> float:
    assert isinstance(figure, Estimate)
    return figure.value


def values(found: ByOrder) -> dict[str, float]:
    return {name: getattr(getattr(found, name), "value", NAN) for name in ORDERS}


# ----------------------------------------------------------------------------------- published
@pytest.mark.parametrize(
    ("judge", "published"),
    [
        ("gpt_3_5_turbo", (0.7107, 0.5879, 0.5736, 0.5755)),
        ("pandalm_7b", (0.6677, 0.5738, 0.5750, 0.5743)),
    ],
)
def test_pandalm_has_the_eight_published_figures(shared_data, judge, published):
    humans, judges = pandalm(shared_data)
    found = classes_against_majority(judges[judge], humans, "tie")
    figures = (found.accuracy, found.precision, found.recall, found.f1)
    assert [round(value(figure), 4) for figure in figures] == list(published)
    assert (found.n_items, found.n_judged) == (999, 999 - (25 if judge == "gpt_3_5_turbo" else 0))


def test_auto_j_has_the_published_figures_in_all_and_in_eight_groups(shared_data):
    label, one, two, group = auto_j(shared_data)
    published = AUTO_J_GROUPS
    there = {name: group == name for name in published}
    assert sum(map(np.sum, there.values())) == len(label)
    for name, figures in {**published, "all": (1392, 54.96, 83.41)}.items():
        at = there.get(name, np.full(len(label), True))
        found = by_order(one[at], two[at], label[at, None])
        said = (round(100 * value(found.both), 2), round(100 * value(found.same), 2))
        assert (int(at.sum()), *said) == figures


def test_every_cell_of_llmbar_is_the_published_one(shared_data):
    human = shared_data / "human"
    official = pd.read_csv(human / "llmbar_official.csv")
    verdicts = pd.read_parquet(human / "llmbar_verdicts.parquet")
    items = pd.read_parquet(human / "llmbar.parquet")
    gold = items.set_index(["subset", "example_id"])["gold"]
    code = {1: 0.0, 2: 1.0}
    key = ["subset", "judge", "strategy"]
    cells = dict(list(verdicts.groupby(key)))
    assert len(official) == len(cells) == 263
    for record in official.to_dict("records"):
        of = cells[tuple(record[name] for name in key)]
        sides = of.pivot(index="example_id", columns="order", values="verdict")
        humans = np.array([[code[gold[record["subset"], at]]] for at in sides.index])
        found = by_order(*(sides[o].map(code) for o in ("original", "swapped")), humans, "wrong")
        want = [record[f"accuracy_{name}"] for name in ORDERS[:4]]
        want.append(record["positional_agreement"])
        assert [100 * one for one in values(found).values()] == pytest.approx(want, abs=1e-9)


# ---------------------------------------------------------------------------------- by hand
def test_tied_modes_share_an_item():
    modes = majority([[0, 0, 1], [0, 1, NAN], [0, 0.5, 1], [NAN, NAN, NAN]])
    assert modes.tolist() == [[1, 0, 0], [0.5, 0, 0.5], [1 / 3] * 3, [0, 0, 0]]


def test_a_missing_verdict_is_missing_a_tie_or_wrong():
    humans = [[0.0], [0.5], [1.0], [1.0]]
    one, two = [0.0, NAN, 1.0, NAN], [0.0, NAN, 0.0, 1.0]
    assert values(by_order(one, two, humans)) == {
        "original": 1, "swapped": 2 / 3, "average": 0.75, "both": 0.5, "same": 0.5,
    }  # fmt: skip
    assert values(by_order(one, two, humans, "tie")) == {
        "original": 0.75, "swapped": 0.75, "average": 0.75, "both": 0.5, "same": 0.5,
    }  # fmt: skip
    # Missing twice is the same twice, and right never.
    assert values(by_order(one, two, humans, "wrong")) == {
        "original": 0.5, "swapped": 0.5, "average": 0.5, "both": 0.25, "same": 0.5,
    }  # fmt: skip


def test_the_matrix_counts_missing_verdicts_by_what_people_say():
    humans = [[0.0], [0.5], [1.0], [1.0], [NAN]]
    said = [0.0, NAN, NAN, 1.0, 0.0]
    left_out = classes_against_majority(said, humans)
    assert left_out.matrix == ((1, 0, 0), (0, 0, 0), (0, 0, 1), (0, 1, 1))
    assert (value(left_out.accuracy), left_out.n_judged, left_out.n_items) == (1, 2, 4)
    tie = classes_against_majority(said, humans, "tie")
    # The tie that was said for it, and the row of what was missing, are told apart.
    assert tie.matrix == ((1, 0, 0), (0, 0, 0), (0, 0, 1), (0, 1, 1))
    assert (value(tie.accuracy), tie.n_judged, tie.n_items) == (0.75, 2, 4)
    wrong = classes_against_majority(said, humans, "wrong")
    assert wrong.matrix == left_out.matrix
    assert value(wrong.accuracy) == 1


def test_without_verdicts_or_labels_there_are_reasons():
    for found in (by_order([NAN], [NAN], [[0.0]]), by_order([0.0], [1.0], [[NAN]])):
        assert all(isinstance(getattr(found, name), Undefined) for name in ORDERS)
    assert isinstance(classes_against_majority([NAN], [[1.0]]).f1, Undefined)


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: by_order([0.0], [0.0], [[0.0]], "nothing"), "unparsed must be missing, tie"),
        (lambda: by_order([0.0, 1.0], [0.0], [[0.0]]), "2,. preferences and 1"),
        (lambda: classes_against_majority([[0.0]], [[0.0]]), "preferences and 1 labelled"),
        (lambda: by_order([1.5], [0.0], [[0.0]]), r"\[0, 1\]"),
        (lambda: majority([[0.3]]), "0, 0.5"),
        (lambda: classes_against_majority([0.0], [[0.0]], level=1.0), "level"),
    ],
)
def test_what_cannot_be_is_refused(call, why):
    with pytest.raises(ValueError, match=why):
        call()


# ---------------------------------------------------------------------------------- properties
@given(LABELS, st.data(), st.sampled_from(["missing", "tie", "wrong"]))
def test_the_sides_may_be_exchanged(humans, data, unparsed):
    one, two = (data.draw(arrays(np.float64, len(humans), elements=LABEL)) for _ in range(2))
    found = values(by_order(one, two, humans, unparsed))
    turned = values(by_order(1 - one, 1 - two, 1 - humans, unparsed))
    assert turned == pytest.approx(found, nan_ok=True)
    if unparsed != "missing" and not np.isnan(found["both"]):
        assert found["both"] <= min(found["original"], found["swapped"]) + 1e-12
        assert found["average"] == pytest.approx((found["original"] + found["swapped"]) / 2)
    exchanged = values(by_order(two, one, humans, unparsed))
    assert exchanged["both"] == pytest.approx(found["both"], nan_ok=True)
    assert exchanged["original"] == pytest.approx(found["swapped"], nan_ok=True)


@given(LABELS)
def test_the_mode_is_that_of_a_count(humans):
    for labels, shares in zip(humans, majority(humans), strict=True):
        counts = [int((labels == label).sum()) for label in (0, 0.5, 1)]
        modes = [n == max(counts) and n > 0 for n in counts]
        expected = [is_mode / max(1, sum(modes)) for is_mode in modes]
        assert shares.tolist() == pytest.approx(expected)


def test_accuracy_is_a_count_on_real_labels(shared_data: Path):
    humans, judges = pandalm(shared_data)
    mode = pd.DataFrame(humans).mode(axis=1)[0].to_numpy()  # never three different labels there
    said = judges["gpt_3_5_turbo"]
    read = ~np.isnan(said)
    found = classes_against_majority(said, humans)
    assert value(found.accuracy) == pytest.approx((said == mode)[read].mean(), abs=1e-12)
