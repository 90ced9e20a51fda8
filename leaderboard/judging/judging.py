"""Puts a row's comparisons before the board's judges and keeps every verdict as it comes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack

from judges.asking.llm_judge import LLMJudge
from judges.backends.base import Request
from judges.base import Judge, Shown, Verdict, annotate, presentations
from judges.calling.caller import Caller, Purpose, Task
from judges.records import Appender
from judges.schema import Annotation, Comparison
from leaderboard.answers.models import refuse_to_send
from leaderboard.boards.board import Board
from leaderboard.judging.estimate import dollars
from leaderboard.rows.results import Row, write_annotations
from leaderboard.rows.self_judging import excluded
from leaderboard.watch import SILENT, Watch

Key = tuple[str, str, str]
CALLS_FOR_A_MEAN = 20
"""So many calls tell what a call costs."""


def open_caller(
    board: Board, max_cost: float | None = None, *, batch: bool = False, watch: Watch = SILENT
) -> Caller:
    """What calls models for a run on this board, within the smaller of both budgets (USD), with
    `batch` by their providers' batch services; `watch` is told how far those are."""
    budgets = [cost for cost in (max_cost, board.settings.max_cost_usd) if cost is not None]
    most = min(budgets, default=None)
    return Caller.default(max_cost_usd=most, batch=batch, tell=watch.note, show=watch.waiting)


def hand_over(
    board: Board, work: Sequence[tuple[Row, Sequence[Comparison]]], caller: Caller
) -> None:
    """Give what is left to be judged in these rows to batch services, so that all judges' batches
    run side by side; does nothing where the Caller makes single calls."""
    if not caller.batch:
        return
    held = [(held_verdicts(board, row, pairs), pairs, excluded(board, row)) for row, pairs in work]
    caller.submit(
        [
            (
                judge.spec,
                [
                    request
                    for verdicts, pairs, without in held
                    for view in outstanding(board, judge, pairs, verdicts, without)
                    for request in judge.requests(view)
                ],
            )
            for judge in board.panel.judges
            if isinstance(judge, LLMJudge) and judge.spec.is_remote
        ]
    )


def unread_requests(
    board: Board,
    judge: LLMJudge,
    row: Row,
    comparisons: Sequence[Comparison],
) -> list[Request]:
    """What the judge was asked before in this row without giving a verdict."""
    held = held_verdicts(board, row, comparisons)
    left = outstanding(board, judge, comparisons, held, excluded(board, row))
    return [
        request
        for view in left
        if (view.comparison.id, judge.name, view.order) in held
        for request in judge.asked_about(view)
    ]


def forget_unread(
    board: Board, work: Sequence[tuple[Row, Sequence[Comparison]]], caller: Caller
) -> None:
    """Drop the stored replies in which these rows' judges gave no verdict: they are asked anew."""
    caller.stores.open()
    for judge in board.panel.judges:
        if isinstance(judge, LLMJudge):
            requests = [r for row, pairs in work for r in unread_requests(board, judge, row, pairs)]
            if requests and judge.spec.is_remote:
                caller.stores.forget(caller.stores.keys(judge.spec, requests))
            elif requests:
                identity = caller.local(judge.spec).fingerprint()
                caller.stores.forget(caller.stores.keys_by(identity, requests))


def judge_row(
    board: Board,
    row: Row,
    comparisons: Sequence[Comparison],
    watch: Watch,
    caller: Caller | None = None,
    purpose: Purpose = "judging",
) -> None:
    """Fill the row's annotations.jsonl with every verdict on the comparisons."""
    judge_rows(board, [(row, comparisons)], watch, caller, purpose)


def judge_rows(
    board: Board,
    work: Sequence[tuple[Row, Sequence[Comparison]]],
    watch: Watch,
    caller: Caller | None = None,
    purpose: Purpose = "judging",
) -> None:
    """Fill the annotations.jsonl of several rows, judge by judge, so that a judge that is loaded
    into this process is loaded once.

    A stored verdict is kept when it is on these very texts and of this very judge; any other is
    dropped, a missing one asked for again. Each new one is appended as soon as it is there; at the end the file is put
    in canonical order: comparison, judge, order.
    """
    with ExitStack() as stack:
        if caller is None:
            caller = stack.enter_context(open_caller(board, watch=watch))
        stores = [stack.enter_context(_Store(board, row, pairs)) for row, pairs in work]
        for judge in board.panel.judges:
            for store in stores:
                left = outstanding(board, judge, store.comparisons, store.held, store.excluded)
                if left and isinstance(judge, LLMJudge):
                    refuse_to_send(board.instructions, judge.spec, f"judge {judge.name}")
                task = Task(board.name, store.row.name, judge.name, purpose, results_folder(board))
                found = annotate(judge, left, caller, task, board.panel.digests[judge.name])
                verdicts = _reckoned(found, len(left), task, caller, watch)
                what = f"judging ({judge.name})"
                for annotation, verdict in watch.track(verdicts, len(left), what):
                    store.keep(annotation, verdict)
    for store in stores:
        store.put_in_order(board)


