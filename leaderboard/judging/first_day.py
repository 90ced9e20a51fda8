"""What judges behind servers are held to: their verdicts of a board's first day, in drift.json.

Each model behind a server repeats some of its verdicts on the board's first row, past the cache.
They are written down as they come, so that a run that is killed or stopped at its budget loses
next to nothing: the next one asks for what is left. `leaderboard.judging.drift` compares later verdicts
with them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, ClassVar, Literal

from filelock import FileLock
from pydantic import Field

from judges.asking.llm_judge import LLMJudge
from judges.backends.base import Request
from judges.base import Shown, Verdict, presentations, stable_fraction
from judges.calling.caller import Caller, Task
from judges.errors import UserError
from judges.records import validated
from judges.schema import Annotation, Comparison, Order
from leaderboard.boards.board import Board
from leaderboard.judging.judging import held_verdicts, results_folder
from leaderboard.rows.results import Row, write_json
from leaderboard.watch import SILENT, Watch

FILE = "drift.json"
REPEATS = 3
"""Verdicts of the first day beside the stored one. With two, 20 % of changed verdicts would be
overlooked twice as often, or more."""
_AT_ONCE = 16
"""Verdicts that are asked for, and written down, together: no more are lost when a run is killed."""
Pairs = Mapping[tuple[str, str], Comparison]
"""Row and id of a comparison → it."""


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
        Field(min_length=1, max_length=1 + REPEATS),
    ]
    """For the second answer that was shown."""
    served: str | None = None
    """The name that the server gave the model."""

    @property
    def n_left(self) -> int:
        """Verdicts that are still to come."""
        return 1 + REPEATS - len(self.verdicts)

    @property
    def pair(self) -> tuple[str, str]:
        return self.row, self.comparison_id


@dataclass(frozen=True, slots=True)
class _File:
    items: tuple[Item, ...]
    unfinished: tuple[Item, ...] = ()
    """Those that have not all of their verdicts yet."""
    schema_version: Literal[1] = 1


def first_day(board: Board) -> tuple[list[Item], Pairs]:
    """What drift.json holds, the unfinished last, and those of its comparisons that are as they
    were."""
    items = _items(board)
    return items, _unchanged(board, items)


def _items(board: Board) -> list[Item]:
    path = board.path / FILE
    if not board.settings.drift or not path.is_file():
        return []
    broken = f"{path}: broken; delete it, and the next row makes it anew"
    try:
        held = validated(_File, json.loads(path.read_text(encoding="utf-8")), str(path))
    except (ValueError, RecursionError, UserError):
        raise UserError(broken) from None
    if any(item.n_left for item in held.items) or not all(i.n_left for i in held.unfinished):
        raise UserError(broken)
    return [*held.items, *held.unfinished]


def _unchanged(board: Board, items: Sequence[Item]) -> Pairs:
    digests = {item.pair: item.digest for item in items}
    pairs: dict[tuple[str, str], Comparison] = {}
    for name in dict.fromkeys(item.row for item in items):
        row = Row(board.path / name)
        if row.path.parent == board.path and row.name == name and row.outputs_file.is_file():
            outputs = row.outputs(allow_torn=True)
            answered = [i for i in board.instructions if i.id in outputs]
            for pair in board.comparisons(answered, outputs, name):
                was = digests.get((name, pair.id))
                if was is not None and was == pair.digest:
                    pairs[name, pair.id] = pair
    return pairs


def by_model(board: Board, judges: Iterable[object]) -> dict[str, list[LLMJudge]]:
    """Model → those of the judges that ask it, of models that can change unseen: behind servers."""
    found: dict[str, list[LLMJudge]] = {}
    for judge in judges:
        if board.settings.drift and isinstance(judge, LLMJudge) and judge.spec.is_remote:
            found.setdefault(judge.spec.spec, []).append(judge)
    return found


def checked_key(board: Board, model: str) -> str:
    """What stands in `Caller.checked` for a model that has been looked at on this board: once a
    command is enough."""
    return f"drift {board.path} {model}"


def unfinished_judges(board: Board, rows: Iterable[Row]) -> set[str]:
    """The judges whose first day is on one of these rows, and was interrupted."""
    names = {row.name for row in rows}
    begun = [item for item in _items(board) if item.n_left and item.row in names]
    pairs = _unchanged(board, begun)
    return {item.judge for item in begun if item.pair in pairs}


def judged(
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
        if not own:
            continue
        task = Task(board.name, "", judge.name, "drift", results_folder(board))
        verdicts = judge.judge([shown[n] for n in own], caller, task, fresh=True)
        tracked = watch.track(verdicts, len(own), f"judging ({judge.name}): has it changed?")
        found |= dict(zip(own, tracked, strict=True))
    return [found[n] for n in range(len(shown))]


# ------------------------------------------------------------------------------------- to keep one
def keep_first_day(
    board: Board, row: Row, comparisons: Sequence[Comparison], caller: Caller, watch: Watch
) -> None:
    """Write down, once for each model behind a server, what it is held to from now on: verdicts on
    the row that has just been judged, and how it repeats them.

    A row with fewer comparisons than are wanted is passed over, unless the board has no more.
    """
    judges = by_model(board, board.panel.judges)
    if not judges or caller.stopped:
        return
    if _to_begin(board, row, judges, comparisons):
        # Two runs that come here at once take turns; the second finds it begun.
        with _lock(board):
            items, pairs = first_day(board)
            begun = _to_begin(board, row, judges, comparisons)
            for model, new in begun.items():
                n = len(new)
                caller.checked.add(checked_key(board, model))
                watch.note(f"{model}: judging {n} verdicts {REPEATS} times more, as a first day")
            kept = [item for item in items if item.pair in pairs]
            _write(board, [*kept, *(item for new in begun.values() for item in new)])
    finish_first_day(board, judges, caller, watch)


def finish_first_day(
    board: Board, judges: Mapping[str, Sequence[LLMJudge]], caller: Caller, watch: Watch
) -> None:
    """Have these judges, by model, repeat what is left of their first day.

    An item of which a repetition cannot be read is left out; one that failed otherwise waits for
    the next run.
    """
    own = {judge.name: judge for of in judges.values() for judge in of}
    if not own:
        return
    from leaderboard.judging.trial import is_unreadable

    items, pairs = first_day(board)
    if caller.stopped or not any(_left(item, own, pairs) for item in items):
        return
    with _lock(board):
        items, pairs = first_day(board)
        held = {(item.judge, item.order, *item.pair): item for item in items if item.pair in pairs}
        left = [key for key, item in held.items() for _ in range(_left(item, own, pairs))]
        shown = [Shown(pairs[held[key].pair], held[key].order) for key in left]
        groups = _in_groups(board, own, [held[key].judge for key in left], shown, caller)
        tracked = watch.track(groups, len(left), "judging: a first day")
        for n, (key, view, verdict) in enumerate(zip(left, shown, tracked, strict=True), 1):
            item = held.get(key)  # None: one of its verdicts could not be read
            if item is not None and verdict.preference is not None:
                held[key] = replace(item, verdicts=(*item.verdicts, verdict.preference))
            elif item is not None and is_unreadable(own[item.judge], view, verdict):
                del held[key]
            if n % _AT_ONCE == 0 or n == len(left):
                _write(board, held.values())


def _in_groups(
    board: Board,
    judges: Mapping[str, LLMJudge],
    names: Sequence[str],
    shown: Sequence[Shown],
    caller: Caller,
) -> Iterator[Verdict]:
    """The verdicts, so many at a time that all of them can be written down together."""
    for at in range(0, len(shown), _AT_ONCE):
        part = slice(at, at + _AT_ONCE)
        yield from judged(board, [*judges.values()], names[part], shown[part], caller, SILENT)


def _left(item: Item, judges: Mapping[str, LLMJudge], pairs: Pairs) -> int:
    """How many verdicts these judges are to give on an item yet."""
    return item.n_left if item.judge in judges and item.pair in pairs else 0


def _to_begin(
    board: Board,
    row: Row,
    judges: Mapping[str, Sequence[LLMJudge]],
    comparisons: Sequence[Comparison],
) -> dict[str, list[Item]]:
    """By model without a first day, the stored verdicts that one begins with."""
    items, pairs = first_day(board)
    known = {item.judge for item in items if item.pair in pairs}
    is_whole = len(comparisons) == len(board.comparison_ids(board.instructions))
    found = {}
    for model, own in judges.items():
        if known & {judge.name for judge in own}:
            continue
        chosen = _chosen(board, row, own, comparisons)
        n = len({view.comparison.id for view, _ in chosen})
        if chosen and (is_whole or n >= board.settings.drift):
            found[model] = [_begun(row, view, annotation) for view, annotation in chosen]
    return found


def _chosen(
    board: Board, row: Row, judges: Sequence[LLMJudge], comparisons: Sequence[Comparison]
) -> list[tuple[Shown, Annotation]]:
    """The verdicts of these judges on as many comparisons as the board says, by a stable hash. Of a
    comparison that several of them judged, one judge's; none where nobody had to be asked."""
    held = held_verdicts(board, row, comparisons)
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
        if own and pair.id not in chosen and judge.asked_about(own[0][0]):
            chosen[pair.id] = own
    return [one for own in chosen.values() for one in own]


