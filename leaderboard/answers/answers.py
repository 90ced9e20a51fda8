"""Answers that a user brings as a file, matched to a board's instructions.

AlpacaEval's format (`instruction`, `output`, `generator`) is read as it is; with `instruction_id`
in place of `instruction` there is nothing to match. A row's own outputs.jsonl is such a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from judges.errors import UserError
from judges.prompting.thinking import begins_inside, split_thinking
from judges.schema import Instruction, Output
from leaderboard.boards.evalset import require_all
from leaderboard.user_files import read_rows

COLUMNS = (
    "instruction_id",
    "instruction",
    "input",
    "output",
    "text",
    "generator",
    "reasoning",
    "finish_reason",
    "prompt",
    "length",
    "dataset",
    "datasplit",
    "category",
)


def read_answers(
    path: Path, instructions: Sequence[Instruction], needed: Sequence[Instruction] | None = None
) -> tuple[dict[str, Output], str | None]:
    """Instruction id → answer, and the generator's name where the file has one.

    Every one of `needed` (all instructions) must be answered. Raises UserError for an unknown
    column, an answer that is not text, an instruction that is doubled, missing or of another eval
    set, and rows of several generators.
    """
    finder = _Finder(instructions)
    outputs: dict[str, Output] = {}
    generators: set[str] = set()
    strangers: list[str] = []
    rows = read_rows(path)
    for where, row in rows:
        if unknown := sorted(set(row) - set(COLUMNS)):
            raise UserError(f"{where}: unknown column {unknown[0]!r}; known: {', '.join(COLUMNS)}")
        text, name = row.get("output", row.get("text")), row.get("generator")
        if not isinstance(text, str):
            # An empty cell of a CSV file is an empty answer; a null in JSON is no answer.
            if not (text is None and "output" in row and path.suffix.lower() == ".csv"):
                raise UserError(f"{where}: `output` must be a text, not {text!r}")
            text = ""
        if row.get("length") is not None:
            raise UserError(f"{where}: only the length of this answer is known, not its text")
        for key in ("reasoning", "finish_reason", "prompt"):
            if not isinstance(row.get(key), str | None):
                raise UserError(f"{where}: `{key}` must be a text, not {row[key]!r}")
        if name is not None:
            generators.add(str(name))
        instruction_id = finder.find(row, where)
        if instruction_id is None:
            strangers.append(where)
            continue
        if instruction_id in outputs:
            raise UserError(f"{where}: a second answer to instruction {instruction_id!r}")
        if row.get("prompt") not in (None, finder.digests[instruction_id]):
            raise UserError(
                f"{where}: this answer was given to another prompt than {instruction_id!r} is here"
            )
        reasoning, answer, _ = split_thinking(text, begins_inside(text))
        outputs[instruction_id] = Output(
            instruction_id=instruction_id,
            generator="",
            text=answer,
            reasoning=row.get("reasoning") or reasoning,
            finish_reason=row.get("finish_reason") or None,
        )
    if strangers:
        raise UserError(
            f"{strangers[0]}: this instruction is not on the board ({len(strangers)} of "
            f"{len(rows)} rows are not); are these answers to another eval set?"
        )
    if len(generators) > 1:
        few = ", ".join(sorted(generators)[:3])
        raise UserError(f"{path}: answers of several generators ({few}); one file a model")
    require_all(outputs, instructions if needed is None else needed, str(path))
    return outputs, generators.pop() if generators else None


def with_input(instruction: str, row: Mapping[str, Any]) -> str:
    """An instruction with what Alpaca's column `input` gives to it below, where there is any."""
    return f"{instruction}\n\n{row['input']}" if row.get("input") else instruction


class _Finder:
    """Finds the instruction that a row answers, by id or by its text."""

    def __init__(self, instructions: Sequence[Instruction]) -> None:
        self.digests = {instruction.id: instruction.digest for instruction in instructions}
        self.by_text: dict[str, str | None] = {}
        for instruction in instructions:
            text = instruction.text.strip()
            # Two conversations can end with one question: such a text finds neither.
            self.by_text[text] = None if text in self.by_text else instruction.id

    def find(self, row: Mapping[str, Any], where: str) -> str | None:
        if row.get("instruction_id") is not None:
            instruction_id = str(row["instruction_id"])
            return instruction_id if instruction_id in self.digests else None
        text = row.get("instruction")
        if not isinstance(text, str):
            raise UserError(f"{where}: neither `instruction_id` nor `instruction` is given")
        text = with_input(text, row)
        if text.strip() not in self.by_text:
            return None
        found = self.by_text[text.strip()]
        if found is None:
            raise UserError(f"{where}: several instructions have this text; give `instruction_id`")
        return found
