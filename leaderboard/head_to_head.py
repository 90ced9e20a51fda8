"""Models put against each other, answer by answer, and the strengths that follow.

A board's rows meet its references only. Here they meet each other, judged by the board's panel in
the board's orders; the verdicts on A and B, in alphabetical order, are kept in its folder, in
`head_to_head/<A>--vs--<B>/`. Answers files need no board, and leave nothing behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pandas as pd
from filelock import FileLock

from judges.base import annotate, presentations
from judges.errors import UserError
from judges.panel import Panel, panel_preferences
from judges.reading import printable
from judges.recorded import Recorded
from judges.registry import judge_table, known_specs, make_panel, packaged_panels, read_panel
from judges.schema import Annotation, Comparison, Instruction, Message, Output
from leaderboard import __version__
from leaderboard.answers import read_answers
from leaderboard.boards import Board
from leaderboard.comparison import Pair, check_names
from leaderboard.evalset import require_all
from leaderboard.generate import require_own_prompts
from leaderboard.judging import is_on_other_texts, judge_row
from leaderboard.results import RATE_COLUMNS, Manifest, Row, annotation_frame, row_items
from leaderboard.standings import Standings, standings
from leaderboard.statistics.bradley_terry import BradleyTerry, bradley_terry
from leaderboard.statistics.winrate import WinRate, win_rate
from leaderboard.user_files import read_rows
from leaderboard.watch import SILENT, Watch

FOLDER = "head_to_head"
VERSUS = "--vs--"
Answers = Mapping[str, Output]


@dataclass(frozen=True, slots=True)
class Duel:
    """How `a` fared against `b`: the rate is that at which a's answers were preferred."""

    a: str
    b: str
    rate: WinRate


@dataclass(frozen=True, slots=True)
class HeadToHead:
    """All pairs of some models, and their strengths by these and, on a board, by its references."""

    duels: tuple[Duel, ...]
    strengths: BradleyTerry


# ---------------------------------------------------------------------------------- rows of a board
def head_to_head(board: Board, names: Sequence[str], watch: Watch = SILENT) -> HeadToHead:
    """Put the answers of these rows and references against each other, every pair of them.

    Verdicts that are stored are not asked for again, among them those of a row against a reference.
    Raises UserError for a name that is neither a ranked row nor a reference, answers without texts
    or to other prompts, and judges that only replay verdicts and have none on a pair.
    """
    table, references = standings(board), board.settings.references
    _check_rivals(table, references, names)
    duels = list(combinations(names, 2))
    # The verdicts on a row and a reference lie in the row.
    apart = [pair for pair in duels if (pair[0] in references) == (pair[1] in references)]
    unmet = [(min(pair), max(pair)) for pair in apart]
    answers = {name: _answers(board, name) for name in dict.fromkeys(n for p in unmet for n in p)}
    for pair in unmet:
        _require_verdicts(board, pair)
    for pair in unmet:
        _judge(board, pair, answers, watch)
    rows = [name for name in names if name not in references]
    known = _against_references(board, rows)
    known |= {pair: _stored_items(board, pair, answers) for pair in unmet}
    anchor = references[0] if rows else next(name for name in references if name in names)
    return HeadToHead(tuple(_duel(a, b, known) for a, b in duels), _strengths(known, anchor))


def board_strengths(board: Board) -> BradleyTerry:
    """The strengths of a board's ranked rows and references, the first of which is the anchor, from
    all verdicts that are stored, those of `head_to_head` among them. Nothing is judged.

    Raises UserError for one reference and no such verdicts: there, every model has met one other,
    and strengths would say nothing that the win rates do not.
    """
    references = board.settings.references
    rows = [name for name in standings(board).models if name not in references]
    stored = _stored_pairs(board, {*rows, *references})
    answers = {name: _answers(board, name) for name in sorted({n for p in stored for n in p})}
    met = {pair: _stored_items(board, pair, answers) for pair in stored}
    met = {pair: items for pair, items in met.items() if items["preference"].notna().any()}
    if not met and (len(references) == 1 or not rows):
        raise UserError(
            f"board {board.name} holds no verdicts but those against {references[0]!r}, of which "
            "strengths say nothing that the win rates do not. Put rows against each other: "
            f"leaderboard compare {board.name} ROW ROW --direct"
        )
    return _strengths(_against_references(board, rows) | met, references[0])


