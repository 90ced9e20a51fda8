"""Models put against each other, answer by answer, and the strengths that follow.

A board's rows meet its references only. Here they meet each other, judged by the board's panel in
the board's orders; the verdicts on A and B, in alphabetical order, are kept in its folder, in
`head_to_head/<A>--vs--<B>/`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import pandas as pd
from filelock import FileLock

from judges.calling.caller import Caller
from judges.errors import UserError
from judges.kinds.recorded import Recorded
from judges.records import digest
from judges.schema import Comparison, Instruction, Output
from leaderboard import __version__
from leaderboard.answers.generate import require_own_prompts, require_stored
from leaderboard.boards.board import Board
from leaderboard.boards.evalset import require_all
from leaderboard.comparing.comparison import (
    Pair,
    are_of_two_minds,
    check_names,
    flip_p,
    pairs_among,
    without_rounding,
)
from leaderboard.judging.drift import check_drift
from leaderboard.judging.judging import is_on_other_texts, judge_row, open_caller
from leaderboard.judging.preflight import check_needed_judges
from leaderboard.rows.results import Manifest, Row
from leaderboard.rows.self_judging import excluded
from leaderboard.rows.standings import Standings, standings
from leaderboard.rows.summary import RATE_COLUMNS, row_items
from leaderboard.statistics.bradley_terry import BradleyTerry, bradley_terry
from leaderboard.statistics.uncertainty import holm
from leaderboard.statistics.winrate import WinRate, win_rate
from leaderboard.watch import SILENT, Watch

FOLDER = "head_to_head"
VERSUS = "--vs--"
Answers = Mapping[str, Output]


@dataclass(frozen=True, slots=True)
class Duel:
    """How `a` fared against `b`: the rate is that at which a's answers were preferred.

    `p_value` is that of the sign-flip test on the preferences less 0.5, and `p_holm` the same
    adjusted for the `n_comparisons` judged pairs of the call; both are 1 where nothing is judged.
    """

    a: str
    b: str
    rate: WinRate
    p_value: float
    p_holm: float
    n_comparisons: int

    @property
    def disagrees(self) -> bool:
        """As `Comparison.disagrees` of the verdicts against references."""
        return are_of_two_minds(self.rate.low - 0.5, self.rate.high - 0.5, self.p_value)


@dataclass(frozen=True, slots=True)
class HeadToHead:
    """Pairs of models, and their strengths by these and, on a board, by its references.

    These are None where a run stopped at its budget before every pair had a verdict. `n_met` counts
    the pairs that they rest on: fewer than there are models say no more than the win rates.
    """

    duels: tuple[Duel, ...]
    strengths: BradleyTerry | None
    n_met: int


# ---------------------------------------------------------------------------------- rows of a board
def head_to_head(
    board: Board,
    names: Sequence[str] = (),
    watch: Watch = SILENT,
    baseline: str | None = None,
    caller: Caller | None = None,
) -> HeadToHead:
    """Put the answers of these rows and references against each other, every pair of them, or each
    against the baseline. None named are all: the ranked rows and the references.

    Verdicts that are stored are not asked for again, among them those of a row against a reference.
    Raises UserError for a name that is neither a ranked row nor a reference, answers without texts
    or to other prompts, and judges that only replay verdicts and have none on a pair.
    """
    references = board.settings.references
    names, unmet, answers = _rivals(board, names, baseline)
    duels = pairs_among(names, baseline)
    with ExitStack() as stack:
        calls = caller or stack.enter_context(open_caller(board, watch=watch))
        for pair in unmet:
            _judge(board, pair, answers, watch, calls)
        rows = [name for name in names if name not in references]
        met = _against_references(board, rows)
        met |= {pair: stored_items(board, pair, answers) for pair in unmet}
        anchor = references[0] if rows else next(name for name in references if name in names)
        strengths = strengths_unless_stopped(met, anchor, calls)
    return HeadToHead(duels_of(duels, met), strengths, len(met))


def meetings(
    board: Board, names: Sequence[str], baseline: str | None
) -> Iterator[tuple[Row, list[Comparison]]]:
    """What `head_to_head` puts before the judges, pair by pair: where the verdicts lie, and all
    comparisons."""
    _, unmet, answers = _rivals(board, names, baseline)
    for pair in unmet:
        yield _folder(board, pair), comparisons_of(board.instructions, pair, answers)


def _rivals(
    board: Board, names: Sequence[str], baseline: str | None
) -> tuple[list[str], list[Pair], dict[str, Answers]]:
    """All whom `head_to_head` is about, the pairs whose verdicts lie in no row, and the answers of
    these."""
    table, references = standings(board), board.settings.references
    ranked = [name for name in table.frame["model"] if name in table.models]
    known = list(dict.fromkeys([*ranked, *references]))
    if len(known) < 2:
        raise UserError(
            f"there is nothing to compare yet: {known[0]} is alone; `leaderboard eval` adds rows"
        )
    names = list(names) or known
    if baseline is not None and baseline not in names:
        names.append(baseline)
    _check_rivals(table, references, names)
    pairs = pairs_among(names, baseline)
    # The verdicts on a row and a reference lie in the row.
    apart = [pair for pair in pairs if (pair[0] in references) == (pair[1] in references)]
    unmet = [(min(pair), max(pair)) for pair in apart]
    for pair in unmet:
        _require_verdicts(board, pair)
    met = dict.fromkeys(name for pair in unmet for name in pair)
    return names, unmet, {name: answers_of(board, name) for name in met}


def board_strengths(board: Board) -> BradleyTerry:
    """The strengths of a board's ranked rows and references, the first of which is the anchor, from
    all verdicts that are stored, those of `head_to_head` among them. Nothing is judged.

    Raises UserError for one reference and no such verdicts: there, every model has met one other,
    and strengths would say nothing that the win rates do not.
    """
    references = board.settings.references
    rows = [name for name in standings(board).models if name not in references]
    stored = stored_pairs(board, {*rows, *references})
    answers = {name: answers_of(board, name) for name in sorted({n for p in stored for n in p})}
    met = {pair: stored_items(board, pair, answers) for pair in stored}
    met = {pair: items for pair, items in met.items() if items["preference"].notna().any()}
    if not met and (len(references) == 1 or not rows):
        raise UserError(
            f"board {board.name} holds no verdicts but those against {references[0]!r}, of which "
            "strengths say nothing that the win rates do not. Put rows against each other: "
            f"leaderboard compare {board.name} ROW ROW --direct"
        )
    return strengths_of(_against_references(board, rows) | met, references[0])


def _check_rivals(table: Standings, references: Sequence[str], names: Sequence[str]) -> None:
    if len(names) < 2:
        raise UserError("name two rows or references at least, or none for all that there are")
    check_names(table, [name for name in names if name not in references])
    if len(set(names)) < len(names):
        raise UserError(f"a row is put against itself: {', '.join(names)}")
    for name in names:
        if VERSUS in f"--{name}--":  # it would not be clear whose folder of verdicts it is
            raise UserError(
                f"{name!r} cannot be put against others: with 'vs' where pairs are parted in it, "
                "their folders could not be told apart"
            )


def answers_of(board: Board, name: str) -> Answers:
    """The answers of a row or a reference to every instruction, whose texts must be stored.

    A board of recorded verdicts shows nobody a text, and does without.
    """
    outputs = board.references.get(name)
    if outputs is None:
        row = Row(board.path / name)
        if not row.outputs_file.is_file():
            raise UserError(
                f"the answers of {name!r} are not stored: {row.outputs_file} is missing"
            )
        outputs = row.outputs(allow_torn=True)
        require_all(outputs, board.instructions, str(row.outputs_file))
        require_own_prompts(row, outputs, board.instructions)
        require_stored(row, outputs)
    without = sum(outputs[i.id].length is not None for i in board.instructions)
    if without and not board.is_recorded:
        raise UserError(
            f"{without} of {len(board.instructions)} answers of {name!r} are stored without their "
            "texts, which judges would have to be shown"
        )
    return outputs


def _require_verdicts(board: Board, pair: Pair) -> None:
    """Raises UserError where all judges only replay verdicts, and there are none on the pair."""
    recorded = [judge for judge in board.panel.judges if isinstance(judge, Recorded)]
    held = ({one, two} for judge in recorded for _, one, two, _ in judge.verdicts)
    if board.is_recorded and set(pair) not in held:
        raise UserError(
            f"board {board.name} holds recorded verdicts, and none on {pair[0]!r} against "
            f"{pair[1]!r}. A board that judges for itself is made by: leaderboard board new "
            f"{board.name}-live --from {board.name} --judge JUDGE"
        )


def _judge(
    board: Board, pair: Pair, answers: Mapping[str, Answers], watch: Watch, caller: Caller
) -> None:
    """Bring the stored verdicts on a pair up to date."""
    row = _folder(board, pair)
    row.path.mkdir(parents=True, exist_ok=True)
    # Two runs that come here at once take turns; the second finds nothing left to do.
    with FileLock(row.path / ".lock"):
        if not _is_of_this_panel(board, row):
            row.annotations_file.unlink(missing_ok=True)
        parts = {"panel": board.hashes["panel"]}
        made = Manifest(source=row.name, parts=parts, settings={}, herdbook=__version__)
        row.write_manifest(made)
        comparisons = comparisons_of(board.instructions, pair, answers)
        work = [(row, comparisons)]
        check_drift(board, check_needed_judges(board, work, caller, watch, ()), caller, watch)
        judge_row(board, row, comparisons, watch, caller)
        row.write_manifest(replace(made, parts={**parts, "verdicts": verdicts_digest(row)}))


def verdicts_digest(row: Row) -> str:
    """By which the verdicts on a pair are known again."""
    return digest([[v.comparison_id, v.order, v.preference] for v in row.annotations()])


def _folder(board: Board, pair: Pair) -> Row:
    return Row(board.path / FOLDER / VERSUS.join(pair))


def _is_of_this_panel(board: Board, row: Row) -> bool:
    """Whether the verdicts are by the judges that the board has now, not by others so called."""
    manifest = row.manifest()
    return manifest is not None and manifest.parts.get("panel") == board.hashes["panel"]


def comparisons_of(
    instructions: Sequence[Instruction], pair: Pair, answers: Mapping[str, Answers]
) -> list[Comparison]:
    """The second one's answers beside the first one's, with ids as `Board.comparison_ids` has."""
    return [
        Comparison(
            id=f"{pair[0]}:{instruction.id}",
            instruction=instruction,
            output_1=answers[pair[0]][instruction.id].text,
            output_2=answers[pair[1]][instruction.id].text,
            generator_1=pair[0],
            generator_2=pair[1],
        )
        for instruction in instructions
    ]


def stored_pairs(board: Board, known: set[str]) -> list[Pair]:
    """The pairs of known names with verdicts of the board's panel."""
    pairs = []
    for path in sorted((board.path / FOLDER).glob(f"*{VERSUS}*/annotations.jsonl")):
        a, _, b = path.parent.name.partition(VERSUS)
        if {a, b} <= known and _is_of_this_panel(board, Row(path.parent)):
            pairs.append((a, b))
    return pairs


