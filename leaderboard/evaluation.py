"""The whole pipeline on one page: board → answers → verdicts → summary → table → card.

Every stage reads what the one before left on disk, so that any of them can run elsewhere or again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from judges.calling.caller import Caller
from judges.errors import UserError
from judges.kinds.recorded import Recorded
from judges.schema import Instruction, Output
from leaderboard.answers.answers import read_answers
from leaderboard.answers.generate import (
    generate_answers,
    open_requests,
    require_own_prompts,
    require_stored,
    store_answers,
)
from leaderboard.answers.models import (
    AnswersFile,
    LanguageModel,
    Model,
    StoredRow,
    given_name,
    resolve,
    row_name,
)
from leaderboard.boards.board import Board, load_board
from leaderboard.boards.evalset import require_all
from leaderboard.display.card import card
from leaderboard.judging.controls import ControlResult, run_controls, unjudged_controls
from leaderboard.judging.drift import check_drift
from leaderboard.judging.first_day import keep_first_day
from leaderboard.judging.judging import forget_unread, hand_over, judge_row, open_caller
from leaderboard.judging.preflight import check_before_answers, check_needed_judges, llm_judges
from leaderboard.rows.results import Row, Status
from leaderboard.rows.standings import Standings, write_leaderboard
from leaderboard.rows.summary import summarise
from leaderboard.watch import SILENT, Watch


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation found. `card` says it in words; without judging only `row` is there."""

    row: str
    board: Board
    summary: dict[str, Any] | None = None
    controls: Sequence[ControlResult] = ()
    standings: Standings | None = None
    card: str = ""
    stopped: bool = False
    """The budget was used up before everything was judged."""

    @property
    def is_publishable(self) -> bool:
        return self.summary is None or bool(self.summary["is_publishable"])

    @property
    def exit_code(self) -> int:
        """0 done; 3 not publishable; 4 stopped at the budget."""
        return 4 if self.stopped else 0 if self.is_publishable else 3


def evaluate(  # noqa: PLR0913 - one argument a flag of `eval`
    model: str,
    *,
    board: str | Board = "starter",
    results: str | Path = "results",
    name: str | None = None,
    group: str | None = None,
    limit: int | None = None,
    only: Literal["generate", "judge"] | None = None,
    model_args: Mapping[str, str] | None = None,
    base_url: str | None = None,
    max_cost: float | None = None,
    batch: bool = False,
    overwrite: bool = False,
    watch: Watch = SILENT,
    caller: Caller | None = None,
) -> Evaluation:
    """Run a model, or take its answers from a file, and put them on a board, given by name or loaded.

    `limit` evaluates so many instructions; such a row is partial and unranked, and a later full
    run takes up its answers and verdicts. `only` stops after the answers, or starts from those
    that are stored. `max_cost` (USD) stops the run when so much is spent; what was paid for is
    kept. `batch` asks models by their providers' batch services. `overwrite` replaces the answers
    of a row of the same name that were made otherwise; with `only="judge"` judges are asked anew
    where their replies could not be read. `caller` calls models for several
    evaluations. Raises UserError for everything that can be put right; what was done by then is
    kept.
    """
    if limit is not None and limit < 1:
        raise UserError(f"--limit {limit}: a positive number is needed")
    if group is not None and not group.isprintable():
        raise UserError(f"--group {group!r}: control characters cannot be part of a name")
    loaded = load_board(board, results) if isinstance(board, str) else board
    stored = loaded.path if only == "judge" else None
    chosen = resolve(model, model_args or {}, stored=stored, base_url=base_url)
    instructions = loaded.first(limit)
    outputs: dict[str, Output] = {}
    generator = None
    if isinstance(chosen, AnswersFile):
        outputs, generator = read_answers(chosen.path, loaded.instructions, instructions)
    row = Row(loaded.path / row_name(chosen, name, generator))
    if name is None and row.name != (given := given_name(chosen, generator)):
        watch.note(f"{given!r} cannot be the name of a folder: the row is called {row.name}")
    if row.name in loaded.settings.references:
        raise UserError(f"{row.name!r} is a reference of this board; choose another --name")
    if only != "generate":
        _require_judges(loaded, row.name)
    with ExitStack() as stack:
        stack.enter_context(row.locked())
        if caller is None:
            caller = stack.enter_context(open_caller(loaded, max_cost, batch=batch, watch=watch))
        if limit is not None and row.is_complete():
            raise UserError(f"the row {row.name!r} is complete already; leave --limit out")
        is_steady = False
        if isinstance(chosen, AnswersFile):
            source = f"answers file {chosen.path.name}"
            store_answers(row, source, outputs, loaded.by_id, overwrite=overwrite)
        elif isinstance(chosen, LanguageModel) and only != "judge":
            if overwrite or _has_to_answer(row, chosen, loaded, instructions, caller):
                is_judged = only != "generate"
                check_before_answers(loaded, chosen.spec, caller, watch, is_judged=is_judged)
                if is_judged:
                    is_steady = bool(check_drift(loaded, llm_judges(loaded), caller, watch))
            sampling = loaded.settings.sampling
            generate_answers(
                row, chosen, instructions, sampling, watch, overwrite=overwrite, caller=caller
            )
        answers = {} if only == "generate" else _stored_answers(row, instructions)
        _describe(row, chosen, group)
        if only == "generate":
            return Evaluation(row.name, loaded)
        anew = overwrite and only == "judge"
        _judge(loaded, row, instructions, answers, caller, watch, is_steady=is_steady, anew=anew)
        summary = summarise(loaded, row, instructions, answers)
        row.write_summary(summary)
        controls = run_controls(loaded, watch, caller, len(instructions))
    table = write_leaderboard(loaded)
    text = card(loaded, summary, table, controls)
    return Evaluation(row.name, loaded, summary, controls, table, text, caller.stopped)


