"""Before anything is loaded or paid: can every judge of a board judge, and what will it cost?

Each judge behind a server is asked one question of the board's own (`leaderboard.judging.trial`), which
the controls would ask as well: the reply is kept in the cache like any other, and a judge whose
replies are all there is not asked. The files of models in this process are looked at.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from judges.asking.llm_judge import LLMJudge
from judges.backends.spec import REMOTE, ModelSpec
from judges.base import Judge, Shown, presentations
from judges.calling.budget import BudgetGate
from judges.calling.caller import Caller, Task
from judges.errors import MissingKeyError, UserError
from judges.kinds.reward_model import RewardModel
from judges.panel_files import line_of
from judges.schema import Comparison, Instruction, Output
from leaderboard.answers.models import refuse_to_send
from leaderboard.boards.board import Board
from leaderboard.judging.controls import NULL_ANSWER, control_items
from leaderboard.judging.estimate import Estimate, dollars, estimate, in_dollars, total
from leaderboard.judging.first_day import first_day, requests_to_come, unfinished_judges
from leaderboard.judging.judging import held_verdicts, outstanding, results_folder
from leaderboard.rows.results import Row
from leaderboard.rows.self_judging import excluded
from leaderboard.watch import Watch

MIN_FREE_BYTES = 200 * 2**20
"""On the disk that the board lies on."""


def llm_judges(board: Board) -> list[LLMJudge]:
    """The judges of a board that ask a language model."""
    return [judge for judge in board.panel.judges if isinstance(judge, LLMJudge)]


def check_before_answers(
    board: Board, model: ModelSpec, caller: Caller, watch: Watch, *, is_judged: bool
) -> None:
    """Check a model that is to answer and, where the answers will be judged, every judge that asks
    a model: all keys first, and nobody is paid before all is known that can be known for nothing.
    """
    from leaderboard.judging.trial import note_facts

    judges = llm_judges(board) if is_judged else []
    refuse_to_send(board.instructions, model)
    if judges or model.is_remote:
        check_disk(board)
    if is_judged:
        check_rewards(board.panel.judges)
    check_reach(judges, caller, board)
    _check_drift_budget(board, judges, caller, watch)
    if model.is_remote:
        caller.remote(model)
        _check_price(model, caller)
        note_facts(f"{model.spec}", model, caller, watch)
    for judge in judges:
        if not check_judge(board, judge, caller, watch):
            raise UserError(
                f"judge {judge.name}: the first call to {judge.model} failed, and the answers that "
                "it is to judge are not there yet. Try again when its server is well, or get the "
                "answers alone with --only generate"
            )


def check_needed_judges(
    board: Board,
    work: Sequence[tuple[Row, Sequence[Comparison]]],
    caller: Caller,
    watch: Watch,
    watched: Sequence[Comparison] | None = None,
) -> list[LLMJudge]:
    """Check the judges that have something left to judge in these rows, unless all replies are in
    the cache; and tell what the calls will cost. Gives these judges, and those whose first day on
    these rows was interrupted.

    `watched` are the comparisons before which it will be looked whether a judge has changed, and of
    which a first day will be kept; None: it has been looked already.
    """
    judges = llm_judges(board)
    begun = set() if watched is None else unfinished_judges(board, [row for row, _ in work])
    rewards = [judge for judge in board.panel.judges if isinstance(judge, RewardModel)]
    if not judges and not rewards:
        return []
    check_disk(board)
    held = [(held_verdicts(board, of, pairs), pairs, excluded(board, of)) for of, pairs in work]
    check_rewards(
        [
            judge
            for judge in rewards
            if any(outstanding(board, judge, pairs, of, without) for of, pairs, without in held)
        ]
    )
    costs, needed = [], []
    for judge in judges:
        left = [
            view
            for of, pairs, without in held
            for view in outstanding(board, judge, pairs, of, without)
        ]
        requests = [request for view in left for request in judge.asked_about(view)]
        n_left = caller.n_uncached(judge.spec, requests) if judge.spec.is_remote else len(requests)
        if n_left or judge.name in begun:
            needed.append(judge)
        if n_left and judge.spec.is_remote:
            n_stored = len(requests) - n_left
            prices, tokens, batch = caller.price_table, judge.reply_tokens, caller.batch
            costs.append(
                estimate(judge.name, judge.spec, requests, tokens, prices, n_stored, batch=batch)
            )
    check_reach(needed, caller, board)
    looks = []
    if watched is not None:
        _check_drift_budget(board, needed, caller, watch)
        looks = drift_estimates(board, needed, watched, caller)
        costs += looks
    most, expected, left_usd = caller.budget.max_usd, total(costs), caller.budget.left_usd
    are_well = [check_judge(board, judge, caller, watch) for judge in needed]
    if costs and all(are_well):
        n_calls, n_looks = (sum(of.n_calls for of in some) for some in (costs, looks))
        watch.note(
            f"{n_calls:,} {'call' if n_calls == 1 else 'calls'} to judges, {in_dollars(costs)}"
            + f"; {n_looks:,} of them watch whether a judge changes (drift)" * (n_looks > 0)
        )
        if most is not None and expected is not None and expected[1] > left_usd:
            watch.note(f"that is more than is left of the budget of {dollars(most)}")
    return needed


def drift_estimates(
    board: Board,
    judges: Sequence[LLMJudge],
    comparisons: Sequence[Comparison],
    caller: Caller,
) -> list[Estimate]:
    """What watching the models behind servers asks them beside: `requests_to_come` of a row."""
    found = requests_to_come(board, judges, comparisons, caller)
    prices = caller.price_table
    return [
        estimate(f"drift: {model}", judge.spec, requests, judge.reply_tokens, prices)
        for model, (judge, requests) in found.items()
    ]


def _check_drift_budget(
    board: Board, judges: Sequence[LLMJudge], caller: Caller, watch: Watch
) -> None:
    """Raises UserError where what is left of the budget cannot even pay for the look at whether the
    judges have changed, which no later run has anything of; notes where it may not."""
    most = caller.budget.max_usd
    if most is None or any(item.n_left for item in first_day(board)[0]):
        return  # what is paid for an interrupted first day is kept
    cost = total(drift_estimates(board, judges, (), caller))
    if cost is None or cost[1] <= (left := max(0.0, caller.budget.left_usd)):
        return
    text = (
        f"before a row on board {board.name} is judged, {board.settings.drift} old comparisons are "
        f"judged once more, to see whether a judge has changed: that costs {dollars(cost[0])} – "
        f"{dollars(cost[1])} – {dollars(cost[2])} (low, expected, high), and {dollars(left)} is "
        f"left of the budget of {dollars(most)}"
    )
    if cost[0] <= left:
        watch.note(f"{text}: it may be used up before the row")
        return
    raise UserError(
        f"{text}. Nothing is asked, as the row would not be reached: give a --max-cost (or "
        f"max_cost_usd) above {dollars(cost[2])}, or set drift = 0 in {board.path / 'board.toml'}"
    )


def check_disk(board: Board) -> None:
    """Raises UserError where the disk has no room for a run's files."""
    if (free := shutil.disk_usage(board.path).free) < MIN_FREE_BYTES:
        raise UserError(
            f"{board.path}: only {free / 2**20:.0f} MiB are free on this disk; make room for "
            f"{MIN_FREE_BYTES / 2**20:.0f} MiB first"
        )


