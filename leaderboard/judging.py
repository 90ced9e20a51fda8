"""Puts a row's comparisons before the board's judges and keeps every verdict as it comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from judges.base import Shown, annotate, presentations
from judges.records import Appender
from judges.schema import Annotation, Comparison
from leaderboard.boards import Board
from leaderboard.results import Row, write_annotations
from leaderboard.watch import Watch

Key = tuple[str, str, str]


def judge_row(board: Board, row: Row, comparisons: Sequence[Comparison], watch: Watch) -> None:
    """Fill the row's annotations.jsonl with every verdict on the comparisons.

    A stored verdict is kept when it is on these very texts; one on others is dropped, a missing
    one asked for again. Each new one is appended as soon as it is there; at the end the file is put
    in canonical order: comparison, judge, order.
    """
    digests = {comparison.id: comparison.digest for comparison in comparisons}
    held = {
        _key(annotation): annotation
        for annotation in row.annotations()
        if not is_on_other_texts(annotation, digests)
    }
    settings = board.settings
    with Appender(row.annotations_file) as file:
        for judge in board.panel.judges:
            shown = presentations(judge, comparisons, settings.orders, settings.seed)
            left = [view for view in shown if not _is_answered(held, judge.name, view)]
            verdicts = annotate(judge, left)
            for annotation in watch.track(verdicts, len(left), f"judging ({judge.name})"):
                file.append(annotation)
                held[_key(annotation)] = annotation
    # Verdicts beyond those of a --limit run, or of judges that a board of this name had once, stay
    # in the file, behind the ones in use.
    place = {comparison.id: n for n, comparison in enumerate(comparisons)}
    judges = {name: n for n, name in enumerate(board.panel.names)}
    orders = {"none": 0, "original": 1, "swapped": 2}

    def canonical(key: Key) -> tuple[int, str, int, int]:
        comparison, judge, order = key
        behind = judges.get(judge, len(judges))
        return (place.get(comparison, len(place)), comparison, behind, orders[order])

    write_annotations(row.annotations_file, [held[key] for key in sorted(held, key=canonical)])


def is_on_other_texts(annotation: Annotation, digests: Mapping[str, str]) -> bool:
    """Whether a verdict is on other texts than the comparison of its id, as far as both are known;
    `digests` is by comparison id."""
    now = digests.get(annotation.comparison_id)
    return now is not None and annotation.digest not in (None, now)


def _key(annotation: Annotation) -> Key:
    return (annotation.comparison_id, annotation.annotator, annotation.order)


def _is_answered(held: Mapping[Key, Annotation], judge: str, view: Shown) -> bool:
    stored = held.get((view.comparison.id, judge, view.order))
    return (
        stored is not None
        and stored.preference is not None
        and stored.digest == view.comparison.digest
    )