def stored_items(board: Board, pair: Pair, answers: Mapping[str, Answers]) -> pd.DataFrame:
    """One row an instruction, as `row_items`; what was judged on other texts is missing."""
    digests = {one.id: one.digest for one in comparisons_of(board.instructions, pair, answers)}
    stored = _folder(board, pair).annotations()
    current = [verdict for verdict in stored if not is_on_other_texts(verdict, digests)]
    without = excluded(board, _folder(board, pair))
    return row_items(board, current, board.instructions, pair[:1], without=without)


def _against_references(board: Board, rows: Sequence[str]) -> dict[Pair, pd.DataFrame]:
    """What the rows did against each reference, by reference and row."""
    return {
        (reference, row): row_items(
            board, annotations, board.instructions, [reference], without=without
        )
        for row in rows
        for folder in [Row(board.path / row)]
        for annotations, without in [(folder.annotations(), excluded(board, folder))]
        for reference in board.settings.references
    }


def duels_of(pairs: Sequence[Pair], known: Mapping[Pair, pd.DataFrame]) -> tuple[Duel, ...]:
    """How these pairs fared, as one family of tests."""
    items = [_items_for(a, b, known) for a, b in pairs]
    margins = [of["preference"].dropna().to_numpy(float) - 0.5 for of in items]
    judged = [n for n, margin in enumerate(margins) if margin.size]
    p = [flip_p(without_rounding(margins[n])) for n in judged]
    adjusted = dict(zip(judged, zip(p, map(float, holm(p)), strict=True), strict=True))
    return tuple(
        Duel(a, b, win_rate(items[n][RATE_COLUMNS]), *adjusted.get(n, (1.0, 1.0)), len(judged))
        for n, (a, b) in enumerate(pairs)
    )


