"""Answers files put against each other: no board is needed, and nothing is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pandas as pd

from judges.base import annotate, presentations
from judges.calling.caller import Caller, Task
from judges.errors import UserError
from judges.panel import Panel, panel_preferences
from judges.panel_files import fill_models
from judges.reading import printable
from judges.registry import make_panel, wanted_panel
from judges.schema import Annotation, Instruction, Message
from leaderboard.answers.answers import read_answers, with_input
from leaderboard.comparing.comparison import Pair, pairs_among
from leaderboard.comparing.head_to_head import (
    Answers,
    HeadToHead,
    comparisons_of,
    duels_of,
    strengths_unless_stopped,
)
from leaderboard.rows.results import annotation_frame
from leaderboard.user_files import read_rows
from leaderboard.watch import SILENT, Watch


def compare_files(
    files: Sequence[Path],
    panel: Panel,
    watch: Watch = SILENT,
    baseline: Path | None = None,
    caller: Caller | None = None,
) -> HeadToHead:
    """Put answers files against each other, in both orders, every pair of them or each against the
    baseline, which is a file as well; the first, or the baseline, is the anchor.

    The instructions are those of the files, which must all answer the same ones. Nothing is stored.
    Raises UserError for fewer than two files, an instruction that one of them lacks, and a panel
    that cannot judge them.
    """
    if baseline is not None and baseline not in files:
        files = [*files, baseline]
    if len(files) < 2:
        raise UserError("name two answers files at least")
    instructions = _common_instructions(files)
    _require_judges(panel, instructions)
    answers = _named_answers(files, instructions)
    names = list(answers)
    centre = None if baseline is None else names[files.index(baseline)]
    pairs = pairs_among(names, centre)
    with ExitStack() as stack:
        calls = caller or stack.enter_context(Caller.default())
        known = {
            (b, a): _judged_items(panel, instructions, (b, a), answers, watch, calls)
            for a, b in pairs
        }
        strengths = strengths_unless_stopped(known, centre or names[0], calls)
    return HeadToHead(duels_of(pairs, known), strengths, len(known))


def find_panel(spec: str, models: Sequence[str] = ()) -> Panel:
    """A packaged panel by its name, a panel file, or one judge by its short name; `models` go
    where it leaves them open."""
    panel, folder, file = wanted_panel(spec)
    return make_panel(fill_models(panel, models), folder, file)


def _judged_items(
    panel: Panel,
    instructions: Sequence[Instruction],
    pair: Pair,
    answers: Mapping[str, Answers],
    watch: Watch,
    caller: Caller,
) -> pd.DataFrame:
    """One row an instruction, as `panel_preferences`."""
    comparisons = comparisons_of(instructions, pair, answers)
    assigned = panel.assignment(instructions, seed=0)
    verdicts: list[Annotation] = []
    for judge in panel.judges:
        own = assigned[:, panel.names.index(judge.name)]
        its = [one for one, is_own in zip(comparisons, own, strict=True) if is_own]
        shown = presentations(judge, its, "both", seed=0)
        what = f"judging {pair[1]} against {pair[0]} ({judge.name})"
        judged = annotate(judge, shown, caller, Task())
        verdicts += [annotation for annotation, _ in watch.track(judged, len(shown), what)]
    items = panel_preferences(
        annotation_frame(verdicts),
        [comparison.id for comparison in comparisons],
        panel.names,
        aggregate=panel.aggregate,
        n_orders=[2 if judge.sees_order else 1 for judge in panel.judges],
        weights=panel.weights,
        assigned=assigned,
    )
    return items.assign(instruction_id=[instruction.id for instruction in instructions])


def _require_judges(panel: Panel, instructions: Sequence[Instruction]) -> None:
    """Raises UserError for a judge that needs to know more of an instruction than files tell."""
    for judge in panel.judges:
        if any(judge.obstacle(instruction) for instruction in instructions):
            raise UserError(
                f"judge {judge.name} needs the criteria of a board's instructions, which answers "
                "files do not hold: make a board with them (leaderboard board new), evaluate the "
                "files as its rows, then: leaderboard compare BOARD ROW ROW --direct"
            )
        unknown = [instruction.id for instruction in instructions if not instruction.text]
        if unknown and judge.reads_instruction:
            raise UserError(
                f"judge {judge.name} reads the instructions, and the files give the text of "
                f"{len(unknown)} of {len(instructions)} nowhere; the first is {unknown[0]!r}: add "
                "the column `instruction`"
            )


def _common_instructions(files: Sequence[Path]) -> tuple[Instruction, ...]:
    """The instructions that all files answer, in the order of the first.

    One file may know them by id, another by text: a row with both, in any file, is the link. A text
    that no row tells is empty.
    """
    rows = {
        file: [(where, row, *_asked(row, where)) for where, row in read_rows(file)]
        for file in files
    }
    id_of: dict[str, str] = {}
    text_of: dict[str, str] = {}
    for where, _, given, text in (row for of in rows.values() for row in of):
        if not given or not text:
            continue
        if id_of.setdefault(text, given) != given:
            raise UserError(f"{where}: this instruction is {id_of[text]!r} elsewhere")
        if text_of.setdefault(given, text) != text:
            raise UserError(f"{where}: two instructions have the instruction_id {given!r}")
    held: dict[Path, dict[tuple[str, str], None]] = {file: {} for file in files}
    for file, of in rows.items():
        for where, row, given, text in of:
            whole = given or id_of.get(text, ""), text or text_of.get(given, "")
            if row.get("prompt") is not None and not whole[1]:
                raise UserError(
                    f"{where}: `prompt` cannot be checked without the column `instruction`; rows "
                    "of a board are compared by: leaderboard compare BOARD ROW ROW --direct"
                )
            held[file][whole] = None
    _require_the_same(held)
    return tuple(
        Instruction(id=given or text, messages=(Message("user", text),))
        for given, text in held[files[0]]
    )


def _asked(row: Mapping[str, object], where: str) -> tuple[str, str]:
    """The id and the text of what was asked, as `read_answers` reads them; what is not given is
    empty."""
    text, given = row.get("instruction"), row.get("instruction_id")
    if not isinstance(text, str) or not text.strip():
        if given is None:
            raise UserError(f"{where}: neither `instruction_id` nor `instruction` is given")
        return str(given), ""
    return "" if given is None else str(given), with_input(text, row).strip()


def _require_the_same(held: Mapping[Path, Mapping[tuple[str, str], None]]) -> None:
    """Raises UserError where the files do not all answer the same instructions."""
    union = {asked: None for of in held.values() for asked in of}
    if not any(all(asked in of for of in held.values()) for asked in union):
        begins = [f"{file} begins with {_quoted(next(iter(of)))}" for file, of in held.items()]
        raise UserError(
            f"no instruction is answered in all of these files: {_few(begins)}; are these answers "
            "to one eval set?"
        )
    gaps = {file: [asked for asked in union if asked not in of] for file, of in held.items()}
    if lacking := [
        f"{file} has no answer to {len(missing)}, the first of which is {_quoted(missing[0])}"
        for file, missing in gaps.items()
        if missing
    ]:
        raise UserError(f"of the {len(union)} instructions of these files, {_few(lacking)}")


def _quoted(asked: tuple[str, str]) -> str:
    """The text of an instruction, cut, or its id where the text is not known."""
    given, text = asked
    return repr(text[:80] or given)


def _few(parts: Sequence[str]) -> str:
    return "; ".join(parts[:3]) + ("; …" if len(parts) > 3 else "")


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
