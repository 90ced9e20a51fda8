"""`leaderboard board new|list|check|calibrate|import`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from judges.base import Orders
from judges.calling.caller import Caller
from judges.errors import UserError
from judges.reading import printable
from leaderboard.boards.board import load_board
from leaderboard.boards.catalogue import board_names, packaged_boards
from leaderboard.boards.settings import Column, SelfJudging
from leaderboard.commands.console import Console
from leaderboard.commands.flags import shown
from leaderboard.curation.calibrating import (
    calibrate_board,
    changed_since_calibration,
    describe_calibration,
)
from leaderboard.curation.checking import check_board
from leaderboard.curation.create import Recipe, create_board, reference_estimates
from leaderboard.display.dry_run import control_estimates, describe_dry_run
from leaderboard.display.table import grid
from leaderboard.judging.controls import (
    control_results,
    describe_controls,
    run_controls,
    unjudged_controls,
)
from leaderboard.judging.estimate import spent
from leaderboard.judging.judging import open_caller
from leaderboard.judging.preflight import check_needed_judges
from leaderboard.rows.standings import board_rows, standings


@dataclass(frozen=True)
class New:
    """Make a board of your own prompts, or of another board."""

    name: Annotated[str, tyro.conf.Positional, shown("BOARD")]
    """The new board's name."""
    results: Annotated[Path, shown("FOLDER")] = Path("results")
    """The folder that the boards lie in."""
    prompts: Annotated[Path | None, shown("FILE")] = None
    """A csv, json, jsonl or parquet file with a column `instruction`, `prompt`, `query`,
    `question` or `messages`."""
    prompt_column: Annotated[str | None, shown("COLUMN")] = None
    """The column that holds the prompts, if it is called otherwise."""
    category_column: Annotated[str | None, shown("COLUMN")] = None
    """The column that holds the categories, if it is not called `category`."""
    reference: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], shown("MODEL_OR_FILE")] = ()
    """A model or an answers file to compare with; repeatable. Answered once, then frozen."""
    judge: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], shown("JUDGE")] = ()
    """A judge: checklist, pairwise/MODEL, NAME.toml, …; repeatable. `leaderboard judges` lists the
    kinds."""
    panel: Annotated[str | None, shown("PANEL|JUDGE")] = None
    """Who judges, in place of --judge: a packaged panel, a panel file, or one judge."""
    judge_model: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], shown("[SLOT=]MODEL")] = ()
    """A model for what the panel leaves open, openai-api/NAME@URL for one that you serve;
    repeatable."""
    self_judging: Annotated[SelfJudging | None, shown("flag|exclude|allow")] = None
    """Judges that are the candidate or of its family: say so, leave their votes out, or do not look
    (default: flag)."""
    orders: Annotated[Orders | None, shown("both|random|fixed")] = None
    """Show each pair in both orders, one by a stable hash, or as given (default: both)."""
    from_: Annotated[str | None, tyro.conf.arg(name="from"), shown("BOARD")] = None
    """A board to take over what is not said: prompts, references, panel, settings."""
    control_items: Annotated[int | None, shown("N")] = None
    """Judge each control on so many instructions (default: 100 where judges are paid, else all)."""
    private: Annotated[bool, shown("")] = False
    """The instructions are private: no text of theirs leaves this machine."""
    generation: Annotated[str | None, shown("KEY=VALUE,…")] = None
    """How every model on the board writes: temperature (default: 0), max_tokens (default: 1024),
    top_p, top_k, repetition_penalty."""
    model_args: Annotated[str | None, shown("KEY=VALUE,…")] = None
    """For the reference models, as of `eval`."""
    base_url: Annotated[str | None, shown("URL")] = None
    """Where a reference openai-api/NAME is served."""
    max_cost: Annotated[float | None, shown("USD")] = None
    """Stop when references have cost so much; what was paid for is kept."""
    dry_run: Annotated[bool, shown("")] = False
    """Print the calls that references would take, and their cost; ask nothing and make nothing."""

    def run(self) -> int:
        if self.control_items is not None and self.control_items < 1:
            raise UserError(f"--control-items {self.control_items}: a positive number is needed")
        recipe = Recipe(
            name=self.name,
            source=self.from_,
            prompts=self.prompts,
            prompt_column=self.prompt_column,
            category_column=self.category_column,
            references=self.reference,
            judges=self.judge,
            panel=self.panel,
            judge_models=self.judge_model,
            self_judging=self.self_judging,
            orders=self.orders,
            control_items=self.control_items,
            private=self.private,
            generation=self.generation,
            model_args=self.model_args,
            base_url=self.base_url,
        )
        watch = Console()
        with Caller.default(
            max_cost_usd=self.max_cost, tell=watch.note, show=watch.waiting
        ) as caller:
            if self.dry_run:
                print(describe_dry_run(reference_estimates(recipe, self.results, caller)))
                return 0
            try:
                board = create_board(recipe, self.results, watch, caller)
            finally:
                if caller.n_calls or caller.stopped:
                    print(spent(caller), file=sys.stderr)
        print(
            f"{board.path}: {len(board.instructions)} instructions, against "
            f"{' and '.join(board.settings.references)}, judged by {board.panel.called}"
        )
        return 0


