"""A board: everything that makes its numbers comparable, in one folder, and hashed.

`load_board` reads `results/<board>/` and refuses one that no longer hashes to what `board.toml`
says. The hashes are of what the files mean, not of their bytes: the settings, every instruction,
every reference answer, and what each judge says of itself. File layout: docs/files.md.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import tomli_w

from judges.base import stable_fraction
from judges.errors import UserError
from judges.kinds.recorded import Recorded
from judges.panel import Panel
from judges.panel_files import panel_toml
from judges.records import digest, read_toml, to_line, validated
from judges.registry import make_panel, named_files, own_files, read_panel
from judges.schema import Comparison, Instruction, Output
from leaderboard.boards.calibration import (
    CalibrationFile,
    LcAlpacaEvalFile,
    read_calibration,
    read_lc_alpaca_eval,
)
from leaderboard.boards.catalogue import find_board, whole_or_not
from leaderboard.boards.evalset import read_evalset, read_outputs, require_all, require_file
from leaderboard.boards.settings import Settings
from leaderboard.user_files import check_name


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
    lc_alpaca_eval: LcAlpacaEvalFile | None = None
    calibration: CalibrationFile | None = None

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def title(self) -> str:
        return self.settings.title or self.name

    @property
    def is_recorded(self) -> bool:
        """Whether every judge only replays verdicts that were made elsewhere."""
        return all(isinstance(judge, Recorded) for judge in self.panel.judges)

    @cached_property
    def derived(self) -> dict[str, Any]:
        """What other modules work out of the board and need more than once, by a name of theirs."""
        return {}

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
def load_board(
    name: str, results: Path | str = "results", *, verify: bool = True, calibrated: bool = True
) -> Board:
    """The board of this name in a results folder, or a packaged one, copied there; `calibrated` off
    passes over its calibration, as if it ranked by win rate.

    Raises UserError when there is none, when a file is broken, when it reaches out of its folder
    by a link, a reference's name or the path of recorded verdicts, and, unless `verify` is off,
    when the content no longer hashes to what board.toml says.
    """
    path = find_board(name, Path(results))
    _refuse_links(path)
    file = path / "board.toml"
    written = read_toml(file)
    said = written.pop("hashes", None)
    settings = validated(Settings, written, str(file))
    _check_references(settings.references, str(file))
    instructions = read_evalset(path / "evalset.jsonl")
    references = {
        reference: read_outputs(path / "references" / f"{reference}.jsonl")
        for reference in settings.references
    }
    for reference, outputs in references.items():
        require_all(outputs, instructions, f"reference {reference!r} of board {path.name}")
    panel = _read_panel(path, instructions)
    votes = settings.min_votes
    if votes != "all" and not 1 <= votes <= panel.votes:
        raise UserError(f'{file}: min_votes must be "all" or 1 to {panel.votes}, not {votes}')
    ids = [instruction.id for instruction in instructions]
    lc_alpaca_eval = read_lc_alpaca_eval(path, ids)
    calibration = read_calibration(path, ids) if calibrated else None
    if not calibrated:
        settings = replace(settings, headline="win_rate")
    needs = {"lc_alpaca_eval": lc_alpaca_eval, "lc_joint": calibration, "win_rate": path}
    if needs[settings.headline] is None:
        raise UserError(f"{file}: the headline is {settings.headline}, but its file is missing")
    board = Board(
        path=path,
        settings=settings,
        instructions=instructions,
        references=references,
        panel=panel,
        hashes={
            **content_hashes(written, instructions, references, panel),
            "columns": columns_hash(settings.headline, lc_alpaca_eval, calibration),
        },
        lc_alpaca_eval=lc_alpaca_eval,
        calibration=calibration,
    )
    if verify:
        refuse_changes(board, said)
    return board


def refuse_changes(board: Board, said: object, but: Sequence[str] = ()) -> None:
    """Raises UserError where parts of a board, `but` some, do not hash to what board.toml says."""
    written = said if isinstance(said, dict) else {}
    if changed := changes(board, written | {part: board.hashes[part] for part in but}):
        raise UserError(
            f"board {board.name} has been changed since it was made: {'; '.join(changed)}. Undo "
            f"that, or make a new board of it: leaderboard board new NAME --from {board.name}"
        )


def _refuse_links(folder: Path | str) -> None:
    """Raises UserError for a symbolic link below a board's folder: to write there would change a
    file elsewhere."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink():
                raise UserError(
                    f"{entry.path} is a symbolic link; a board holds none. Delete it, or put the "
                    "file itself there"
                )
            if entry.is_dir():
                _refuse_links(entry.path)


