"""`leaderboard eval`: a model in, a row out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from judges.calling.caller import Caller
from judges.errors import UserError
from leaderboard.answers.models import AnswersFile, Model, parse_model_args, resolve
from leaderboard.boards.board import Board, load_board
from leaderboard.boards.catalogue import find_board
from leaderboard.commands.console import Console
from leaderboard.commands.flags import shown
from leaderboard.display.card import card
from leaderboard.display.table import render, select
from leaderboard.evaluation import Evaluation, evaluate
from leaderboard.judging.estimate import Estimate, spent
from leaderboard.judging.judging import open_caller


@dataclass(frozen=True)
class Eval:
    """Put models, or files of answers, on a board: answer, judge, and print card and table."""

    models: Annotated[tuple[str, ...], tyro.conf.Positional, shown("MODEL…")]
    """Answers files (.json, .jsonl, .csv, .parquet), model folders, hf/ORG/NAME[@REVISION],
    vllm/PATH, openai/NAME, anthropic/NAME, openai-api/NAME; with --only judge also rows."""
    board: Annotated[str, shown("BOARD")] = "starter"
    """The board's name; `leaderboard board list` shows them."""
    results: Annotated[Path, shown("FOLDER")] = Path("results")
    """The folder that the boards lie in."""
    name: Annotated[str | None, shown("NAME")] = None
    """The row's name, if not the file's or the model's."""
    group: Annotated[str | None, shown("NAME")] = None
    """Rows of one method that differ in their training seed share a group."""
    limit: Annotated[int | None, shown("N")] = None
    """Take so many instructions only, for controls too; the full run takes up what is done."""
    only: Annotated[Literal["generate", "judge"] | None, shown("generate|judge")] = None
    """Stop after the answers, or judge the answers that are stored."""
    model_args: Annotated[str | None, shown("KEY=VALUE,…")] = None
    """adapter, batch_size, chat_template, device, dtype, system_prompt; for servers api_key_env,
    reasoning_effort, system_prompt, and unset=temperature+seed for what they do not take."""
    base_url: Annotated[str | None, shown("URL")] = None
    """Where openai-api/NAME is served."""
    max_cost: Annotated[float | None, shown("USD")] = None
    """Stop when so much is spent; what was paid for is kept."""
    batch: Annotated[bool, shown("")] = False
    """Ask by the providers' batch services: half the price, up to a day."""
    dry_run: Annotated[bool, shown("")] = False
    """Print the calls that this run would make, and their cost, and ask nothing."""
    overwrite: Annotated[bool, shown("")] = False
    """Replace the answers of a row of this name that were made otherwise; with --only judge ask
    anew where a judge's reply could not be read."""

    def run(self) -> int:
        if not self.models:
            raise UserError("name a model, a folder or a file of answers")
        if self.name is not None and len(self.models) > 1:
            raise UserError("--name goes with one model only")
        args = parse_model_args(self.model_args)
        self._check_models(args)
        if self.max_cost is not None and not self.max_cost >= 0:
            raise UserError(
                f"--max-cost {self.max_cost}: a number of dollars, 0 or more, is needed"
            )
        board = load_board(self.board, self.results)
        done: list[Evaluation] = []
        with open_caller(board, self.max_cost, batch=self.batch, watch=Console()) as caller:
            if self.dry_run:
                return self._estimate(board, args, caller)
            try:
                for model in self.models:
                    done.append(self._evaluate(board, model, args, caller))
                    if done[-1].stopped:
                        break
            finally:
                self._print(done)
                if caller.n_calls or caller.stopped:
                    print(spent(caller), file=sys.stderr)
        return max((result.exit_code for result in done), default=0)

    def _estimate(self, board: Board, args: dict[str, str], caller: Caller) -> int:
        from leaderboard.display.dry_run import describe_dry_run, dry_run

        instructions = board.first(self.limit)
        found: list[Estimate] = []
        for model in self.models:
            chosen = self._resolve(board.path, model, args)
            found += dry_run(
                board,
                chosen,
                instructions,
                caller,
                name=self.name,
                only=self.only,
                is_first=model == self.models[0],
                anew=self.overwrite and self.only == "judge",
            )
        print(describe_dry_run(found))
        return 0

    def _resolve(self, folder: Path, model: str, args: dict[str, str]) -> Model:
        stored = folder if self.only == "judge" else None
        return resolve(model, args, stored=stored, base_url=self.base_url)

    def _check_models(self, args: dict[str, str]) -> None:
        """Raises UserError for a mistyped model before the first one is run."""
        folder = find_board(self.board, self.results)
        for model in self.models:
            found = self._resolve(folder, model, args)
            if isinstance(found, AnswersFile) and not found.path.is_file():
                raise UserError(f"{found.path}: no such file")

    def _evaluate(
        self, board: Board, model: str, args: dict[str, str], caller: Caller
    ) -> Evaluation:
        return evaluate(
            model,
            board=board,
            results=self.results,
            name=self.name,
            group=self.group,
            limit=self.limit,
            only=self.only,
            model_args=args,
            base_url=self.base_url,
            overwrite=self.overwrite,
            watch=Console(),
            caller=caller,
        )

    def _print(self, done: Sequence[Evaluation]) -> None:
        """The cards of the rows that are done, all seen beside the last one, and the table."""
        for result in done:
            last = done[-1]
            if result.summary is None or last.standings is None:
                print(f"{result.row}: the answers are stored; judge them with --only judge")
                continue
            text = card(
                last.board,
                result.summary,
                last.standings,
                last.controls,
                with_note=result is last,  # it is the board's: once is enough
            )
            print(text, end="\n\n")
        if done and (table := done[-1].standings) is not None:
            print(render(done[-1].board, select(table, ()), (), "table"))
