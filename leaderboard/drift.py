"""Has a judge behind a server changed since the board's first day?

A board with `drift = 20` keeps 20 comparisons of its first row in drift.json, each with three
verdicts of that day: the stored one, and two more that no cache answered. Before a new row is
judged they are judged once more; verdicts farther off than the judge's own first-day repeatability
allows stop the run. How that is tested: `leaderboard.statistics.repeatability`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from judges.asking import LLMJudge
from judges.base import Shown, stable_fraction
from judges.calling import Caller, Task
from judges.errors import UserError
from judges.schema import Annotation, Comparison
from leaderboard.boards import Board
from leaderboard.judging import results_folder
from leaderboard.results import Row, write_json
from leaderboard.statistics.repeatability import Change, change
from leaderboard.watch import Watch

FILE = "drift.json"
REPEATS = 2
"""Verdicts of the first day beside the stored one."""
LEVEL = 0.01
"""How often a judge that has not changed raises an alarm."""


class DriftAlarm(UserError):
    """A judge does not judge as it did on the board's first day; the row is not judged."""


@dataclass(frozen=True, slots=True)
class _FirstDay:
    """A comparison of the first row and a judge's verdicts on it, the stored one first."""

    judge: str
    row: str
    comparison_id: str
    order: str
    digest: str
    verdicts: tuple[float | None, ...]


def keep_first_day(
    board: Board, row: Row, comparisons: Sequence[Comparison], caller: Caller, watch: Watch
) -> None:
    """Write drift.json after the board's first row, once: from then on it is what judges are held
    to. A judge behind no server needs none."""
    path = board.path / FILE
    judges = _judges(board)
    if not judges or path.exists() or caller.stopped:
        return
    stored = [a for a in row.annotations() if a.preference is not None]
    items = []
    for judge in judges:
        chosen = _chosen(board, judge, stored, comparisons)
        shown = [view for view, _ in chosen]
        again = [
            _verdicts(board, judge, shown, caller, watch, "the first day's repeatability")
            for _ in range(REPEATS)
        ]
        for n, (view, annotation) in enumerate(chosen):
            items.append(
                {
                    "judge": judge.name,
                    "row": row.name,
                    "comparison_id": annotation.comparison_id,
                    "order": view.order,
                    "digest": annotation.digest,
                    "verdicts": [_as_seen(annotation), *(verdicts[n] for verdicts in again)],
                }
            )
    if items and not caller.stopped:
        write_json(path, {"schema_version": 1, "items": items})


def check_drift(board: Board, caller: Caller, watch: Watch) -> dict[str, Change]:
    """Judge the first day's comparisons once more; by judge, how far it has changed.

    Raises DriftAlarm where a judge lies outside of its own first-day repeatability. Comparisons
    whose row is gone or answers otherwise now are passed over.
    """
    items = _read(board)
    found = {}
    for judge in _judges(board):
        own = [item for item in items if item.judge == judge.name]
        pairs = _comparisons(board, own)
        there = [item for item in own if item.comparison_id in pairs]
        if not there:
            continue
        shown = [Shown(pairs[item.comparison_id], item.order) for item in there]  # type: ignore[arg-type]
        new = _verdicts(board, judge, shown, caller, watch, "has it changed?")
        first = [item.verdicts for item in there]
        changed = change(np.array(first, dtype=float), np.array(new, dtype=float))
        if changed is None:
            continue
        found[judge.name] = changed
        if changed.p_value < LEVEL:
            raise DriftAlarm(_alarm(board, judge, changed))
        watch.note(f"judge {judge.name}: {_told(changed)}")
    return found


def _told(changed: Change) -> str:
    return (
        f"on {changed.n} old comparisons its verdicts moved by {changed.today:.2f} on average "
        f"(on the first day by {changed.first_day:.2f}), p = {changed.p_value:.4f}"
    )


def _alarm(board: Board, judge: LLMJudge, changed: Change) -> str:
    return (
        f"judge {judge.name} does not judge as on the first day of board {board.name}: "
        f"{_told(changed)}. What it judges now cannot be compared with the rows there are. Judge "
        f"all of them anew: leaderboard rejudge {board.name} --panel PANEL; or set drift = 0 in "
        "board.toml to go on regardless"
    )


def _judges(board: Board) -> list[LLMJudge]:
    """The judges that can change unseen: those behind a server."""
    return [
        judge
        for judge in board.panel.judges
        if board.settings.drift and isinstance(judge, LLMJudge) and judge.spec.is_remote
    ]


def _chosen(
    board: Board,
    judge: LLMJudge,
    stored: Sequence[Annotation],
    comparisons: Sequence[Comparison],
) -> list[tuple[Shown, Annotation]]:
    """As many of a judge's verdicts as the board says, by a stable hash, one a comparison."""
    pairs = {pair.id: pair for pair in comparisons}
    own = {a.comparison_id: a for a in reversed(stored) if a.annotator == judge.name}
    held = [a for a in own.values() if a.comparison_id in pairs]
    held.sort(key=lambda a: stable_fraction(board.settings.seed, "drift", a.comparison_id))
    return [(Shown(pairs[a.comparison_id], a.order), a) for a in held[: board.settings.drift]]


def _as_seen(annotation: Annotation) -> float | None:
    """The verdict as the judge gave it: for the second answer that it was shown."""
    p = annotation.preference
    return 1 - p if p is not None and annotation.order == "swapped" else p


def _verdicts(
    board: Board,
    judge: LLMJudge,
    shown: Sequence[Shown],
    caller: Caller,
    watch: Watch,
    why: str,
) -> list[float | None]:
    """New verdicts, none from the cache."""
    task = Task(board.name, "", judge.name, "drift", results_folder(board))
    verdicts = judge.judge(shown, caller, task, fresh=True)
    tracked = watch.track(verdicts, len(shown), f"judging ({judge.name}): {why}")
    return [verdict.preference for verdict in tracked]


def _comparisons(board: Board, items: Sequence[_FirstDay]) -> Mapping[str, Comparison]:
    """Comparison id → comparison, of those that are still what they were."""
    found: dict[str, Comparison] = {}
    for name in dict.fromkeys(item.row for item in items):
        row = Row(board.path / name)
        if not row.outputs_file.is_file():
            continue
        outputs = row.outputs(allow_torn=True)
        answered = [i for i in board.instructions if i.id in outputs]
        found |= {pair.id: pair for pair in board.comparisons(answered, outputs, name)}
    kept = {item.comparison_id: item.digest for item in items}
    return {i: pair for i, pair in found.items() if kept.get(i) == pair.digest}


def _read(board: Board) -> list[_FirstDay]:
    path = board.path / FILE
    if not board.settings.drift or not path.is_file():
        return []
    try:
        written: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return [
            _FirstDay(**{**item, "verdicts": tuple(item["verdicts"])}) for item in written["items"]
        ]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: broken; delete it, and the next row makes it anew") from None