def _begun(row: Row, view: Shown, annotation: Annotation) -> Item:
    p = annotation.preference
    assert p is not None
    return Item(
        judge=annotation.annotator,
        row=row.name,
        comparison_id=annotation.comparison_id,
        order=view.order,
        digest=view.comparison.digest,
        verdicts=(1 - p if view.order == "swapped" else p,),
        served=annotation.served,
    )


def _write(board: Board, items: Iterable[Item]) -> None:
    held = list(items)
    whole, unfinished = (
        tuple(item for item in held if bool(item.n_left) is is_left) for is_left in (False, True)
    )
    write_json(board.path / FILE, asdict(_File(whole, unfinished)))


def _lock(board: Board) -> FileLock:
    return FileLock(board.path / ".drift.lock")


# ------------------------------------------------------------------------------------- what it costs
def requests_to_come(
    board: Board,
    judges: Iterable[LLMJudge],
    comparisons: Sequence[Comparison],
    caller: Caller,
) -> dict[str, tuple[LLMJudge, list[Request]]]:
    """By model, what watching it will ask for a row with these comparisons, none of it from a cache,
    and one of its judges."""
    judges_of = by_model(board, judges)
    if not judges_of:
        return {}
    items, pairs = first_day(board)
    n = board.settings.drift
    is_enough = len(comparisons) >= min(n, len(board.comparison_ids(board.instructions)))
    found = {}
    for model, own in judges_of.items():
        if checked_key(board, model) in caller.checked:
            continue
        judge, names = own[0], {judge.name: judge for judge in own}
        kept = [item for item in items if item.judge in names and item.pair in pairs]
        shown = [
            (names[item.judge], Shown(pairs[item.pair], item.order))
            for item in kept
            for _ in range(item.n_left or 1)
        ]
        if not kept and is_enough:
            views = presentations(
                judge, comparisons[:n], board.settings.orders, board.settings.seed
            )
            shown = REPEATS * [(judge, view) for view in views]
        requests = [request for of, view in shown for request in of.asked_about(view)]
        if requests:
            found[model] = judge, requests
    return found
