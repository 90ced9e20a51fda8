"""`leaderboard eval`: a model in, a row out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from judges.errors import UserError
from leaderboard.commands.console import Console
from leaderboard.commands.flags import shown
from leaderboard.evaluation import Evaluation, evaluate
from leaderboard.models import parse_model_args
from leaderboard.table import render, select


@dataclass(frozen=True)
class Eval:
    """Put models, or files of answers, on a board: answer, judge, and print card and table."""

    models: Annotated[tuple[str, ...], tyro.conf.Positional, shown("MODEL…")]
    """Answers files (.json, .jsonl, .csv, .parquet), model folders, hf/ORG/NAME[@REVISION]; with
    --only judge also names of rows."""
    board: Annotated[str, shown("BOARD")] = "starter"
    """The board's name; `leaderboard board list` shows them."""
    results: Annotated[Path, shown("FOLDER")] = Path("results")
    """The folder that the boards lie in."""
    name: Annotated[str | None, shown("NAME")] = None
    """The row's name, if not the file's or the model's."""
    group: Annotated[str | None, shown("NAME")] = None
    """Rows of one method that differ in their training seed share a group."""
    limit: Annotated[int | None, shown("N")] = None
    """Take so many instructions only; the full run takes up what is done."""
    only: Annotated[Literal["generate", "judge"] | None, shown("generate|judge")] = None
    """Stop after the answers, or judge the answers that are stored."""
    model_args: Annotated[str | None, shown("KEY=VALUE,…")] = None
    """adapter, batch_size, chat_template, device, dtype, system_prompt."""
    overwrite: Annotated[bool, shown("")] = False
    """Throw away a row of this name that was made otherwise."""

    def run(self) -> int:
        if not self.models:
            raise UserError("name a model, a folder or a file of answers")
        if self.name is not None and len(self.models) > 1:
            raise UserError("--name goes with one model only")
        args = parse_model_args(self.model_args)
        done: list[Evaluation] = []
        for model in self.models:
            result = evaluate(
                model,
                board=self.board,
                results=self.results,
                name=self.name,
                group=self.group,
                limit=self.limit,
                only=self.only,
                model_args=args,
                overwrite=self.overwrite,
                watch=Console(),
            )
            done.append(result)
            if result.summary is None:
                print(f"{result.row}: the answers are stored; judge them with --only judge")
            else:
                print(result.card, end="\n\n", flush=True)
        if done[-1].standings is not None:
            print(render(done[-1].board, select(done[-1].standings, ()), (), "table"))
        return 0 if all(result.is_publishable for result in done) else 3
