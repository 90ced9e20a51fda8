"""Has a judge behind a server changed since the board's first day?

A board with `drift = 20` keeps 20 comparisons of its first row in drift.json for each model that
judges behind a server, in every order that they were judged in: the stored verdict, and three more
of that day that no cache gave (`leaderboard.judging.first_day`). Before another row is judged they are
judged once more; verdicts farther off than the judges' own first-day repeatability allows stop the
run. How that is tested: `leaderboard.statistics.repeatability`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from judges.asking.llm_judge import LLMJudge
from judges.base import Shown, Verdict
from judges.calling.caller import Caller
from judges.errors import UserError
from leaderboard.boards.board import Board
from leaderboard.judging.first_day import (
    Item,
    by_model,
    checked_key,
    finish_first_day,
    first_day,
    judged,
)
from leaderboard.watch import Watch

if TYPE_CHECKING:
    from leaderboard.statistics.repeatability import Change

LEVEL = 0.01
"""How often a judge that has not changed raises an alarm."""
LEAST = 0.01
"""Verdicts that moved by no more, on average, move no win rate by more than a point."""


class DriftAlarm(UserError):
    """A judge does not judge as it did on the board's first day; the row is not judged."""


def check_drift(
    board: Board, needed: Sequence[LLMJudge], caller: Caller, watch: Watch
) -> dict[str, Change]:
    """Have the models that are about to judge a row judge the first day's comparisons once more; by
    model, how far it has changed.

    `needed` are the judges that will be asked. A first day that was interrupted is finished first.
    A model that this Caller has looked at, or whose first day it has made, is not asked again.
    Raises DriftAlarm where a model lies outside of its own first-day repeatability, and where it
    gives a verdict on less than half of the comparisons.
    """
    judges_of = by_model(board, needed)
    if not judges_of:
        return {}
    from leaderboard.statistics.repeatability import change

    items, pairs = first_day(board)
    finish_first_day(board, judges_of, caller, watch)
    found = {}
    for model, judges in judges_of.items():
        if checked_key(board, model) in caller.checked:
            continue
        names = {judge.name for judge in judges}
        own = [item for item in items if item.judge in names]
        # Those that have been finished just now are of today, and say nothing of a change.
        there = [item for item in own if item.pair in pairs and not item.n_left]
        if not there:
            if own and not any(item.pair in pairs for item in own):
                watch.note(
                    f"{model}: whether it has changed cannot be told, as the answers of the "
                    f"board's first day ({own[0].row}) are gone or others now. This is the new one"
                )
            continue
        if caller.stopped:
            continue
        shown = [Shown(pairs[item.pair], item.order) for item in there]
        verdicts = judged(board, judges, [i.judge for i in there], shown, caller, watch)
        _tell_served(model, there, verdicts, watch)
        new = [verdict.preference for verdict in verdicts]
        changed = change(np.array([i.verdicts for i in there]), np.array(new, dtype=float))
        if caller.stopped:
            watch.note(f"{model}: whether it has changed cannot be told, as the budget is used up")
            continue
        if changed is None or 2 * changed.n < len(there):
            raise DriftAlarm(_few(board, model, verdicts))
        found[model] = changed
        if changed.p_value < LEVEL and changed.today > LEAST:
            raise DriftAlarm(_alarm(board, model, changed))
        caller.checked.add(checked_key(board, model))
        watch.note(f"{model}: {_told(changed)}")
    return found


def _told(changed: Change) -> str:
    p = "p < 0.0001" if changed.p_value < 0.0001 else f"p = {changed.p_value:.4f}"
    return (
        f"{changed.n} verdicts of the first day, asked for once more, lie {changed.today:.3f} off "
        f"on average ({changed.first_day:.3f} among themselves), {p}"
    )


def _few(board: Board, model: str, verdicts: Sequence[Verdict]) -> str:
    missing = Counter(v.error or "no verdict" for v in verdicts if v.preference is None)
    return (
        f"{model} gave a verdict on {len(verdicts) - missing.total()} of {len(verdicts)} comparisons "
        f"of the first day of board {board.name}, and it gave one on each of them then "
        f"({missing.most_common(1)[0][0]}). The row is not judged. Try again when its "
        f"server is well. {_ways_out(board)}"
    )


def _alarm(board: Board, model: str, changed: Change) -> str:
    return (
        f"{model} does not judge as on the first day of board {board.name}: {_told(changed)}. The "
        f"row is not judged, as it could not be compared with the others. {_ways_out(board)}"
    )


def _ways_out(board: Board) -> str:
    folder = board.path.parent
    where = "" if folder == Path("results") else f" --results {folder}"
    return (
        f"See them all by this judge as it is now, on a new board: leaderboard rejudge "
        f"{board.name}{where}; or set drift = 0 in {board.path / 'board.toml'} to go on regardless"
    )


def _tell_served(
    model: str, items: Sequence[Item], verdicts: Sequence[Verdict], watch: Watch
) -> None:
    then = {item.served for item in items if item.served}
    now = {call.served for verdict in verdicts for call in verdict.calls if call.served}
    if then and now - then:
        names = [", ".join(sorted(of)) for of in (then, now)]
        watch.note(f"{model}: its server called it {names[0]} on the first day, and now {names[1]}")
