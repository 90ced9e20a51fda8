"""A board: everything that makes its numbers comparable, in one folder, and hashed.

`load_board` reads `results/<board>/` and refuses one that no longer hashes to what `board.toml`
says. The hashes are of what the files mean, not of their bytes: the settings, every instruction,
every reference answer, and what each judge says of itself. File layout: docs/files.md.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Literal

import tomli_w
from pydantic import TypeAdapter

from judges.backends.base import Sampling
from judges.base import Orders, stable_fraction
from judges.checks import parse
from judges.errors import UserError
from judges.panel import Panel
from judges.records import digest, read_records, to_json, to_line, validated
from judges.registry import make_panel, read_panel
from judges.schema import Comparison, Instruction, Output
from leaderboard.user_files import RESERVED


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """How every model on the board writes; None means: as its own generation config says."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    max_tokens: int = 1024
    temperature: float = 0.0
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What stands in board.toml beside the hashes."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    references: tuple[str, ...]
    title: str = ""
    note: str = ""
    """A sentence for whoever reads a card; like the title it is not pinned."""
    headline: Literal["win_rate"] = "win_rate"
    orders: Orders = "both"
    min_votes: int | Literal["all"] = "all"
    seed: int = 0
    generation: Generation = field(default_factory=Generation)
    schema_version: Literal[1] = 1

    @property
    def sampling(self) -> Sampling:
        return Sampling(seed=self.seed, **asdict(self.generation))


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board in memory: what is asked, what answers are compared with, and who judges."""

    path: Path
    settings: Settings
    instructions: tuple[Instruction, ...]
    references: Mapping[str, Mapping[str, Output]]
    """Reference → instruction id → answer."""
    panel: Panel
    hashes: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def title(self) -> str:
        return self.settings.title or self.name

    @property
    def is_recorded(self) -> bool:
        """Whether every judge only replays verdicts that were made elsewhere."""
        kinds = [judge.identity()["kind"] for judge in self.panel.judges]
        return all(kind == "recorded" for kind in kinds)

    @cached_property
    def by_id(self) -> dict[str, Instruction]:
        return {instruction.id: instruction for instruction in self.instructions}

    def first(self, limit: int | None) -> tuple[Instruction, ...]:
        """As many instructions as asked for, in the order of the eval set.

        The choice mixes the categories, and a larger one holds every smaller one.
        """
        if limit is None or limit >= len(self.instructions):
            return self.instructions
        seed = self.settings.seed
        chosen = sorted(self.instructions, key=lambda i: stable_fraction(seed, i.id))[:limit]
        ids = {instruction.id for instruction in chosen}
        return tuple(instruction for instruction in self.instructions if instruction.id in ids)

    def comparison_ids(
        self, instructions: Iterable[Instruction], references: Sequence[str] | None = None
    ) -> list[tuple[str, str, str]]:
        """Comparison id, instruction id and reference of every comparison a row is made of."""
        names = self.settings.references if references is None else references
        return [(f"{name}:{i.id}", i.id, name) for i in instructions for name in names]

    def comparisons(
        self,
        instructions: Iterable[Instruction],
        outputs: Mapping[str, Output],
        generator: str,
        references: Sequence[str] | None = None,
    ) -> list[Comparison]:
        """The model's answers beside each reference's: output 1 is the reference's."""
        return [
            Comparison(
                id=comparison_id,
                instruction=self.by_id[instruction_id],
                output_1=self.references[reference][instruction_id].text,
                output_2=outputs[instruction_id].text,
                generator_1=reference,
                generator_2=generator,
            )
            for comparison_id, instruction_id, reference in self.comparison_ids(
                instructions, references
            )
        ]


# -------------------------------------------------------------------------------------- reading
def packaged_boards() -> dict[str, Path]:
    """Name → folder of the board templates that come with Herdbook."""
    folder = Path(str(resources.files("leaderboard"))) / "boards"
    return {path.parent.name: path.parent for path in sorted(folder.glob("*/board.toml"))}


def board_names(results: Path) -> list[str]:
    """The boards in a results folder."""
    return sorted(path.parent.name for path in results.glob("*/board.toml"))


def find_board(name: str, results: Path) -> Path:
    """The board's folder; a packaged template is first copied to `results`."""
    path = results / name
    if (path / "board.toml").is_file():
        return path
    packaged = packaged_boards()
    if name not in packaged:
        known = sorted({*board_names(results), *packaged})
        raise UserError(
            f"there is no board {name!r} in {results}; known: {', '.join(known)}. "
            f"A new one is made by: leaderboard board new {name} --prompts FILE"
        )
    results.mkdir(parents=True, exist_ok=True)
    temporary = results / f".{name}.new"
    shutil.rmtree(temporary, ignore_errors=True)
    # Copied file by file: the installed package may be read-only, the copy must not be.
    shutil.copytree(packaged[name], temporary, copy_function=shutil.copyfile)
    try:
        temporary.rename(path)
    except OSError:
        # Another run was faster; a folder of that name that is no board is the user's to clear.
        shutil.rmtree(temporary, ignore_errors=True)
        if not (path / "board.toml").is_file():
            raise UserError(f"{path} is in the way: it is not a board") from None
    return path


