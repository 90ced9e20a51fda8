"""LLMBar's verdicts through recorded judges and panels: the figures are the published ones."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from judges.panel import panel_preferences
from leaderboard.statistics.annotator_pools import disagreement, label_shares
from leaderboard.statistics.panels import flips, gold_figures

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
FIGURES = (
    "accuracy_original",
    "accuracy_swapped",
    "accuracy_average",
    "accuracy_both",
    "positional_agreement",
)


@pytest.fixture(scope="module")
def llmbar() -> ModuleType:
    sys.path.append(str(BENCHMARKS))
    import llmbar

    return llmbar


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data / "human"


@pytest.fixture(scope="module")
def verdicts(llmbar: ModuleType, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return llmbar.load(folder, tmp_path_factory.mktemp("recorded"))


@pytest.fixture(scope="module")
def official(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "llmbar_official.csv")


def test_every_published_figure(verdicts, official):
    assert len(official) == 263
    for row in official.itertuples():
        of = verdicts.subset == row.subset
        judge = (row.judge, row.strategy)
        found = gold_figures(
            verdicts.original[judge][of], verdicts.swapped[judge][of], verdicts.gold[of]
        )
        for figure in FIGURES:
            expected = getattr(row, figure)
            assert 100 * getattr(found, figure) == pytest.approx(expected, abs=1e-9, rel=0), (
                row,
                figure,
            )


def test_what_is_missing_is_missing_with_its_reason(verdicts):
    frames = pd.concat(verdicts.annotations.values())
    missing = frames[frames["preference"].isna()]
    assert (len(frames), len(missing)) == (48_610, 139)
    assert set(missing["error"]) == {"recorded as missing"}


def test_our_flips_and_their_positional_agreement(verdicts, official):
    """Theirs is over all pairs, and nothing twice is the same; ours is over decided pairs."""
    differ = 0
    for row in official.itertuples():
        of, judge = verdicts.subset == row.subset, (row.judge, row.strategy)
        original, swapped = verdicts.original[judge][of], verdicts.swapped[judge][of]
        found = flips(original, swapped)
        both_missing = int((original.isna() & swapped.isna()).sum())
        assert found.n_tied == 0
        kept = found.n_decided - found.n_flipped + both_missing
        n = found.n_decided + found.n_missing
        assert 100 * kept / n == pytest.approx(row.positional_agreement, abs=1e-9)
        assert found.rate is not None
        differ += abs(100 * (1 - found.rate.value) - row.positional_agreement) > 1e-9
    assert differ == 53, "where a verdict is missing the two definitions part"


def test_panels_of_one_judge_have_its_accuracy(verdicts, official):
    """The mean vote for the right output is the average accuracy where no verdict is missing."""
    ids, checked = np.array(verdicts.ids), 0
    for row in official.itertuples():
        of, judge = verdicts.subset == row.subset, (row.judge, row.strategy)
        frame, gold = verdicts.annotations[judge], verdicts.gold[of]
        name = frame["annotator"].iloc[0]
        votes = panel_preferences(frame, ids[of], [name], n_orders=[2])["preference"].to_numpy()
        right = np.where(gold == 1, votes, 1 - votes)
        whole = ~np.isnan(right)
        if whole.all():
            checked += 1
            assert 100 * right.mean() == pytest.approx(row.accuracy_average, abs=1e-9)
        else:
            # What is missing is not imputed: theirs takes it for wrong.
            judged = verdicts.original[judge][of].notna() & verdicts.swapped[judge][of].notna()
            assert whole.tolist() == judged.tolist()
            assert 100 * right[whole].sum() / len(right) <= row.accuracy_average + 1e-9
    assert checked > 200


@pytest.mark.parametrize(
    ("aggregate", "combine"),
    [
        ("mean", lambda votes: votes.mean(axis=1)),
        ("median", lambda votes: np.median(votes, axis=1)),
        ("majority", lambda votes: (np.sign(np.sign(votes - 0.5).sum(axis=1)) + 1) / 2),
    ],
)
def test_a_panel_of_six_models(verdicts, aggregate, combine):
    judges = [judge for judge in verdicts.original.columns if judge[1] == "Vanilla"]
    assert len(judges) == 6
    frame = pd.concat([verdicts.annotations[judge] for judge in judges])
    names = list(dict.fromkeys(frame["annotator"]))
    of = verdicts.original["GPT-4", "Vanilla"].notna().to_numpy()
    found = panel_preferences(
        frame, np.array(verdicts.ids)[of], names, aggregate=aggregate, n_orders=[2] * 6
    )
    votes = ((verdicts.original[judges] + verdicts.swapped[judges]) / 2).to_numpy()[of]
    whole = ~np.isnan(votes).any(axis=1)
    assert 400 < whole.sum() < len(whole)
    assert found["preference"].notna().tolist() == whole.tolist()
    assert found["preference"][whole].to_numpy() == pytest.approx(combine(votes[whole]))
    assert found[names].to_numpy() == pytest.approx(votes, nan_ok=True)


def test_the_variance_of_a_judge_in_a_random_order(verdicts):
    """Two verdicts an item: without flips no label differs, with one every second pair does."""
    judge = ("GPT-4", "Vanilla")
    both = np.stack([verdicts.original[judge], verdicts.swapped[judge]], axis=1)
    both = both[~np.isnan(both).any(axis=1)]
    found = flips(both[:, 0], both[:, 1])
    expected = 0.5 * found.n_flipped / found.n_decided
    assert disagreement(label_shares(both)).mean() == pytest.approx(expected)


def test_the_page_shows_what_the_verdicts_give(llmbar, verdicts):
    import panels

    page = (BENCHMARKS.parent / "docs" / "panels.md").read_text(encoding="utf-8")
    assert panels.written(page, verdicts) == page, "run python benchmarks/panels.py"
    with pytest.raises(ValueError, match="the page needs"):
        panels.written("no markers", verdicts)