@dataclass(frozen=True)
class List:
    """List the boards in the results folder, and the packaged ones."""

    results: Annotated[Path, shown("FOLDER")] = Path("results")
    """The folder that the boards lie in."""

    def run(self) -> int:
        body = []
        for name in board_names(self.results):
            try:
                board = load_board(name, self.results, verify=False)
            except UserError as error:
                # One that cannot be read must not hide the others.
                print(printable(f"board {name}: {error}"), file=sys.stderr)
                body.append([name, "", "", "", "broken"])
                continue
            rows, judges = len(board_rows(board)), board.panel.called
            references = ", ".join(board.settings.references)
            body.append([name, str(len(board.instructions)), references, judges, str(rows)])
        there = {row[0] for row in body}
        body += [[name, "", "", "", "packaged"] for name in packaged_boards() if name not in there]
        print(grid(["board", "instructions", "references", "judges", "rows"], body, "table"))
        return 0


@dataclass(frozen=True)
class Check:
    """Check that a board is as it was made, judge its controls, and reckon every row anew."""

    name: Annotated[str, tyro.conf.Positional, shown("BOARD")]
    """The board's name."""
    results: Annotated[Path, shown("FOLDER")] = Path("results")
    """The folder that the boards lie in."""
    max_cost: Annotated[float | None, shown("USD")] = None
    """Stop when so much is spent on controls; what was paid for is kept."""
    dry_run: Annotated[bool, shown("")] = False
    """Print the calls that controls would take, and their cost, and ask nothing."""

    def run(self) -> int:
        board, watch = load_board(self.name, self.results), Console()
        with open_caller(board, self.max_cost, watch=watch) as caller:
            if self.dry_run:
                print(describe_dry_run(control_estimates(board, caller)))
                return 0
            check_needed_judges(board, unjudged_controls(board), caller, watch)
            results = run_controls(board, watch, caller)
            if caller.n_calls or caller.stopped:
                print(spent(caller), file=sys.stderr)
        table = standings(board)
        print(f"{board.path}: {len(board.instructions)} instructions, all hashes as written")
        print(describe_controls(board, results))
        print(f"rows: {len(table.frame)} in the table")
        for model in changed_since_calibration(board, table):
            print(
                f"  {model} has changed since the board was calibrated from it, which stays valid"
            )
        faults = check_board(board)
        for name, why in table.left_out.items():
            if name not in faults:
                print(f"  left out: {name} ({why})")
        for name, fault in faults.items():
            print(f"  WRONG {name}: {fault}")
        if faults:
            print(
                "  Reckon a row anew with: leaderboard eval ROW --only judge --board "
                f"{board.name}; delete a control's folder, and check again"
            )
        if caller.stopped:
            return 4
        return 3 if faults or any(result.outcome == "failed" for result in results) else 0