def check_judge(board: Board, judge: LLMJudge, caller: Caller, watch: Watch) -> bool:
    """Ask a judge behind a server one question of the board's own, once for every Caller: as
    `try_judge`, and the complaints name the line of panel.toml."""
    if not judge.spec.is_remote:
        check_local([judge], board)
        return True
    from leaderboard.judging.trial import Trial, try_judge

    trial = Trial(
        probe(board, judge),
        _longest(board, judge),
        Task(board.name, "", judge.name, "probe", results_folder(board)),
        lambda parameter: _line(board, judge, parameter),
    )
    return try_judge(judge, trial, caller, watch)


def probe(board: Board, judge: LLMJudge) -> list[Shown]:
    """The board's own questions that a judge is tried with, in the order in which they are asked:
    the shortest instructions that controls are judged on, the first reference against an answer to
    nothing, shown as the controls are."""
    from leaderboard.judging.trial import TRIES

    shortest = sorted(control_items(board), key=lambda i: (len(i.text), i.id))[:TRIES]
    reference = board.settings.references[0]
    pairs = [
        Comparison(
            id=f"probe:{instruction.id}",
            instruction=instruction,
            output_1=board.references[reference][instruction.id].text,
            output_2=NULL_ANSWER,
            generator_1=reference,
            generator_2="null",
        )
        for instruction in shortest
    ]
    seed, orders = board.settings.seed, board.settings.orders
    return [presentations(judge, [pair], orders, seed)[0] for pair in pairs]


