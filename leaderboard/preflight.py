"""Before anything is loaded or paid: can every judge of a board judge, and what will it cost?

Each judge behind a server is asked one question of the board's own: that proves the key, the
endpoint, every parameter, the form of the verdict and the log-probabilities. The reply is kept in
the cache like any other, and a judge whose replies are all there is not asked.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from judges.asking import CUT, LLMJudge
from judges.backends.base import ParameterRefused
from judges.backends.spec import ModelSpec
from judges.base import Shown, Verdict
from judges.budget import BUDGET, BudgetGate
from judges.calling import Caller, Task
from judges.errors import MissingKeyError, UserError
from judges.pairwise_logprob import NO_LABEL, NO_LOGPROBS
from judges.panel_files import line_of
from judges.records import digest
from judges.schema import Comparison, Instruction, Output
from judges.verdicts import NOT_JSON
from leaderboard.boards import Board
from leaderboard.controls import NULL_ANSWER, control_items
from leaderboard.estimate import CHARACTERS_PER_TOKEN, dollars, estimate, in_dollars, total
from leaderboard.judging import held_verdicts, outstanding, results_folder
from leaderboard.results import Row
from leaderboard.self_judging import excluded
from leaderboard.watch import Watch

MIN_FREE_BYTES = 200 * 2**20
"""On the disk that the board lies on."""
SET_UP_FAULTS = {CUT: "max_tokens", NOT_JSON: "form", NO_LOGPROBS: "kind", NO_LABEL: "first_label"}
"""Why a first verdict can be missing that says the same of all to come, and the key of panel.toml
that has to do with it."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What a judge behind a server is tried with, and where its settings stand."""

    shown: Shown
    longest: Shown
    """It must fit into the model's window."""
    task: Task
    where: Callable[[str], str]
    """Parameter → its place, for a complaint."""


def llm_judges(board: Board) -> list[LLMJudge]:
    """The judges of a board that ask a language model."""
    return [judge for judge in board.panel.judges if isinstance(judge, LLMJudge)]


def check_before_answers(
    board: Board, model: ModelSpec, caller: Caller, watch: Watch, *, is_judged: bool
) -> None:
    """Check a model that is to answer and, where the answers will be judged, every judge that asks
    a model: all keys first, and nobody is paid before all is known that can be known for nothing.
    """
    judges = llm_judges(board) if is_judged else []
    if judges or model.is_remote:
        check_disk(board)
    check_reach(judges, caller, board)
    if model.is_remote:
        caller.remote(model)
        _check_price(model, caller)
        _note_facts(f"{model.spec}", model, caller, watch)
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
) -> list[LLMJudge]:
    """Check the judges that have something left to judge in these rows, unless all replies are in
    the cache; and tell what the calls will cost. Gives these judges."""
    judges = llm_judges(board)
    if not judges:
        return []
    check_disk(board)
    held = [(held_verdicts(of, pairs), pairs, excluded(board, of)) for of, pairs in work]
    costs, needed = [], []
    for judge in judges:
        left = [
            view
            for of, pairs, without in held
            for view in outstanding(board, judge, pairs, of, without)
        ]
        requests = [request for view in left for request in judge.requests(view)]
        n_left = caller.n_uncached(judge.spec, requests) if judge.spec.is_remote else len(requests)
        if n_left:
            needed.append(judge)
        if n_left and judge.spec.is_remote:
            n_stored = len(requests) - n_left
            prices, tokens, batch = caller.price_table, judge.reply_tokens, caller.batch
            costs.append(
                estimate(judge.name, judge.spec, requests, tokens, prices, n_stored, batch=batch)
            )
    check_reach(needed, caller, board)
    if costs:
        n_calls = sum(of.n_calls for of in costs)
        watch.note(
            f"{n_calls:,} {'call' if n_calls == 1 else 'calls'} to judges, {in_dollars(costs)}"
        )
    most, expected = caller.budget.max_usd, total(costs)
    if most is not None and expected is not None and expected[1] > caller.budget.left_usd:
        watch.note(f"that is more than is left of the budget of {dollars(most)}")
    for judge in needed:
        check_judge(board, judge, caller, watch)
    return needed


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
        _check_local(board, judge)
        return True
    trial = Trial(
        probe(board, judge)[0],
        _longest(board, judge),
        Task(board.name, "", judge.name, "probe", results_folder(board)),
        lambda parameter: _line(board, judge, parameter),
    )
    return try_judge(judge, trial, caller, watch)


