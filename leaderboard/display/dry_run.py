"""What a run would ask of models, and what it would cost, without asking anything."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import replace
from typing import Literal

from judges.asking.llm_judge import LLMJudge
from judges.backends.base import TOKENS_IF_UNLIMITED, Request, Sampling
from judges.base import Shown
from judges.calling.caller import Caller
from judges.schema import Comparison, Instruction, Message
from leaderboard.answers.answers import read_answers
from leaderboard.answers.generate import open_requests
from leaderboard.answers.models import AnswersFile, LanguageModel, Model, row_name
from leaderboard.boards.board import Board
from leaderboard.comparing.head_to_head import meetings
from leaderboard.display.table import grid
from leaderboard.judging.controls import unjudged_controls
from leaderboard.judging.estimate import Estimate, dollars, estimate, total
from leaderboard.judging.first_day import by_model, checked_key, unfinished_judges
from leaderboard.judging.judging import held_verdicts, outstanding, unread_requests
from leaderboard.judging.preflight import drift_estimates, llm_judges, probe
from leaderboard.rows.results import Row
from leaderboard.rows.self_judging import excluded

ANSWER_TOKENS = (50.0, 300.0)
"""Tokens of an answer, low and expected; the high case is the board's max_tokens."""
Counted = MutableMapping[str, set[tuple[Message, ...]]]
"""By judge the prompts that are counted already: what comes twice is asked once."""


def dry_run(
    board: Board,
    model: Model,
    instructions: Sequence[Instruction],
    caller: Caller,
    *,
    name: str | None = None,
    only: Literal["generate", "judge"] | None = None,
    is_first: bool = True,
    anew: bool = False,
) -> list[Estimate]:
    """The calls that evaluating the model on these instructions would make, line by line.

    Answers that are not there yet are taken to be as long as the first reference's. `name` is the
    row's, if not the model's; what is done once a board is reckoned with the first of several
    models; `anew`: no reply is used that could not be read. Raises UserError for an answers file
    that cannot be read.
    """
    found = []
    row = Row(board.path / row_name(model, name, None))
    # Not the very same text: whom a judge is shown twice, it is not asked about.
    first = board.references[board.settings.references[0]]
    answers = {i: replace(output, text=f"{output.text} …") for i, output in first.items()}
    if isinstance(model, AnswersFile):
        answers, generator = read_answers(model.path, board.instructions, instructions)
        row = Row(board.path / row_name(model, name, generator))
    elif row.outputs_file.is_file():
        answers |= row.outputs(allow_torn=True)
    if only != "judge" and isinstance(model, LanguageModel) and model.spec.is_remote:
        found.append(answers_estimate(row, model, instructions, board.settings.sampling, caller))
    if only == "generate":
        return found
    pairs = board.comparisons(instructions, answers, row.name)
    counted: Counted = defaultdict(set)
    of_row = [
        _judging(judge, board, [(row, pairs)], row.name, caller, anew, counted)
        for judge in llm_judges(board)
    ]
    found += of_row
    begun = unfinished_judges(board, [row])
    asked = [
        judge
        for judge, of in zip(llm_judges(board), of_row, strict=True)
        if of.n_calls or judge.name in begun
    ]
    found += _watching(board, asked, pairs, caller)
    if is_first:
        found += control_estimates(
            board, caller, limit=len(instructions), anew=anew, counted=counted
        )
    return found


def control_estimates(
    board: Board,
    caller: Caller,
    *,
    limit: int | None = None,
    anew: bool = False,
    counted: Counted | None = None,
) -> list[Estimate]:
    """The calls that the controls take which are not judged yet, judge by judge; `limit` is a
    trial's."""
    controls = unjudged_controls(board, limit)
    judges = llm_judges(board) if controls else []
    return [_judging(judge, board, controls, "controls", caller, anew, counted) for judge in judges]


def meeting_estimates(
    board: Board, names: Sequence[str], baseline: str | None, caller: Caller
) -> list[Estimate]:
    """The calls that putting rows of a board against each other takes (`head_to_head`)."""
    found: list[Estimate] = []
    for row, pairs in meetings(board, names, baseline):
        of = [_judging(j, board, [(row, pairs)], row.name, caller) for j in llm_judges(board)]
        asked = [j for j, one in zip(llm_judges(board), of, strict=True) if one.n_calls]
        found += of + _watching(board, asked, (), caller)
    return found


