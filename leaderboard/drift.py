"""Has a judge behind a server changed since the board's first day?

A board with `drift = 20` keeps 20 comparisons of its first row in drift.json for each model that
judges behind a server, in every order that they were judged in: the stored verdict, and three more
of that day that no cache gave. Before another row is judged they are judged once more; verdicts
farther off than the judges' own first-day repeatability allows stop the run. How that is tested:
`leaderboard.statistics.repeatability`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, TypeAdapter

from judges.asking import LLMJudge
from judges.base import Shown, Verdict, stable_fraction
from judges.calling import Caller, Task
from judges.errors import UserError
from judges.records import validated
from judges.schema import Annotation, Comparison, Order
from leaderboard.boards import Board
from leaderboard.judging import held_verdicts, results_folder
from leaderboard.results import Row, write_json
from leaderboard.statistics.repeatability import Change, change
from leaderboard.watch import Watch

FILE = "drift.json"
REPEATS = 3
"""Verdicts of the first day beside the stored one. With two, 20 % of changed verdicts would be
overlooked twice as often, or more."""
LEVEL = 0.01
"""How often a judge that has not changed raises an alarm."""
LEAST = 0.01
"""Verdicts that moved by no more, on average, move no win rate by more than a point."""


class DriftAlarm(UserError):
    """A judge does not judge as it did on the board's first day; the row is not judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A comparison in one order, and a judge's verdicts of the first day, the stored one first."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    judge: str
    row: str
    comparison_id: str
    order: Order
    digest: str
    verdicts: Annotated[
        tuple[Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)], ...],
        Field(min_length=2),
    ]
    """For the second answer that was shown."""
    served: str | None = None
    """The name that the server gave the model."""


@dataclass(frozen=True, slots=True)
class _File:
    items: tuple[Item, ...]
    schema_version: Literal[1] = 1


# ------------------------------------------------------------------------------------ before a row
def check_drift(
    board: Board, needed: Sequence[LLMJudge], caller: Caller, watch: Watch
) -> dict[str, Change]:
    """Have the models that are about to judge a row judge the first day's comparisons once more; by
    model, how far it has changed.

    `needed` are the judges that will be asked. Raises DriftAlarm where a model lies outside of its
    own first-day repeatability.
    """
    items, pairs = _first_day(board)
    found = {}
    for model, judges in _by_model(board, needed).items():
        own = [item for item in items if item.judge in {judge.name for judge in judges}]
        there = [item for item in own if _key(item) in pairs]
        if not there:
            if own:
                watch.note(
                    f"{model}: whether it has changed cannot be told, as the answers of the "
                    f"board's first day ({own[0].row}) are gone or others now. This is the new one"
                )
            continue
        shown = [Shown(pairs[_key(item)], item.order) for item in there]
        verdicts = _judged(board, judges, [i.judge for i in there], shown, caller, watch)
        _tell_served(model, there, verdicts, watch)
        new = [verdict.preference for verdict in verdicts]
        changed = change(np.array([i.verdicts for i in there]), np.array(new, dtype=float))
        if changed is None:
            watch.note(f"{model}: whether it has changed cannot be told, as no verdict came")
            continue
        found[model] = changed
        if changed.p_value < LEVEL and changed.today > LEAST:
            raise DriftAlarm(_alarm(board, model, changed))
        watch.note(f"{model}: {_told(changed)}")
    return found


def _told(changed: Change) -> str:
    return (
        f"{changed.n} verdicts of the first day, asked for once more, lie {changed.today:.3f} off "
        f"on average ({changed.first_day:.3f} among themselves), p = {changed.p_value:.4f}"
    )


def _alarm(board: Board, model: str, changed: Change) -> str:
    folder = board.path.parent
    where = "" if folder == Path("results") else f" --results {folder}"
    return (
        f"{model} does not judge as on the first day of board {board.name}: {_told(changed)}. The "
        "row is not judged, as it could not be compared with the others. See them all by this "
        f"judge as it is now, on a new board: leaderboard rejudge {board.name}{where}; or set "
        f"drift = 0 in {board.path / 'board.toml'} to go on regardless"
    )


def _tell_served(
    model: str, items: Sequence[Item], verdicts: Sequence[Verdict], watch: Watch
) -> None:
    then = {item.served for item in items if item.served}
    now = {call.served for verdict in verdicts for call in verdict.calls if call.served}
    if then and now - then:
        names = [", ".join(sorted(of)) for of in (then, now)]
        watch.note(f"{model}: its server called it {names[0]} on the first day, and now {names[1]}")


# ------------------------------------------------------------------------------------- the first day
def keep_first_day(
    board: Board, row: Row, comparisons: Sequence[Comparison], caller: Caller, watch: Watch
) -> None:
    """Write down, once for each model behind a server, what it is held to from now on: verdicts on
    the row that has just been judged, and how it repeats them.

    A row with fewer comparisons than are wanted is passed over, unless the board has no more.
    """
    judges = _by_model(board, [j for j in board.panel.judges if isinstance(j, LLMJudge)])
    if not judges:
        return
    items, pairs = _first_day(board)
    kept = [item for item in items if _key(item) in pairs]
    new: list[Item] = []
    for model, own in judges.items():
        if caller.stopped or {judge.name for judge in own} & {item.judge for item in kept}:
            continue
        chosen = _chosen(board, row, own, comparisons)
        is_whole = len(comparisons) == len(board.comparison_ids(board.instructions))
        if not is_whole and len({view.comparison.id for view, _ in chosen}) < board.settings.drift:
            continue
        watch.note(f"{model}: judging {len(chosen)} verdicts {REPEATS} times more, as a first day")
        new += _repeated(board, row, own, chosen, caller, watch)
    if new and not caller.stopped:
        write_json(board.path / FILE, asdict(_File((*kept, *new))))