@dataclass(frozen=True)
class Calibrate:
    """Freeze what the length-controlled column lc_joint needs, from rows that are judged.

    Once a board: from then on no new row moves another's figure. Nothing is asked of a model, but
    that the board's controls are judged where they are not yet. A second time it keeps what is
    frozen, changes the headline if told to, and finishes what an interrupted one left.
    """

    name: Annotated[str, tyro.conf.Positional, shown("BOARD")]
    """The board's name."""
    models: Annotated[tuple[str, ...], tyro.conf.Positional, shown("ROW…")] = ()
    """The rows to calibrate from, 8 at least; all the ranked ones where none is named."""
    results: Annotated[Path, shown("FOLDER")] = Path("results")
    """The folder that the boards lie in."""
    headline: Annotated[Column | None, shown("win_rate|lc_joint|lc_alpaca_eval")] = None
    """The column that ranks from now on."""
    overwrite: bool = False
    """Calibrate a board anew, which moves every figure of the column."""

    def run(self) -> int:
        board = calibrate_board(
            self.name,
            self.results,
            models=self.models,
            headline=self.headline,
            overwrite=self.overwrite,
            watch=Console(),
        )
        print(describe_calibration(board))
        print(describe_controls(board, control_results(board)))
        return 0


@dataclass(frozen=True)
class Import:
    """Make a board of verdicts that were made elsewhere."""

    kind: Annotated[Literal["alpaca_eval"], tyro.conf.Positional, shown("alpaca_eval")]
    """What wrote the folder."""
    folder: Annotated[Path, tyro.conf.Positional, shown("FOLDER")]
    """A checkout of its repository, or a folder of parquet packages."""
    name: Annotated[str | None, shown("BOARD")] = None
    """The board's name, if not the folder's."""
    annotator: Annotated[str | None, shown("NAME")] = None
    """Which judge's verdicts, where there are several."""
    difficulty: Annotated[Path | None, shown("FILE")] = None
    """AlpacaEval's instruction_difficulty.csv: with --gamed, the board gets the column
    lc_alpaca_eval."""
    gamed: Annotated[Path | None, shown("FILE")] = None
    """AlpacaEval's verdicts on longer and shorter versions of the reference, df_gamed.csv."""
    by_position: bool = False
    """Take the n-th difficulty for a row's n-th verdict, as the published figures do: they are
    shifted where a row has gaps."""
    headline: Annotated[Column, shown("win_rate|lc_alpaca_eval")] = "win_rate"
    """The column that ranks."""
    results: Annotated[Path, shown("FOLDER")] = Path("results")
    """The folder that the boards lie in."""

    def run(self) -> int:
        from leaderboard.interop.alpaca_eval import LengthControlFiles, import_alpaca_eval

        if (self.difficulty is None) != (self.gamed is None):
            raise UserError("--difficulty and --gamed go together")
        if self.by_position and self.difficulty is None:
            raise UserError("--by-position goes with --difficulty and --gamed")
        files = None
        if self.difficulty is not None and self.gamed is not None:
            alignment: Literal["position", "instruction"]
            alignment = "position" if self.by_position else "instruction"
            files = LengthControlFiles(self.difficulty, self.gamed, alignment)
        board = import_alpaca_eval(
            self.folder,
            self.results,
            name=self.name,
            annotator=self.annotator,
            length_control=files,
            headline=self.headline,
            watch=Console(),
        )
        rows = len(board_rows(board))
        print(f"{board.path}: {len(board.instructions)} instructions, {rows} recorded rows")
        print(f"see them with: leaderboard show {board.name}", file=sys.stderr)
        return 0
