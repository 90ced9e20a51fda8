"""Instructions and answers as they lie on disk, read and checked line by line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from judges.errors import UserError
from judges.records import read_records, validated
from judges.schema import Instruction, Output


def read_evalset(path: Path) -> tuple[Instruction, ...]:
    """The instructions of an evalset.jsonl; raises UserError with the line of what is wrong."""
    require_file(path)
    instructions: dict[str, Instruction] = {}
    for number, record in read_records(path):
        where = f"{path}, line {number}"
        instruction = validated(Instruction, record, where)
        check_instruction(instruction, where)
        if instruction.id in instructions:
            raise UserError(f"{where}: a second instruction has the id {instruction.id!r}")
        instructions[instruction.id] = instruction
    if not instructions:
        raise UserError(f"{path}: there are no instructions in this file")
    return tuple(instructions.values())


def check_instruction(instruction: Instruction, where: str) -> None:
    """Raises UserError for what a type cannot say: the last turn, the names, the checks."""
    if not instruction.messages or instruction.messages[-1].role != "user":
        raise UserError(f"{where}: the messages must end with a user turn")
    if not instruction.text.strip():
        raise UserError(f"{where}: the instruction is empty")
    if not instruction.id or not instruction.id.isprintable():
        raise UserError(f"{where}: the id {instruction.id!r} must be printable")
    if not instruction.category.isprintable():
        raise UserError(f"{where}: the category {instruction.category!r} must be printable")
    if not instruction.checks:
        return
    from judges.criteria.share import parse

    for check in instruction.checks:
        try:
            parse(check)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None


def read_outputs(path: Path, *, allow_torn: bool = False) -> dict[str, Output]:
    """Instruction id → answer of an outputs file of ours; raises UserError with the line."""
    require_file(path)
    outputs: dict[str, Output] = {}
    for number, record in read_records(path, allow_torn=allow_torn):
        output = validated(Output, record, f"{path}, line {number}")
        if output.instruction_id in outputs:
            raise UserError(f"{path}, line {number}: a second answer to {output.instruction_id!r}")
        outputs[output.instruction_id] = output
    return outputs


def require_file(path: Path) -> None:
    """Raises UserError where the file is not there."""
    if not path.is_file():
        raise UserError(f"{path} is missing")


def require_all(answered: Iterable[str], instructions: Sequence[Instruction], what: str) -> None:
    """Raises UserError where an instruction has no answer."""
    held = set(answered)
    missing = [i.id for i in instructions if i.id not in held]
    if missing:
        few = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        raise UserError(
            f"{what}: {len(missing)} of {len(instructions)} instructions have no answer ({few})"
        )
