"""Before anything is loaded or paid: can every judge of a board judge, and what will it cost?

Each judge behind a server is asked one question of the board's own: that proves the key, the
endpoint, every parameter, the form of the verdict and the log-probabilities. A judge whose replies
are all in the cache is not asked.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence

from judges.asking import CUT, LLMJudge
from judges.backends.base import ParameterRefused
from judges.base import Shown, Verdict
from judges.calling import Caller, Task
from judges.errors import MissingKeyError, UserError
from judges.pairwise_logprob import NO_LOGPROBS
from judges.panel_files import line_of
from judges.schema import Comparison, Instruction, Output
from judges.verdicts import NOT_JSON
from leaderboard.boards import Board
from leaderboard.controls import NULL_ANSWER, unjudged_controls
from leaderboard.estimate import CHARACTERS_PER_TOKEN, estimate, in_dollars
from leaderboard.judging import held_verdicts, outstanding, results_folder
from leaderboard.results import Row
from leaderboard.self_judging import excluded
from leaderboard.watch import Watch

MIN_FREE_BYTES = 200 * 2**20
"""On the disk that the board lies on."""
SET_UP_FAULTS = (CUT, NOT_JSON, NO_LOGPROBS)
"""Why a first verdict can be missing that says the same of all to come."""


def llm_judges(board: Board) -> list[LLMJudge]:
    """The judges of a board that ask a language model."""
    return [judge for judge in board.panel.judges if isinstance(judge, LLMJudge)]


def check_all_judges(board: Board, caller: Caller, watch: Watch) -> None:
    """Check every judge that asks a model, before the answers are there that it will judge."""
    check_disk(board)
    for judge in llm_judges(board):
        check_judge(board, judge, caller, watch)


def check_needed_judges(
    board: Board, row: Row, comparisons: Sequence[Comparison], caller: Caller, watch: Watch
) -> None:
    """Check the judges that have something left to judge in the row or the controls, unless all
    replies are in the cache; and tell what the calls will cost."""
    judges = llm_judges(board)
    if not judges:
        return
    check_disk(board)
    work = [(row, comparisons), *unjudged_controls(board)]
    held = [(held_verdicts(of, pairs), pairs, excluded(board, of)) for of, pairs in work]
    costs = []
    for judge in judges:
        left = [
            view
            for of, pairs, without in held
            for view in outstanding(board, judge, pairs, of, without)
        ]
        requests = [request for view in left for request in judge.requests(view)]
        n_left = caller.n_uncached(judge.spec, requests) if judge.spec.is_remote else len(requests)
        if n_left and judge.spec.key not in caller.checked:
            check_judge(board, judge, caller, watch)
        if n_left and judge.spec.is_remote:
            stored = len(requests) - n_left
            costs.append(
                estimate(
                    judge.name, judge.spec, requests, judge.reply_tokens, caller.price_table, stored
                )
            )
    if costs:
        watch.note(f"{sum(of.n_calls for of in costs):,} calls to judges, {in_dollars(costs)}")


def check_disk(board: Board) -> None:
    """Raises UserError where the disk has no room for a run's files."""
    if (free := shutil.disk_usage(board.path).free) < MIN_FREE_BYTES:
        raise UserError(
            f"{board.path}: only {free / 2**20:.0f} MiB are free on this disk; make room for "
            f"{MIN_FREE_BYTES / 2**20:.0f} MiB before judging"
        )


def check_judge(board: Board, judge: LLMJudge, caller: Caller, watch: Watch) -> None:
    """Ask a judge behind a server one question of the board's own.

    Raises UserError that says what is wrong and where: the key's name, the server, the line of
    panel.toml that holds a parameter that the server refuses, a window that is too small for the
    longest comparison, log-probabilities that do not come, a form that the server does not obey.
    """
    file = board.path / "panel.toml"
    if not judge.spec.is_remote:
        _check_local(board, judge)
        return
    try:
        served = caller.facts(judge.spec)
        facts = caller.price_table.facts(judge.spec)
        if date := served.shutdown or facts.shutdown:
            watch.note(f"judge {judge.name}: its provider shuts {judge.model} down on {date}")
        _check_window(board, judge, served.context or facts.context)
        verdict = _probe(board, judge, caller)
    except ParameterRefused as error:
        raise UserError(f"{_line(board, judge, error.parameter)}: {error}") from None
    except UserError as error:
        raise UserError(f"judge {judge.name}: {error}{_ways_out(board, error)}") from None
    if not verdict.calls:
        raise UserError(
            f"judge {judge.name}: the first call to {judge.model} failed ({verdict.error}). Is the "
            f"server there? Nothing has been judged yet"
        )
    if verdict.preference is None and verdict.error in SET_UP_FAULTS:
        raise UserError(
            f"judge {judge.name}: its first reply cannot be read ({verdict.error}). See what can "
            f"be changed in {file}; nothing else has been asked yet"
        )
    caller.checked.add(judge.spec.key)
    of = verdict.calls[0].served
    if of and of != judge.spec.name and facts.is_alias:
        watch.note(f"judge {judge.name}: {judge.model} is a floating name; today it is {of}")