def check_local(judges: Iterable[Judge], board: Board | None = None) -> None:
    """Raises UserError where a language model in this process is not there, or is not the one that
    the panel, by default no board's, is bound to."""
    from judges.backends.checkpoint import find_checkpoint, pin_of

    named, advice = "the panel names", ""
    if board is not None:
        named = f"board {board.name} was made with"
        advice = f", or make a board with this one: leaderboard rejudge {board.name}"
    for judge in judges:
        if not isinstance(judge, LLMJudge) or judge.spec.provider in (*REMOTE, "fake"):
            continue
        checkpoint = find_checkpoint(judge.spec.name, adapter=judge.args.get("adapter"))
        if judge.weights not in (None, pin_of(checkpoint.fingerprint())):
            raise UserError(
                f"judge {judge.name}: {judge.model} is another model than {named}, in its weights, "
                f"adapter, config or tokenizer. Put the right one there{advice}"
            )


def check_rewards(judges: Iterable[Judge]) -> None:
    """Raises UserError where a reward model among them cannot be used: its files are no such
    model's, or not those that the panel names. Loads nothing."""
    for judge in judges:
        if not isinstance(judge, RewardModel):
            continue
        from judges.backends.checkpoint import find_checkpoint, pin_of

        try:
            judge.check()
            checkpoint = find_checkpoint(judge.model, revision=judge.revision)
            if judge.weights not in (None, pin_of(checkpoint.fingerprint())):
                raise UserError(
                    f"{judge.model} is another model than the panel names, in its weights, config "
                    "or tokenizer"
                )
        except UserError as error:
            raise UserError(f"judge {judge.name}: {error}") from None


def check_reach(judges: Sequence[LLMJudge], caller: Caller, board: Board | None = None) -> None:
    """Raises UserError where a judge behind a server has no key or no address, or no price where
    there is a budget; calls nobody."""
    for judge in judges:
        if not judge.spec.is_remote:
            continue
        if board is not None:
            refuse_to_send(board.instructions, judge.spec, f"judge {judge.name}")
        try:
            caller.remote(judge.spec)
            _check_price(judge.spec, caller)
        except UserError as error:
            ways_out = "" if board is None else _ways_out(board, error)
            raise UserError(f"judge {judge.name}: {error}{ways_out}") from None


def _check_price(spec: ModelSpec, caller: Caller) -> None:
    if caller.budget.max_usd is not None:
        BudgetGate(caller.budget, spec, caller.price_table)


def _longest(board: Board, judge: LLMJudge) -> Shown:
    """The longest comparison of references."""
    longest = max(board.instructions, key=lambda i: _length(i, board.references))
    names = board.settings.references
    texts = [board.references[name][longest.id].text for name in (names[0], names[-1])]
    pair = Comparison(
        id="longest",
        instruction=longest,
        output_1=texts[0],
        output_2=f"{texts[1]} …",  # about two equal texts nobody is asked
        generator_1="",
        generator_2="",
    )
    return Shown(pair, "original" if judge.sees_order else "none")


def _length(instruction: Instruction, references: Mapping[str, Mapping[str, Output]]) -> int:
    return len(instruction.text) + sum(len(of[instruction.id].text) for of in references.values())


def _line(board: Board, judge: LLMJudge, parameter: str) -> str:
    """Where panel.toml sets a parameter, or else begins with the judge."""
    file = board.path / "panel.toml"
    index = board.panel.names.index(judge.name)
    own = "form" if parameter == "schema" else parameter
    lines = (line_of(file, index, key) for key in (own, f"extra.{own}", "kind"))
    line = next((line for line in lines if line is not None), None)
    at = f", line {line}" if line is not None else ""
    return f"{file}{at} (judge {judge.name})"


def _ways_out(board: Board, error: UserError) -> str:
    """What can be done without the key that is missing."""
    if not isinstance(error, MissingKeyError):
        return ""
    folder = board.path.parent
    where = "" if folder == Path("results") else f" --results {folder}"
    return (
        ". Without a key: the board `starter` needs none; this board with a judge on this machine: "
        f"leaderboard board new {board.name}-local --from {board.name} --judge pairwise/PATH"
        f"{where}; answers alone: --only generate"
    )