def load_board(name: str, results: Path | str = "results", *, verify: bool = True) -> Board:
    """The board of this name in a results folder, or a packaged one, copied there.

    Raises UserError when there is none, when a file is broken, and, unless `verify` is off, when
    the content no longer hashes to what board.toml says.
    """
    path = find_board(name, Path(results))
    file = path / "board.toml"
    try:
        written = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: not valid TOML ({error})") from None
    said = written.pop("hashes", {})
    settings = validated(TypeAdapter(Settings), written, str(file))
    instructions = read_evalset(path / "evalset.jsonl")
    references = {
        reference: read_outputs(path / "references" / f"{reference}.jsonl")
        for reference in settings.references
    }
    for reference, outputs in references.items():
        require_all(outputs, instructions, f"reference {reference!r} of board {path.name}")
    panel = make_panel(read_panel(path / "panel.toml"), path)
    panel.check(instructions)
    board = Board(
        path=path,
        settings=settings,
        instructions=instructions,
        references=references,
        panel=panel,
        hashes=content_hashes(written, instructions, references, panel),
    )
    if verify and (changed := changes(board, said)):
        raise UserError(
            f"board {path.name} has been changed since it was made: {'; '.join(changed)}. Undo "
            f"that, or make a new board of it: leaderboard board new NAME --from {path.name}"
        )
    return board


def read_evalset(path: Path) -> tuple[Instruction, ...]:
    """The instructions of an evalset.jsonl; raises UserError with the line of what is wrong."""
    _require_file(path)
    adapter = TypeAdapter(Instruction)
    instructions: dict[str, Instruction] = {}
    for number, record in read_records(path):
        where = f"{path}, line {number}"
        instruction = validated(adapter, record, where)
        check_instruction(instruction, where)
        if instruction.id in instructions:
            raise UserError(f"{where}: a second instruction has the id {instruction.id!r}")
        instructions[instruction.id] = instruction
    if not instructions:
        raise UserError(f"{path}: there are no instructions in this file")
    return tuple(instructions.values())


def check_instruction(instruction: Instruction, where: str) -> None:
    """Raises UserError for what a type cannot say: the last turn, the id, the checks."""
    if not instruction.messages or instruction.messages[-1].role != "user":
        raise UserError(f"{where}: the messages must end with a user turn")
    if not instruction.id or not instruction.id.isprintable():
        raise UserError(f"{where}: the id {instruction.id!r} must be printable")
    for check in instruction.checks:
        try:
            parse(check)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None


def read_outputs(path: Path, *, allow_torn: bool = False) -> dict[str, Output]:
    """Instruction id → answer of an outputs file of ours; raises UserError with the line."""
    _require_file(path)
    adapter = TypeAdapter(Output)
    outputs: dict[str, Output] = {}
    for number, record in read_records(path, allow_torn=allow_torn):
        output = validated(adapter, record, f"{path}, line {number}")
        if output.instruction_id in outputs:
            raise UserError(f"{path}, line {number}: a second answer to {output.instruction_id!r}")
        outputs[output.instruction_id] = output
    return outputs


def _require_file(path: Path) -> None:
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


# -------------------------------------------------------------------------------------- hashing
def content_hashes(
    settings: Mapping[str, Any],
    instructions: Sequence[Instruction],
    references: Mapping[str, Mapping[str, Output]],
    panel: Panel,
) -> dict[str, str]:
    """The hash of each part of a board. `settings` is board.toml as written, without the hashes.

    As written, so that a default that a later version adds changes no board.
    """
    texts = {
        name: {i.id: outputs[i.id].text for i in instructions}
        for name, outputs in references.items()
    }
    return {
        "settings": digest({k: v for k, v in settings.items() if k not in ("title", "note")}),
        "evalset": digest(list(instructions)),
        "references": digest(texts),
        "panel": digest(panel.identity()),
    }


_PART = {
    "settings": "board.toml",
    "evalset": "evalset.jsonl",
    "references": "the answers in references/",
    "panel": "panel.toml, or a file of verdicts or a judge's version that it names",
}


def changes(board: Board, said: Mapping[str, str]) -> list[str]:
    """Which parts of a board do not hash to what board.toml says, in words."""
    return [
        f"{_PART[part]} (now {found[:19]}…, was {str(said.get(part, 'unknown'))[:19]}…)"
        for part, found in board.hashes.items()
        if said.get(part) != found
    ]


# -------------------------------------------------------------------------------------- writing
def write_board(
    path: Path,
    settings: Settings,
    instructions: Sequence[Instruction],
    references: Mapping[str, Mapping[str, Output]],
    panel_table: Mapping[str, Any],
    files: Mapping[str, Path | str],
) -> None:
    """Make a board's folder in one step; `files` are further ones: name → a file, or its text.

    Raises UserError when the folder is there already or a judge cannot judge an instruction.
    """
    if path.exists():
        raise UserError(f"{path} is there already; choose another name")
    if path.name.lower() in RESERVED:
        raise UserError(f"a board cannot be called {path.name!r}")
    temporary = path.with_name(f".{path.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        for name, source in files.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(source, Path):
                shutil.copyfile(source, temporary / name)
            else:
                (temporary / name).write_text(source, encoding="utf-8")
        _write_lines(temporary / "evalset.jsonl", instructions)
        for reference, outputs in references.items():
            _write_lines(
                temporary / "references" / f"{reference}.jsonl",
                [outputs[instruction.id] for instruction in instructions],
            )
        panel_file = temporary / "panel.toml"
        panel_file.write_text(tomli_w.dumps({"schema_version": 1, **panel_table}), "utf-8")
        panel = make_panel(read_panel(panel_file), temporary)
        panel.check(instructions)
        # Every setting, defaults too: a later version's defaults must not matter.
        written = _without_none(to_json(asdict(settings)))
        hashes = content_hashes(written, instructions, references, panel)
        toml = tomli_w.dumps({**written, "hashes": hashes})
        (temporary / "board.toml").write_text(toml, encoding="utf-8")
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _write_lines(path: Path, records: Iterable[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(to_line(record) + "\n" for record in records), encoding="utf-8")


def _without_none(table: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in table.items()
        if value is not None
    }
