"""A board judged anew by another panel, and how the old and the new figures lie side by side.

The new board holds the same instructions, references and stored answers under another panel, and
names its parent. No answer is made anew, and the old board stays as it is.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from judges.calling import Caller
from judges.errors import UserError
from leaderboard.boards import Board, load_board
from leaderboard.create import Recipe, create_board
from leaderboard.evaluation import evaluate
from leaderboard.judging import open_caller
from leaderboard.results import Row
from leaderboard.standings import standings
from leaderboard.statistics.rank_correlation import RankCorrelation, rank_correlation
from leaderboard.statistics.uncertainty import difference_interval
from leaderboard.watch import SILENT, Watch

_COPIED = ("outputs.jsonl", "model.toml", "manifest.json")


@dataclass(frozen=True, slots=True)
class Crosswalk:
    """Old figures and new ones of the same rows."""

    frame: pd.DataFrame
    """By row, best first by the new: model, old_rank, new_rank, old, new (win rates), change with
    its interval (low, high), n: instructions with both."""
    correlation: RankCorrelation | None
    """None where fewer than three rows are ranked on both."""
    left_out: tuple[str, ...]
    """Rows of the old board that are not ranked on both."""


@dataclass(frozen=True, slots=True)
class Rejudged:
    """What came of judging a board anew."""

    board: Board
    crosswalk: Crosswalk | None
    """None where no row is ranked on both boards."""
    stopped: bool


def rejudge(
    recipe: Recipe,
    results: Path,
    *,
    max_cost: float | None = None,
    watch: Watch = SILENT,
    caller: Caller | None = None,
) -> Rejudged:
    """Judge all rows of the board `recipe.source` by the recipe's panel, on a board of its name.

    A run that was interrupted, or stopped at its budget, goes on where it was. Raises UserError
    where something else stands under the new name.
    """
    assert recipe.source is not None
    old = load_board(recipe.source, results)
    if old.is_recorded and not any(i.text for i in old.instructions):
        raise UserError(f"board {old.name} holds no texts that could be judged anew")
    path = results / recipe.name
    if not path.exists():
        create_board(replace(recipe, parent=old.name), results, watch)
    board = load_board(recipe.name, results)
    if board.settings.parent != old.name:
        raise UserError(f"{path} is there already, and no board made of {old.name}: give --name")
    names = [
        name for name in standings(old).models if (old.path / name / "outputs.jsonl").is_file()
    ]
    if not names:
        raise UserError(f"board {old.name} has no ranked row with stored answers")
    stopped = False
    with ExitStack() as stack:
        calls = caller or stack.enter_context(open_caller(board, max_cost))
        for name in names:
            _copy(Row(old.path / name), Row(board.path / name))
            watch.note(f"{name}:")
            made = evaluate(
                name, board=board.name, results=results, only="judge", watch=watch, caller=calls
            )
            if stopped := made.stopped:
                break
    return Rejudged(board, crosswalk(old, board), stopped)


def _copy(old: Row, new: Row) -> None:
    new.path.mkdir(exist_ok=True)
    for name in _COPIED:
        if (old.path / name).is_file() and not (new.path / name).exists():
            shutil.copyfile(old.path / name, new.path / name)


def crosswalk(old: Board, new: Board) -> Crosswalk | None:
    """The rows that are ranked on both boards, which ask the same instructions."""
    before, after = standings(old), standings(new)
    shared = set(before.models) - set(old.settings.references)
    models = [model for model in after.models if model in shared]
    if not models:
        return None
    one = before.preferences[[before.index(model) for model in models]]
    other = after.preferences[[after.index(model) for model in models]]
    means = [np.nanmean(one, axis=1), np.nanmean(other, axis=1)]
    old_rank, new_rank = ((-pd.Series(mean)).rank(method="min").astype(int) for mean in means)
    records = []
    for n, model in enumerate(models):
        both = ~np.isnan(one[n]) & ~np.isnan(other[n])
        moved = difference_interval(other[n][both] - one[n][both]) if both.any() else None
        records.append(
            {
                "model": model,
                "old_rank": int(old_rank[n]),
                "new_rank": int(new_rank[n]),
                "old": float(means[0][n]),
                "new": float(means[1][n]),
                "change": moved.value if moved else np.nan,
                "low": moved.low if moved else np.nan,
                "high": moved.high if moved else np.nan,
                "n": int(both.sum()),
            }
        )
    frame = pd.DataFrame(records).sort_values(["new_rank", "old_rank", "model"], kind="stable")
    left_out = tuple(sorted(shared - set(models)))
    return Crosswalk(frame.reset_index(drop=True), rank_correlation(one, other), left_out)