def probe_comparison(board: Board) -> Comparison:
    """The board's own question that a judge is tried with: the shortest instruction, its first
    reference against an answer to nothing."""
    instruction = min(board.instructions, key=lambda i: (len(i.text), i.id))
    reference = board.settings.references[0]
    return Comparison(
        id=f"probe:{instruction.id}",
        instruction=instruction,
        output_1=board.references[reference][instruction.id].text,
        output_2=NULL_ANSWER,
        generator_1=reference,
        generator_2="null",
    )


def _check_local(board: Board, judge: LLMJudge) -> None:
    """A model in this process: its files are there, and are those that the board was made with."""
    if judge.spec.provider == "fake":
        return
    from judges.backends.checkpoint import find_checkpoint

    checkpoint = find_checkpoint(judge.spec.name, adapter=judge.args.get("adapter"))
    if (
        judge.weights is not None
        and (found := checkpoint.fingerprint()["weights"]) != judge.weights
    ):
        raise UserError(
            f"judge {judge.name}: {judge.model} holds other weights ({found[:19]}…) than board "
            f"{board.name} was made with ({judge.weights[:19]}…). Put the right model there, or "
            f"make a board with this one: leaderboard rejudge {board.name}"
        )


def _probe(board: Board, judge: LLMJudge, caller: Caller) -> Verdict:
    shown = [Shown(probe_comparison(board), "original" if judge.sees_order else "none")]
    task = Task(board.name, "", judge.name, "probe", results_folder(board))
    (verdict,) = judge.judge(shown, caller, task, fresh=True)
    return verdict


def _check_window(board: Board, judge: LLMJudge, window: int | None) -> None:
    """Raises UserError where the longest comparison of references cannot fit, at the fewest tokens
    that it can have."""
    if window is None:
        return
    longest = max(board.instructions, key=lambda i: _length(i, board.references))
    names = board.settings.references
    texts = [board.references[name][longest.id].text for name in (names[0], names[-1])]
    pair = Comparison(
        id="longest",
        instruction=longest,
        output_1=texts[0],
        output_2=texts[1],
        generator_1="",
        generator_2="",
    )
    requests = judge.requests(Shown(pair, "original" if judge.sees_order else "none"))
    needed = max(
        sum(len(turn.content) for turn in request.messages) / CHARACTERS_PER_TOKEN[0]
        for request in requests
    ) + (judge.max_tokens or 0)
    if needed > window:
        raise UserError(
            f"{judge.model} takes {window} tokens, and the comparison of instruction "
            f"{longest.id!r} needs {needed:.0f} at least"
        )


def _length(instruction: Instruction, references: Mapping[str, Mapping[str, Output]]) -> int:
    return len(instruction.text) + sum(len(of[instruction.id].text) for of in references.values())


def _line(board: Board, judge: LLMJudge, parameter: str) -> str:
    """Where panel.toml sets a parameter."""
    file = board.path / "panel.toml"
    index = board.panel.names.index(judge.name)
    line = line_of(file, index, parameter)
    at = f", line {line}" if line is not None else ""
    return f"{file}{at} (judge {judge.name})"


def _ways_out(board: Board, error: UserError) -> str:
    """What can be done without the key that is missing."""
    if not isinstance(error, MissingKeyError):
        return ""
    return (
        ". Without a key: the board `starter` needs none; this board with a judge on this machine: "
        f"leaderboard board new {board.name}-local --from {board.name} --judge pairwise/PATH; "
        "answers alone: --only generate"
    )