def _watching(
    board: Board, judges: Sequence[LLMJudge], pairs: Sequence[Comparison], caller: Caller
) -> list[Estimate]:
    """What looking for changes of these judges takes; for what comes after, the run itself has
    looked by then."""
    found = drift_estimates(board, judges, pairs, caller)
    if found:
        caller.checked |= {checked_key(board, model) for model in by_model(board, judges)}
    return found


def answers_estimate(
    row: Row,
    model: LanguageModel,
    instructions: Sequence[Instruction],
    sampling: Sampling,
    caller: Caller,
) -> Estimate:
    """The answers that a model behind a server is still to give."""
    requests = open_requests(row, model, instructions, sampling)
    most = model.sampling(sampling).max_tokens or TOKENS_IF_UNLIMITED
    replies = [min(tokens, most) for tokens in ANSWER_TOKENS] + [most]
    n_stored = len(requests) - caller.n_uncached(model.spec, requests)
    what = f"{row.name}: answers"
    prices, batch = caller.price_table, caller.batch
    return estimate(what, model.spec, requests, replies, prices, n_stored, batch=batch)


def _judging(
    judge: LLMJudge,
    board: Board,
    work: Sequence[tuple[Row, Sequence[Comparison]]],
    whose: str,
    caller: Caller,
    anew: bool = False,
    counted: Counted | None = None,
) -> Estimate:
    left = [
        view
        for row, pairs in work
        for view in outstanding(
            board, judge, pairs, held_verdicts(board, row, pairs), excluded(board, row)
        )
    ]
    if whose == "controls":  # the judge's first call is one of theirs, or one more
        left += probe(board, judge)
    requests = _different(judge, left)
    if counted is not None:
        requests = [of for of in requests if of.messages not in counted[judge.name]]
        counted[judge.name] |= {of.messages for of in requests}
    n_stored = 0
    if judge.spec.is_remote and requests:
        unread = [r for row, pairs in work for r in unread_requests(board, judge, row, pairs)]
        again = {request.messages for request in unread} if anew else set()
        kept = [request for request in requests if request.messages not in again]
        n_stored = len(kept) - caller.n_uncached(judge.spec, kept)
    what = f"{whose}: judging by {judge.name}"
    prices, tokens = caller.price_table, judge.reply_tokens
    return estimate(what, judge.spec, requests, tokens, prices, n_stored, batch=caller.batch)


def _different(judge: LLMJudge, shown: Iterable[Shown]) -> list[Request]:
    """The judge's requests; equal ones are made once."""
    requests = (request for view in shown for request in judge.requests(view))
    return list({request.messages: request for request in requests}.values())


def describe_dry_run(estimates: Sequence[Estimate]) -> str:
    """The estimate as a table, low to high, and what all of it would cost."""
    if not any(of.n_calls for of in estimates):
        return "nothing is to be asked of a model: this run costs nothing"
    body = [
        [
            of.what,
            f"{of.n_calls:,}",
            f"{of.n_stored:,}",
            _range(of.input_tokens, "{:,.0f}"),
            _range(of.output_tokens, "{:,.0f}"),
            "price not known" if of.cost_usd is None else _dollars(of.cost_usd),
        ]
        for of in estimates
        if of.n_calls or of.n_stored
    ]
    headers = ["", "calls", "in the cache", "input tokens", "output tokens", "cost"]
    costs = total(estimates)
    last = (
        "in all: not known, as a price is missing; give it in prices.toml (docs/files.md)"
        if costs is None
        else f"in all: {_dollars(costs)} (low, expected, high)"
    )
    return f"{grid(headers, body, 'table')}\n{last}. Nothing has been asked yet."


def _range(values: Sequence[float], form: str) -> str:
    low, expected, high = (form.format(value) for value in values)
    return low if low == expected == high else f"{low} – {expected} – {high}"


def _dollars(costs: Sequence[float]) -> str:
    low, expected, high = map(dollars, costs)
    return low if low == expected == high else f"{low} – {expected} – {high}"