def _reckoned(
    verdicts: Iterator[tuple[Annotation, Verdict]],
    n: int,
    task: Task,
    caller: Caller,
    watch: Watch,
) -> Iterator[tuple[Annotation, Verdict]]:
    """The verdicts; once 20 of a row's calls to a judge are paid for, what the rest will cost."""
    n_before, spent_before = caller.n_calls, caller.spent_usd
    is_told = task.purpose != "judging"
    for done, (annotation, verdict) in enumerate(verdicts, 1):
        yield annotation, verdict
        made = caller.n_calls - n_before
        if is_told or made < CALLS_FOR_A_MEAN or not verdict.calls:
            continue
        is_told = True
        # Replies run ahead of the verdicts, which come in order.
        left = (n - done) * len(verdict.calls) - max(0, made - done * len(verdict.calls))
        spent = caller.spent_usd - spent_before
        if left > 0 and spent > 0 and not caller.is_cost_unknown:
            watch.note(
                f"{task.judge}: {made} calls have cost {dollars(spent)}; at that rate the {left:,} "
                f"that are left will cost about {dollars(spent / made * left)}"
            )


def results_folder(board: Board) -> str:
    """Where the board lies, for the ledger."""
    return str(board.path.parent.resolve())


def outstanding(
    board: Board,
    judge: Judge,
    comparisons: Sequence[Comparison],
    held: Mapping[Key, Annotation],
    without: Collection[str] = (),
) -> list[Shown]:
    """What a judge is still to be shown of the comparisons; `without` are judges that have no say
    on them, by name."""
    settings = board.settings
    if judge.name in without:
        return []
    if board.panel.is_drawn:
        comparisons = [
            pair
            for pair in comparisons
            for drawn in board.panel.assigned(pair.instruction, settings.seed, without)
            if drawn.name == judge.name
        ]
    shown = presentations(judge, comparisons, settings.orders, settings.seed)
    return [view for view in shown if not _is_answered(held, judge.name, view)]


def held_verdicts(
    board: Board, row: Row, comparisons: Sequence[Comparison]
) -> dict[Key, Annotation]:
    """The row's stored verdicts, but those on other texts than the comparisons now have, and those
    of other judges of the same name."""
    digests = {comparison.id: comparison.digest for comparison in comparisons}
    return {
        _key(annotation): annotation
        for annotation in row.annotations()
        if not (is_on_other_texts(annotation, digests) or board.panel.is_anothers(annotation))
    }


class _Store:
    """A row while it is judged: its verdicts in memory, each new one on disk at once."""

    def __init__(self, board: Board, row: Row, comparisons: Sequence[Comparison]) -> None:
        self.row, self.comparisons = row, comparisons
        self.excluded = excluded(board, row)
        self.held = held_verdicts(board, row, comparisons)
        file = row.annotations_file
        self._was_empty = not file.is_file() or file.stat().st_size == 0
        self._files = ExitStack()
        self._transcripts: Appender | None = None

    def __enter__(self) -> _Store:
        self._annotations = self._files.enter_context(Appender(self.row.annotations_file))
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def keep(self, annotation: Annotation, verdict: Verdict) -> None:
        """Store a verdict, and beside it what a language model replied."""
        if verdict.calls:
            if self._transcripts is None:
                file = Appender(self.row.transcripts_file)
                self._transcripts = self._files.enter_context(file)
            of = {name: getattr(annotation, name) for name in ("comparison_id", "annotator")}
            of |= {"order": annotation.order, "digest": annotation.digest}
            self._transcripts.append({**of, "calls": verdict.calls})
        self._annotations.append(annotation)
        self.held[_key(annotation)] = annotation

    def put_in_order(self, board: Board) -> None:
        """Verdicts beyond those of a --limit run, or of judges that a board of this name had once,
        stay in the file, behind the ones in use."""
        place = {comparison.id: n for n, comparison in enumerate(self.comparisons)}
        judges = {name: n for n, name in enumerate(board.panel.names)}
        orders = {"none": 0, "original": 1, "swapped": 2}

        def canonical(key: Key) -> tuple[int, str, int, int]:
            comparison, judge, order = key
            behind = judges.get(judge, len(judges))
            return (place.get(comparison, len(place)), comparison, behind, orders[order])

        ordered = sorted(self.held, key=canonical)
        if not (self._was_empty and list(self.held) == ordered):  # as they were appended
            write_annotations(self.row.annotations_file, [self.held[key] for key in ordered])


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