def _items_for(a: str, b: str, known: Mapping[Pair, pd.DataFrame]) -> pd.DataFrame:
    """What is known of a pair, the preferences being for a."""
    if (b, a) in known:
        return known[b, a]
    for_b = known[a, b]
    mirrored = {"preference": for_b["preference"], "low": for_b["high"], "high": for_b["low"]}
    return for_b.assign(**{name: 1 - column for name, column in mirrored.items()})


def strengths_unless_stopped(
    met: Mapping[Pair, pd.DataFrame], anchor: str, caller: Caller
) -> BradleyTerry | None:
    """As `strengths_of`; None where a pair has no verdict as calls were not made for the budget."""
    is_bare = any(items["preference"].isna().all() for items in met.values())
    return None if caller.stopped and is_bare else strengths_of(met, anchor)


def strengths_of(met: Mapping[Pair, pd.DataFrame], anchor: str) -> BradleyTerry:
    """The strengths by all verdicts on these pairs, each with the preferences for its second.

    Raises UserError where the verdicts do not connect all models.
    """
    battles = [
        items[["instruction_id", "preference"]].assign(model_1=one, model_2=two)
        for (one, two), items in met.items()
    ]
    try:
        return bradley_terry(pd.concat(battles, ignore_index=True), anchor=anchor)
    except ValueError as error:  # all verdicts on a pair are missing
        raise UserError(f"no strengths can be reckoned: {error}") from None