def _check_references(names: Sequence[str], where: str) -> None:
    """Raises UserError for no references, two of one name, or one that is not fit for a file's."""
    if not names:
        raise UserError(f"{where}: there is no reference; at least one is needed")
    for name in names:
        check_name(name, f"{where}: the reference's name")
    if len(set(names)) < len(names):
        raise UserError(f"{where}: two references have one name: {', '.join(names)}")


def _read_panel(folder: Path, instructions: Sequence[Instruction]) -> Panel:
    """The panel of a board's folder, whose judges can judge all and read nothing outside it."""
    file = folder / "panel.toml"
    require_file(file)
    table = read_panel(file)
    for judge in table["judges"]:
        for key, path in named_files(judge).items():
            if not _is_inside(path, folder):
                raise UserError(
                    f"{file}: the {key} {path!r} must lead to a file in the board's folder, and "
                    "be written as seen from there"
                )
    panel = make_panel(table, folder, file)
    for judge in panel.judges:
        paths = own_files(judge).values()
        if not all(path.resolve().is_relative_to(folder.resolve()) for path in paths):
            raise UserError(f"{file}: judge {judge.name} reads a file outside the board's folder")
    panel.check(instructions)
    return panel


def _is_inside(path: str, folder: Path) -> bool:
    if not path.isprintable() or Path(path).is_absolute():
        return False
    return (folder / path).resolve().is_relative_to(folder.resolve())


# -------------------------------------------------------------------------------------- hashing
_NOT_PINNED = ("title", "note", "headline", "drift", "max_cost_usd", "parent")
"""None of these changes a verdict; the headline is in the hash of the columns."""
_AS_EVER = {"self_judging": "flag"}
"""Settings that came later → what a board that does not name them does: both hash alike."""


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
        "settings": digest(
            {
                key: value
                for key, value in settings.items()
                if key not in _NOT_PINNED and _AS_EVER.get(key, ...) != value
            }
        ),
        "evalset": digest(list(instructions)),
        "references": digest(texts),
        "panel": digest(panel.identity()),
    }


def columns_hash(
    headline: str, lc_alpaca_eval: LcAlpacaEvalFile | None, calibration: CalibrationFile | None
) -> str:
    """The hash of what makes a board's columns out of its verdicts, and of which one ranks."""
    return digest([headline, lc_alpaca_eval, calibration])


_PART = {
    "columns": "the headline, or calibration.json or lc_alpaca_eval.json",
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

    Raises UserError when the folder is there already, when a reference cannot be called so, and
    when a judge cannot judge an instruction or replays verdicts from outside the folder.
    """
    check_name(path.name, "the board's name")
    _check_references(settings.references, f"board {path.name}")
    if path.exists():
        raise UserError(f"{path} is there already; choose another name")
    with whole_or_not(path) as folder:
        for name, source in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(source, Path):
                shutil.copyfile(source, folder / name)
            else:
                (folder / name).write_text(source, encoding="utf-8")
        _write_lines(folder / "evalset.jsonl", instructions)
        for reference, outputs in references.items():
            _write_lines(
                folder / "references" / f"{reference}.jsonl",
                [outputs[instruction.id] for instruction in instructions],
            )
        (folder / "panel.toml").write_text(panel_toml(panel_table), encoding="utf-8")
        panel = _read_panel(folder, instructions)
        # Every setting, defaults too: a later version's defaults must not matter.
        written = _without_none(asdict(settings))
        hashes = content_hashes(written, instructions, references, panel)
        ids = [instruction.id for instruction in instructions]
        hashes["columns"] = columns_hash(
            settings.headline, read_lc_alpaca_eval(folder, ids), read_calibration(folder, ids)
        )
        toml = tomli_w.dumps({**written, "hashes": hashes})
        (folder / "board.toml").write_text(toml, encoding="utf-8")


def _write_lines(path: Path, records: Iterable[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(to_line(record) + "\n" for record in records), encoding="utf-8")


def _without_none(table: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in table.items()
        if value is not None
    }