def _chosen(
    board: Board, row: Row, judges: Sequence[LLMJudge], comparisons: Sequence[Comparison]
) -> list[tuple[Shown, Annotation]]:
    """The verdicts of these judges on as many comparisons as the board says, by a stable hash. Of a
    comparison that several of them judged, one judge's; none where nobody had to be asked."""
    held = held_verdicts(row, comparisons)
    places = [(pair, judge) for pair in comparisons for judge in judges]
    seed = board.settings.seed
    places.sort(key=lambda place: stable_fraction(seed, "drift", place[0].id, place[1].name))
    chosen: dict[str, list[tuple[Shown, Annotation]]] = {}
    for pair, judge in places:
        if len(chosen) == board.settings.drift:
            break
        stored = [
            held.get((pair.id, judge.name, order)) for order in ("original", "swapped", "none")
        ]
        own = [(Shown(pair, a.order), a) for a in stored if a and a.preference is not None]
        if own and pair.id not in chosen and judge.requests(own[0][0]):
            chosen[pair.id] = own
    return [one for own in chosen.values() for one in own]


def _repeated(
    board: Board,
    row: Row,
    judges: Sequence[LLMJudge],
    chosen: Sequence[tuple[Shown, Annotation]],
    caller: Caller,
    watch: Watch,
) -> list[Item]:
    """The chosen verdicts with further ones of today; what is missing one is left out."""
    n = len(chosen)
    shown = [view for view, _ in chosen] * REPEATS
    names = [annotation.annotator for _, annotation in chosen] * REPEATS
    given = [v.preference for v in _judged(board, judges, names, shown, caller, watch)]
    items = []
    for place, (view, annotation) in enumerate(chosen):
        verdicts = [_as_seen(annotation), *given[place::n]]
        known = tuple(verdict for verdict in verdicts if verdict is not None)
        if len(known) == 1 + REPEATS:
            items.append(
                Item(
                    judge=annotation.annotator,
                    row=row.name,
                    comparison_id=annotation.comparison_id,
                    order=view.order,
                    digest=view.comparison.digest,
                    verdicts=known,
                    served=annotation.served,
                )
            )
    return items


def _as_seen(annotation: Annotation) -> float | None:
    """The verdict as the judge gave it: for the second answer that it was shown."""
    p = annotation.preference
    return 1 - p if p is not None and annotation.order == "swapped" else p


# --------------------------------------------------------------------------------------- the parts
def _by_model(board: Board, judges: Sequence[LLMJudge]) -> dict[str, list[LLMJudge]]:
    """Model → those of the judges that ask it, of models that can change unseen: behind servers."""
    found: dict[str, list[LLMJudge]] = {}
    for judge in judges:
        if board.settings.drift and judge.spec.is_remote:
            found.setdefault(judge.spec.spec, []).append(judge)
    return found


def _judged(
    board: Board,
    judges: Sequence[LLMJudge],
    names: Sequence[str],
    shown: Sequence[Shown],
    caller: Caller,
    watch: Watch,
) -> list[Verdict]:
    """A new verdict on each, by the judge of that name; none is from the cache."""
    found: dict[int, Verdict] = {}
    for judge in judges:
        own = [n for n, name in enumerate(names) if name == judge.name]
        task = Task(board.name, "", judge.name, "drift", results_folder(board))
        verdicts = judge.judge([shown[n] for n in own], caller, task, fresh=True)
        tracked = watch.track(verdicts, len(own), f"judging ({judge.name}): has it changed?")
        found |= dict(zip(own, tracked, strict=True))
    return [found[n] for n in range(len(shown))]


def _first_day(board: Board) -> tuple[tuple[Item, ...], Mapping[tuple[str, str], Comparison]]:
    """What drift.json holds, and by row and id those of its comparisons that are as they were."""
    path = board.path / FILE
    if not board.settings.drift or not path.is_file():
        return (), {}
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
        items = validated(TypeAdapter(_File), written, str(path)).items
    except (ValueError, RecursionError, UserError):
        raise UserError(f"{path}: broken; delete it, and the next row makes it anew") from None
    if len({len(item.verdicts) for item in items}) > 1:
        raise UserError(f"{path}: broken; delete it, and the next row makes it anew")
    digests = {_key(item): item.digest for item in items}
    pairs: dict[tuple[str, str], Comparison] = {}
    for name in dict.fromkeys(item.row for item in items):
        row = Row(board.path / name)
        if Path(name).name == name and row.outputs_file.is_file():
            outputs = row.outputs(allow_torn=True)
            answered = [i for i in board.instructions if i.id in outputs]
            for pair in board.comparisons(answered, outputs, name):
                if digests.get((name, pair.id)) == pair.digest:
                    pairs[name, pair.id] = pair
    return items, pairs


def _key(item: Item) -> tuple[str, str]:
    return item.row, item.comparison_id