def try_judge(judge: LLMJudge, trial: Trial, caller: Caller, watch: Watch) -> bool:
    """Ask a judge behind a server one question, once for every Caller.

    False where its server failed in a way that can pass. Raises UserError that says what is wrong
    and where: the key's name, the server, a parameter that the server refuses, a window that is too
    small for the longest comparison, log-probabilities that do not come, a form that the server
    does not obey.
    """
    key = f"{judge.spec.key} {digest(judge.identity())}"
    if key in caller.checked:
        return True
    try:
        context = _note_facts(f"judge {judge.name}: {judge.model}", judge.spec, caller, watch)
        _check_window(judge, trial.longest, context)
        verdict = _probe(judge, trial, caller)
    except ParameterRefused as error:
        raise UserError(f"{trial.where(error.parameter)}: {error}") from None
    except UserError as error:
        raise UserError(f"judge {judge.name}: {error}") from None
    if verdict.error in SET_UP_FAULTS:
        raise UserError(
            f"{trial.where(SET_UP_FAULTS[verdict.error])}: its first reply cannot be read: "
            f"{verdict.error}. Nothing else has been asked yet"
        )
    if not verdict.calls:
        if verdict.error != BUDGET:
            watch.note(
                f"judge {judge.name}: the first call to {judge.model} failed: {verdict.error}"
            )
        return verdict.error == BUDGET
    caller.checked.add(key)
    served, facts = verdict.calls[0].served, caller.price_table.facts(judge.spec)
    if facts.is_alias:
        now = f"; it stands for {served}" if served and served != judge.spec.name else ""
        watch.note(
            f"judge {judge.name}: {judge.model} is a name behind which its provider can put another "
            f"model at any time{now}"
        )
    return True


def probe(board: Board, judge: LLMJudge) -> list[Shown]:
    """The board's own question that a judge is tried with: the shortest instruction that controls
    are judged on, its first reference against an answer to nothing."""
    instruction = min(control_items(board), key=lambda i: (len(i.text), i.id))
    reference = board.settings.references[0]
    pair = Comparison(
        id=f"probe:{instruction.id}",
        instruction=instruction,
        output_1=board.references[reference][instruction.id].text,
        output_2=NULL_ANSWER,
        generator_1=reference,
        generator_2="null",
    )
    return [Shown(pair, "original" if judge.sees_order else "none")]


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


def check_reach(judges: Sequence[LLMJudge], caller: Caller, board: Board | None = None) -> None:
    """Raises UserError where a judge behind a server has no key or no address, or no price where
    there is a budget; calls nobody."""
    for judge in judges:
        if not judge.spec.is_remote:
            continue
        try:
            caller.remote(judge.spec)
            _check_price(judge.spec, caller)
        except UserError as error:
            ways_out = "" if board is None else _ways_out(board, error)
            raise UserError(f"judge {judge.name}: {error}{ways_out}") from None


def _check_price(spec: ModelSpec, caller: Caller) -> None:
    if caller.budget.max_usd is not None:
        BudgetGate(caller.budget, spec, caller.price_table)


def _note_facts(who: str, spec: ModelSpec, caller: Caller, watch: Watch) -> int | None:
    """Notes when a model will be gone; gives its window in tokens. None: nobody tells."""
    told, known = caller.facts(spec), caller.price_table.facts(spec)
    if date := told.shutdown or known.shutdown:
        watch.note(f"{who} is shut down by its provider on {date}")
    return told.context or known.context


def _probe(judge: LLMJudge, trial: Trial, caller: Caller) -> Verdict:
    n_calls = caller.n_calls
    (verdict,) = judge.judge([trial.shown], caller, trial.task)
    # What could not be read once may be mended since.
    if verdict.error in SET_UP_FAULTS and caller.n_calls == n_calls:
        (verdict,) = judge.judge([trial.shown], caller, trial.task, fresh=True)
    return verdict


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


def _check_window(judge: LLMJudge, longest: Shown, window: int | None) -> None:
    """Raises UserError where the longest comparison cannot fit, at the fewest tokens that it can
    have."""
    needed = max(
        sum(len(turn.content) for turn in request.messages) / CHARACTERS_PER_TOKEN[0]
        for request in judge.requests(longest)
    ) + (judge.max_tokens or 0)
    if window is not None and needed > window:
        raise UserError(
            f"{judge.model} takes {window} tokens, and the comparison of instruction "
            f"{longest.instruction.id!r} needs {needed:.0f} at least"
        )


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
