"""A board judged anew by another panel, and how the old and the new figures lie side by side.

The new board holds the same instructions, references and stored answers under another panel, and
names its parent. No answer is made anew, and the old board stays as it is. The same panel can be
asked again, too, to see its judges as they are today: no stored reply is used then.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from judges.calling.caller import Caller
from judges.errors import UserError
from judges.panel_files import panel_toml
from judges.registry import read_panel
from judges.schema import Output
from judges.storage.cache import Cache
from judges.storage.database import open_database
from leaderboard.answers.models import StoredRow
from leaderboard.boards.board import Board, load_board
from leaderboard.comparing.head_to_head import answers_of
from leaderboard.curation.create import Recipe, create_board
from leaderboard.curation.panel import board_panel, new_panel
from leaderboard.display.dry_run import dry_run
from leaderboard.evaluation import evaluate
from leaderboard.judging.estimate import Estimate
from leaderboard.judging.judging import open_caller
from leaderboard.rows.results import Row
from leaderboard.rows.self_judging import excluded
from leaderboard.rows.standings import standings
from leaderboard.statistics.rank_correlation import RankCorrelation, rank_correlation
from leaderboard.statistics.uncertainty import difference_interval
from leaderboard.watch import SILENT, Watch

_NOT_ASKED = ("schema_version", "note")
_NOT_ASKED_OF_A_JUDGE = ("base_url", "api_key_env")


@dataclass(frozen=True, slots=True)
class Crosswalk:
    """Old figures and new ones of the rows that are ranked on both boards, and of the reference,
    which is ranked beside them at 0.5 by definition."""

    frame: pd.DataFrame
    """By model, best first by the new: model, is_reference, old_rank, new_rank (among these models),
    old, new (win rates, whatever the boards rank by), change with its interval (low, high), n:
    instructions that both panels judged."""
    correlation: RankCorrelation | None
    """None where fewer than three models are ranked on both."""


@dataclass(frozen=True, slots=True)
class Rejudged:
    """What came of judging a board anew."""

    board: Board
    crosswalk: Crosswalk | None
    """None where no row is ranked on both boards."""
    left_out: Mapping[str, str]
    """Rows of the old board that are not compared, and why."""
    is_publishable: bool
    """Whether every row that was judged has enough verdicts."""
    stopped: bool
    """The budget was used up before all rows were judged."""

    @property
    def exit_code(self) -> int:
        """0 done; 3 a row is not publishable, or there is nothing to compare; 4 budget."""
        if self.stopped:
            return 4
        return 0 if self.is_publishable and self.crosswalk is not None else 3


def rejudge(
    recipe: Recipe,
    results: Path,
    *,
    max_cost: float | None = None,
    watch: Watch = SILENT,
    caller: Caller | None = None,
) -> Rejudged:
    """Judge all rows of the board `recipe.source` by the recipe's panel, on a board of its name;
    without a panel in the recipe by the board's own, as its judges are today.

    A run that was interrupted, or stopped at its budget, goes on where it was. Raises UserError
    where something else stands under the new name, and where no row can be judged anew.
    """
    old, names, left_out = _what_to_judge(recipe, results)
    path = results / recipe.name
    if is_new := not path.exists():
        create_board(replace(recipe, parent=old.name), results, watch)
    board = load_board(recipe.name, results)
    _require_own(board, old, recipe)
    is_same = board.hashes["panel"] == old.hashes["panel"]
    if is_same:
        watch.note(f"the panel is that of {old.name}: it is asked again, without the cache")
    if old.settings.headline != "win_rate":
        watch.note(
            f"{old.name} ranks by {old.settings.headline}, which was estimated from its judges' "
            f"verdicts: {board.name} ranks by win rate until: leaderboard board calibrate "
            f"{board.name}"
        )
    publishable, stopped = [], False
    with ExitStack() as stack:
        calls = caller or stack.enter_context(open_caller(board, max_cost, watch=watch))
        if is_same:
            stack.enter_context(_own_cache(calls))
        for n, name in enumerate(names, 1):
            _copy(Row(old.path / name), Row(board.path / name))
            try:
                excluded(board, Row(board.path / name))
            except UserError as error:
                left_out[name] = str(error)
                shutil.rmtree(board.path / name)
                continue
            watch.note(f"row {n} of {len(names)}: {name}")
            try:
                made = evaluate(
                    name, board=board.name, results=results, only="judge", watch=watch, caller=calls
                )
            except UserError:
                if is_new and not any(board.path.glob("*/annotations.jsonl")):
                    shutil.rmtree(board.path)  # another panel can have the name
                raise
            publishable.append(made.is_publishable)
            if stopped := made.stopped:
                break
    found = crosswalk(old, board)
    compared = set() if found is None else set(found.frame["model"])
    for name in names:
        if name not in compared:
            left_out.setdefault(name, "not judged yet" if stopped else "too many verdicts missing")
    return Rejudged(board, found, left_out, all(publishable), stopped)


def rejudge_estimates(recipe: Recipe, results: Path, caller: Caller) -> list[Estimate]:
    """What `rejudge` would ask of models, row by row; nobody is asked, and nothing is left
    behind. A question that several rows have in common is counted in each."""
    old, names, _ = _what_to_judge(recipe, results)
    with TemporaryDirectory() as folder, ExitStack() as stack:
        place = Path(folder)
        if (results / recipe.name).exists():
            shutil.copytree(results / recipe.name, place / recipe.name)
        else:
            shutil.copytree(old.path, place / old.name)
            create_board(replace(recipe, parent=old.name), place)
        board = load_board(recipe.name, place)
        _require_own(board, old, recipe)
        if board.hashes["panel"] == old.hashes["panel"]:
            stack.enter_context(_own_cache(caller))
        found: list[Estimate] = []
        is_first = True
        for name in names:
            _copy(Row(old.path / name), Row(board.path / name))
            try:
                excluded(board, Row(board.path / name))
            except UserError:
                continue
            row, asked = StoredRow(name), board.instructions
            found += dry_run(board, row, asked, caller, only="judge", is_first=is_first)
            is_first = False
        return found


def _what_to_judge(recipe: Recipe, results: Path) -> tuple[Board, list[str], dict[str, str]]:
    """The old board, its rows that can be judged anew, and the others with the reason."""
    assert recipe.source is not None
    old = load_board(recipe.source, results)
    if old.is_recorded and not (recipe.judges or recipe.panel):
        raise UserError(
            f"board {old.name} holds recorded verdicts, which cannot be asked again: say who is to "
            "judge, with --panel PANEL or --judge JUDGE"
        )
    names, left_out = _rows(old)
    if not names:
        why = "; ".join(f"{name}: {left_out[name]}" for name in [*left_out][:2]) or "it has none"
        more = f"; and {len(left_out) - 2} more" if len(left_out) > 2 else ""
        raise UserError(f"board {old.name}: no row can be judged anew ({why}{more})")
    return old, names, left_out


def _rows(old: Board) -> tuple[list[str], dict[str, str]]:
    """The rows whose answers can be judged anew, best first, and the others with the reason."""
    table = standings(old)
    if any(_without_text(outputs) for outputs in old.references.values()):
        raise UserError(f"board {old.name}: the texts of its references' answers are not stored")
    left_out = dict(table.left_out)
    names = []
    for name in table.frame["model"]:
        if name in old.settings.references:
            continue
        try:
            if n := _without_text(answers_of(old, name)):
                raise UserError(f"{n} of its answers are stored without their texts")
            names.append(name)
        except UserError as error:
            left_out[name] = str(error)
    return names, left_out


def _without_text(answers: Mapping[str, Output]) -> int:
    return sum(output.length is not None for output in answers.values())


def _require_own(board: Board, old: Board, recipe: Recipe) -> None:
    """Raises UserError where the board under the new name is of another parent or panel."""
    free = f"give another --name, or delete {board.path}"
    if board.settings.parent != old.name or any(
        board.hashes[part] != old.hashes[part] for part in ("evalset", "references")
    ):
        raise UserError(f"{board.path} is there already, and is not {old.name} judged anew: {free}")
    wanted, folder = new_panel(
        old, judges=recipe.judges, panel=recipe.panel, models=recipe.judge_models
    )
    asked = board_panel(wanted, folder, board.instructions, board.settings.orders).table
    if _asked(tomllib.loads(panel_toml(asked))) != _asked(read_panel(board.path / "panel.toml")):
        raise UserError(f"{board.path} is there already, judged by another panel: {free}")


def _asked(panel: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked of a panel's judges; not where they are served, nor with which key."""
    judges = [
        {key: value for key, value in table.items() if key not in _NOT_ASKED_OF_A_JUDGE}
        for table in panel["judges"]
    ]
    return {key: v for key, v in panel.items() if key not in _NOT_ASKED} | {"judges": judges}