def _judge(
    board: Board,
    row: Row,
    instructions: Sequence[Instruction],
    answers: Mapping[str, Output],
    caller: Caller,
    watch: Watch,
    *,
    is_steady: bool,
    anew: bool,
) -> None:
    """Judge the row, after all checks of its judges; `is_steady`: drift has been looked for;
    `anew`: no reply is used that could not be read."""
    comparisons = board.comparisons(instructions, answers, row.name)
    work = [(row, comparisons), *unjudged_controls(board, len(instructions))]
    if anew:
        forget_unread(board, work, caller)
    watched = None if is_steady else comparisons
    needed = check_needed_judges(board, work, caller, watch, watched)
    if not is_steady:
        check_drift(board, needed, caller, watch)
    hand_over(board, work, caller)
    judge_row(board, row, comparisons, watch, caller)
    if needed:
        keep_first_day(board, row, comparisons, caller, watch)


def _has_to_answer(
    row: Row,
    model: LanguageModel,
    board: Board,
    instructions: Sequence[Instruction],
    caller: Caller,
) -> bool:
    """Whether the model has an answer left to give that is neither in the row nor in the cache."""
    left = open_requests(row, model, instructions, board.settings.sampling)
    return bool(caller.n_uncached(model.spec, left) if model.spec.is_remote else left)


def _stored_answers(row: Row, instructions: Sequence[Instruction]) -> dict[str, Output]:
    if not row.outputs_file.is_file():
        raise UserError(f"{row.outputs_file} is missing: there are no answers to judge yet")
    answers = row.outputs(allow_torn=True)
    require_all(answers, instructions, str(row.outputs_file))
    require_own_prompts(row, answers, instructions)
    require_stored(row, answers)
    return answers


def _describe(row: Row, model: Model, group: str | None) -> None:
    """Write model.toml where there is none yet; it is the user's to edit afterwards, but that
    --group and where the answers came from are brought up to date."""
    info = row.info()
    described = replace(info, group=info.group if group is None else group)
    if not isinstance(model, StoredRow):
        made_here = isinstance(model, LanguageModel)
        status: Status = "generated by host" if made_here else "answers submitted"
        described = replace(described, status=status)
    if described != info or not (row.path / "model.toml").is_file():
        row.write_info(described)


def _require_judges(board: Board, generator: str) -> None:
    """A board of recorded verdicts can judge only whom they are about."""
    recorded = [judge for judge in board.panel.judges if isinstance(judge, Recorded)]
    if board.is_recorded and not any(judge.knows(generator) for judge in recorded):
        folder = board.path.parent
        where = "" if folder == Path("results") else f" --results {folder}"
        raise UserError(
            f"board {board.name} holds recorded verdicts, and none on {generator!r}. A board that "
            "judges for itself, with the same instructions and references, is made by: "
            f"leaderboard board new {board.name}-live --from {board.name} --judge JUDGE{where}"
        )
