"""What a run would ask of models, and what it would cost, without asking anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from judges.backends.base import Request
from judges.calling import Caller
from judges.schema import Comparison, Instruction, Output
from leaderboard.answers import read_answers
from leaderboard.boards import Board
from leaderboard.controls import unjudged_controls
from leaderboard.estimate import Estimate, estimate, total
from leaderboard.judging import held_verdicts, outstanding
from leaderboard.models import AnswersFile, LanguageModel, Model, row_name
from leaderboard.preflight import llm_judges
from leaderboard.results import Row
from leaderboard.self_judging import excluded
from leaderboard.table import grid

ANSWER_TOKENS = (50.0, 300.0)
"""Tokens of an answer, low and expected; the high case is the board's max_tokens."""


def dry_run(
    board: Board,
    model: Model,
    instructions: Sequence[Instruction],
    caller: Caller,
    *,
    only: Literal["generate", "judge"] | None = None,
    with_controls: bool = True,
) -> list[Estimate]:
    """The calls that evaluating the model on these instructions would make, line by line.

    Answers that are not there yet are taken to be as long as the first reference's. Raises
    UserError for an answers file that cannot be read.
    """
    found = []
    row = Row(board.path / row_name(model, None, None))
    answers: Mapping[str, Output] = board.references[board.settings.references[0]]
    if isinstance(model, AnswersFile):
        answers, generator = read_answers(model.path, board.instructions, instructions)
        row = Row(board.path / row_name(model, None, generator))
    elif row.outputs_file.is_file():
        answers = {**answers, **row.outputs(allow_torn=True)}
    if only != "judge" and isinstance(model, LanguageModel) and model.spec.is_remote:
        found.append(_answering(board, model, row, instructions, caller))
    if only == "generate":
        return found
    pairs = board.comparisons(instructions, answers, row.name)
    found += _judging(board, f"{row.name}: ", [(row, pairs)], caller)
    if with_controls:
        found += _judging(board, "controls: ", unjudged_controls(board), caller)
    return found


def _answering(
    board: Board,
    model: LanguageModel,
    row: Row,
    instructions: Sequence[Instruction],
    caller: Caller,
) -> Estimate:
    held = row.outputs(allow_torn=True) if row.outputs_file.is_file() else {}
    sampling = model.sampling(board.settings.sampling)
    requests = [
        Request(id=i.id, messages=model.messages(i.messages), sampling=sampling)
        for i in instructions
        if i.id not in held
    ]
    most = sampling.max_tokens or 4096
    replies = [min(tokens, most) for tokens in ANSWER_TOKENS] + [most]
    return estimate(
        f"answers by {model.spec.spec}", model.spec, requests, replies, caller.price_table
    )


def _judging(
    board: Board, what: str, work: Sequence[tuple[Row, Sequence[Comparison]]], caller: Caller
) -> list[Estimate]:
    held = [(held_verdicts(row, pairs), pairs, excluded(board, row)) for row, pairs in work]
    found = []
    for judge in llm_judges(board):
        left = [
            view
            for of, pairs, without in held
            for view in outstanding(board, judge, pairs, of, without)
        ]
        requests = [request for view in left for request in judge.requests(view)]
        stored = 0
        if judge.spec.is_remote and requests:
            stored = len(requests) - caller.n_uncached(judge.spec, requests)
        found.append(
            estimate(
                f"{what}judging by {judge.name}",
                judge.spec,
                requests,
                judge.reply_tokens,
                caller.price_table,
                n_stored=stored,
            )
        )
    return found


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
            "price not known" if of.cost_usd is None else _range(of.cost_usd, "${:,.2f}"),
        ]
        for of in estimates
    ]
    headers = ["", "calls", "in the cache", "input tokens", "output tokens", "cost"]
    costs = total(estimates)
    last = (
        "in all: not known, as a price is missing; give it in prices.toml (docs/judges.md)"
        if costs is None
        else f"in all: {_range(costs, '${:,.2f}')} (low, expected, high)"
    )
    return f"{grid(headers, body, 'table')}\n{last}. Nothing has been asked yet."


def _range(values: Sequence[float], form: str) -> str:
    low, expected, high = (form.format(value) for value in values)
    return low if low == expected == high else f"{low} – {expected} – {high}"