def _check_rivals(table: Standings, references: Sequence[str], names: Sequence[str]) -> None:
    if len(names) < 2:
        raise UserError("name two rows at least that are to meet")
    check_names(table, [name for name in names if name not in references])
    if len(set(names)) < len(names):
        raise UserError(f"a row is put against itself: {', '.join(names)}")
    for name in names:
        if VERSUS in name:  # it would not be clear whose folder of verdicts it is
            raise UserError(f"{name!r} cannot be put against others: {VERSUS!r} is in its name")


def _answers(board: Board, name: str) -> Answers:
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


def _judge(board: Board, pair: Pair, answers: Mapping[str, Answers], watch: Watch) -> None:
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
        judge_row(board, row, _comparisons(board.instructions, pair, answers), watch)


def _folder(board: Board, pair: Pair) -> Row:
    return Row(board.path / FOLDER / VERSUS.join(pair))


def _is_of_this_panel(board: Board, row: Row) -> bool:
    """Whether the verdicts are by the judges that the board has now, not by others so called."""
    manifest = row.manifest()
    return manifest is not None and manifest.parts.get("panel") == board.hashes["panel"]


def _comparisons(
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


def _stored_pairs(board: Board, known: set[str]) -> list[Pair]:
    """The pairs of known names with verdicts of the board's panel."""
    pairs = []
    for path in sorted((board.path / FOLDER).glob(f"*{VERSUS}*/annotations.jsonl")):
        a, _, b = path.parent.name.partition(VERSUS)
        if {a, b} <= known and _is_of_this_panel(board, Row(path.parent)):
            pairs.append((a, b))
    return pairs


def _stored_items(board: Board, pair: Pair, answers: Mapping[str, Answers]) -> pd.DataFrame:
    """One row an instruction, as `row_items`; what was judged on other texts is missing."""
    digests = {one.id: one.digest for one in _comparisons(board.instructions, pair, answers)}
    stored = _folder(board, pair).annotations()
    current = [verdict for verdict in stored if not is_on_other_texts(verdict, digests)]
    return row_items(board, current, board.instructions, pair[:1])


def _against_references(board: Board, rows: Sequence[str]) -> dict[Pair, pd.DataFrame]:
    """What the rows did against each reference, by reference and row."""
    return {
        (reference, row): row_items(board, annotations, board.instructions, [reference])
        for row in rows
        for annotations in [Row(board.path / row).annotations()]
        for reference in board.settings.references
    }


def _duel(a: str, b: str, known: Mapping[Pair, pd.DataFrame]) -> Duel:
    items = known.get((b, a))
    if items is None:
        for_b = known[a, b]
        mirrored = {"preference": for_b["preference"], "low": for_b["high"], "high": for_b["low"]}
        items = for_b.assign(**{name: 1 - column for name, column in mirrored.items()})
    return Duel(a, b, win_rate(items[RATE_COLUMNS]))


def _strengths(met: Mapping[Pair, pd.DataFrame], anchor: str) -> BradleyTerry:
    battles = [
        items[["instruction_id", "preference"]].assign(model_1=one, model_2=two)
        for (one, two), items in met.items()
    ]
    try:
        return bradley_terry(pd.concat(battles, ignore_index=True), anchor=anchor)
    except ValueError as error:  # all verdicts on a pair are missing
        raise UserError(f"no strengths can be reckoned: {error}") from None


# ------------------------------------------------------------------------------------ answers files
def compare_files(files: Sequence[Path], panel: Panel, watch: Watch = SILENT) -> HeadToHead:
    """Put answers files against each other, in both orders; the first is the anchor.

    The instructions are those of the files, which must all answer the same ones. Nothing is stored.
    Raises UserError for fewer than two files, an instruction that one of them lacks, and a panel
    that cannot judge them.
    """
    if len(files) < 2:
        raise UserError("name two answers files at least")
    instructions = _common_instructions(files)
    panel.check(instructions)
    answers = _named_answers(files, instructions)
    known = {
        (b, a): _judged_items(panel, instructions, (b, a), answers, watch)
        for a, b in combinations(answers, 2)
    }
    duels = tuple(_duel(a, b, known) for b, a in known)
    return HeadToHead(duels, _strengths(known, next(iter(answers))))


def find_panel(spec: str) -> Panel:
    """A packaged panel by its name, a panel file, or one judge by its short name."""
    file = packaged_panels().get(spec, Path(spec))
    if file.is_file():
        return make_panel(read_panel(file), file.parent)
    try:
        table = judge_table(spec)
    except UserError:
        raise UserError(
            f"no panel {spec!r}; packaged: {', '.join(packaged_panels())}; or give a panel file, "
            f"or a judge: {', '.join(known_specs())}"
        ) from None
    return make_panel({"judges": [table]}, Path())


def _judged_items(
    panel: Panel,
    instructions: Sequence[Instruction],
    pair: Pair,
    answers: Mapping[str, Answers],
    watch: Watch,
) -> pd.DataFrame:
    """One row an instruction, as `panel_preferences`."""
    comparisons = _comparisons(instructions, pair, answers)
    verdicts: list[Annotation] = []
    for judge in panel.judges:
        shown = presentations(judge, comparisons, "both", seed=0)
        what = f"judging {pair[1]} against {pair[0]} ({judge.name})"
        verdicts += watch.track(annotate(judge, shown), len(shown), what)
    items = panel_preferences(
        annotation_frame(verdicts),
        [comparison.id for comparison in comparisons],
        panel.names,
        aggregate=panel.aggregate,
        n_orders=[2 if judge.sees_order else 1 for judge in panel.judges],
    )
    return items.assign(instruction_id=[instruction.id for instruction in instructions])


def _common_instructions(files: Sequence[Path]) -> tuple[Instruction, ...]:
    """The instructions that all files answer, in the order of the first."""
    held: dict[Path, dict[str, None]] = {file: {} for file in files}
    ids: dict[str, str] = {}
    for file in files:
        for where, row in read_rows(file):
            text = _prompt(row, where)
            held[file][text] = None
            given = row.get("instruction_id")
            if given is not None and ids.setdefault(text, str(given)) != str(given):
                raise UserError(f"{where}: this instruction is {ids[text]!r} elsewhere")
    everything = {text: None for texts in held.values() for text in texts}
    for file, texts in held.items():
        if missing := [text for text in everything if text not in texts]:
            raise UserError(
                f"{file}: {len(missing)} of the {len(everything)} instructions of these files have "
                f"no answer; the first is {missing[0][:80]!r}"
            )
    made = tuple(
        Instruction(id=ids.get(text, f"{n:04d}"), messages=(Message("user", text),))
        for n, text in enumerate(everything, 1)
    )
    if len({instruction.id for instruction in made}) < len(made):
        raise UserError(f"{files[0]}: two instructions have one instruction_id")
    return made


def _prompt(row: Mapping[str, object], where: str) -> str:
    """What was asked, as `read_answers` reads it."""
    text = row.get("instruction")
    if not isinstance(text, str) or not text.strip():
        raise UserError(f"{where}: `instruction` is missing; without a board it must be there")
    return (f"{text}\n\n{row['input']}" if row.get("input") else text).strip()


def _named_answers(
    files: Sequence[Path], instructions: Sequence[Instruction]
) -> dict[str, Answers]:
    """Name → answers; a file is called by its generator, or where two have one, by its own name."""
    read = [read_answers(file, instructions) for file in files]
    names = [printable(said or file.stem) for file, (_, said) in zip(files, read, strict=True)]
    if len(set(names)) < len(names):
        names = [file.stem for file in files]
    if len(set(names)) < len(names):
        raise UserError(f"two of the files have one name: {', '.join(names)}")
    return {name: outputs for name, (outputs, _) in zip(names, read, strict=True)}