@contextmanager
def _own_cache(caller: Caller) -> Iterator[None]:
    """No stored reply is used, and equal requests of this run are made once; what is interrupted
    goes on from the rows' own verdicts."""
    _ = caller.price_table  # opens the user's stores, the cache among them
    held = caller.cache
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        database = open_database(f"sqlite:///{Path(folder).absolute() / 'replies.sqlite'}")
        caller.cache = Cache(database)
        try:
            yield
        finally:
            caller.cache = held
            database.close()


def _copy(old: Row, new: Row) -> None:
    """The row's answers as they are now; model.toml, which is the user's to edit, only once."""
    new.path.mkdir(exist_ok=True)
    for name in ("outputs.jsonl", "manifest.json"):
        if (old.path / name).is_file():
            shutil.copyfile(old.path / name, new.path / name)
    if (old.path / "model.toml").is_file() and not (new.path / "model.toml").exists():
        shutil.copyfile(old.path / "model.toml", new.path / "model.toml")


def crosswalk(old: Board, new: Board) -> Crosswalk | None:
    """The rows that are ranked on both boards, which ask the same instructions."""
    before, after = standings(old), standings(new)
    models = [model for model in after.models if model in before.models]
    references = set(old.settings.references)
    if references.issuperset(models):
        return None
    one = before.preferences[[before.index(model) for model in models]]
    other = after.preferences[[after.index(model) for model in models]]
    means = [np.nanmean(one, axis=1), np.nanmean(other, axis=1)]
    old_rank, new_rank = (
        (-pd.Series(mean.round(12))).rank(method="min").astype(int) for mean in means
    )
    records = []
    for n, model in enumerate(models):
        both = ~np.isnan(one[n]) & ~np.isnan(other[n])
        moved = difference_interval(other[n][both] - one[n][both]) if both.any() else None
        records.append(
            {
                "model": model,
                "is_reference": model in references,
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
    return Crosswalk(frame.reset_index(drop=True), rank_correlation(one, other))
