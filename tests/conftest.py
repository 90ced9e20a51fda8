"""What many tests need: a small board, and the command line run in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from judges.schema import Instruction, Message, Output
from leaderboard.boards import Board, Settings, load_board, write_board
from leaderboard.cli import main

DATA = Path(__file__).parents[2] / "shared" / "data"
CHECKLIST = {"judges": [{"kind": "checklist", "name": "checklist"}]}


@dataclass(frozen=True, slots=True)
class Finished:
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


@pytest.fixture
def shared_data() -> Path:
    """The folder of real verdicts and labels beside the project; skips where it is absent."""
    if not DATA.is_dir():
        pytest.skip("the folder shared/data is not beside the project")
    return DATA


@pytest.fixture
def leaderboard(capsys: pytest.CaptureFixture[str]) -> Callable[..., Finished]:
    """Runs a command line: `leaderboard("show", "toy", "--results", path)`."""

    def run(*args: str | Path) -> Finished:
        capsys.readouterr()
        code = main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return Finished(code, captured.out, captured.err)

    return run


def toy_instructions(n: int) -> tuple[Instruction, ...]:
    """Instructions "say the word wordK in one line": a right answer meets all checks."""
    return tuple(
        Instruction(
            id=f"toy-{k:02d}",
            messages=(Message("user", f"Say word{k}, and nothing else."),),
            category="even" if k % 2 == 0 else "odd",
            checks=(
                {"kind": "contains", "all": [f"word{k}"], "weight": 2},
                {"kind": "words", "max": 3},
                {"kind": "omits", "terms": ["nothing"]},
            ),
            gold_answer=f"word{k}",
        )
        for k in range(n)
    )


def make_board(path: Path, n: int = 12, panel: dict[str, object] | None = None) -> Board:
    """A board in `path` whose reference meets three quarters of the weight in every answer."""
    instructions = toy_instructions(n)
    reference = {
        i.id: Output(
            instruction_id=i.id, generator="base", text=f"The word is {i.gold_answer}, I believe."
        )
        for i in instructions
    }
    settings = Settings(title="Toy", references=("base",))
    write_board(path, settings, instructions, {"base": reference}, panel or CHECKLIST, {})
    return load_board(path.name, path.parent)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results folder with the board `toy`."""
    folder = tmp_path / "results"
    make_board(folder / "toy")
    return folder


def write_answers(path: Path, texts: Sequence[str]) -> Path:
    """An answers file for the toy board: the k-th text answers `toy-k`."""
    rows = [{"instruction_id": f"toy-{k:02d}", "output": text} for k, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def good_answers(n: int = 12) -> list[str]:
    return [f"word{k}" for k in range(n)]


def bad_answers(n: int = 12) -> list[str]:
    return ["I am not sure what you mean by that." for _ in range(n)]
