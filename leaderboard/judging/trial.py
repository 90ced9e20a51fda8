"""A judge behind a server is tried with a question or a few before all the others are paid for.

One reply that can be read proves the key, the endpoint, every parameter and the form of the
verdict. One that cannot may be bad luck; three in a row, to different questions, are a judge that
does not keep to its form, and would leave the whole board without a verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from judges.asking.llm_judge import CUT, LLMJudge
from judges.asking.verdicts import NOT_JSON
from judges.backends.base import ParameterRefused
from judges.backends.spec import ModelSpec
from judges.base import Shown, Verdict
from judges.calling.budget import BUDGET
from judges.calling.caller import Caller, Task
from judges.errors import UserError
from judges.kinds.pairwise_logprob import NO_LABEL, NO_LOGPROBS
from judges.reading import printable
from judges.records import digest
from leaderboard.judging.estimate import CHARACTERS_PER_TOKEN
from leaderboard.watch import Watch

TRIES = 3
"""Questions that a judge is asked at most before it is said that it cannot be read."""
SHOWN_CHARACTERS = 200
"""Of a reply that cannot be read."""
_SURE = {CUT: "max_tokens", NO_LOGPROBS: "kind"}
"""Why a first verdict can be missing that says the same of all to come, and the key of panel.toml
that has to do with it."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What a judge behind a server is tried with, and where its settings stand."""

    shown: Sequence[Shown]
    """The questions; the first TRIES of them are asked at most."""
    longest: Shown
    """It must fit into the model's window."""
    task: Task
    where: Callable[[str], str]
    """Parameter → its place, for a complaint."""


def try_judge(judge: LLMJudge, trial: Trial, caller: Caller, watch: Watch) -> bool:
    """Ask a judge behind a server a question, once for every Caller, and two more where the reply
    cannot be read.

    False where its server failed in a way that can pass. Raises UserError that says what is wrong
    and where: the key's name, the server, a parameter that the server refuses, a window that is too
    small for the longest comparison, log-probabilities that do not come, a form that the judge
    does not obey.
    """
    key = f"{judge.spec.key} {digest(judge.identity())}"
    if key in caller.checked:
        return True
    try:
        context = note_facts(f"judge {judge.name}: {judge.model}", judge.spec, caller, watch)
        _check_window(judge, trial.longest, context)
        verdict = _tried(judge, trial, caller)
    except ParameterRefused as error:
        raise UserError(f"{trial.where(error.parameter)}: {error}") from None
    except _UnreadableError as error:
        raise UserError(str(error)) from None
    except UserError as error:
        raise UserError(f"judge {judge.name}: {error}") from None
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


def note_facts(who: str, spec: ModelSpec, caller: Caller, watch: Watch) -> int | None:
    """Notes when a model will be gone; gives its window in tokens. None: nobody tells."""
    told, known = caller.facts(spec), caller.price_table.facts(spec)
    if date := told.shutdown or known.shutdown:
        watch.note(f"{who} is shut down by its provider on {date}")
    return told.context or known.context


def is_unreadable(judge: LLMJudge, shown: Shown, verdict: Verdict) -> bool:
    """Whether the replies came, all of them, and hold no verdict."""
    return verdict.preference is None and len(verdict.calls) == len(judge.asked_about(shown))


class _UnreadableError(UserError):
    """The judge replies, and cannot be read; says where to look."""


def _tried(judge: LLMJudge, trial: Trial, caller: Caller) -> Verdict:
    """The first verdict that can be read, or that failed otherwise than by its replies.

    What proves that the judge cannot be read is not kept: once it is mended, it is asked anew.
    """
    asked = [shown for shown in trial.shown if judge.asked_about(shown)][:TRIES]
    for n, shown in enumerate(asked, 1):
        (verdict,) = judge.judge([shown], caller, trial.task)
        # What the provider keeps back says nothing of the judge's form.
        is_kept_back = any(call.finish_reason == "refused" for call in verdict.calls)
        if is_kept_back or not is_unreadable(judge, shown, verdict):
            return verdict
        has_schema = any(request.schema for request in judge.asked_about(shown))
        is_sure = verdict.error in _SURE or (verdict.error == NOT_JSON and has_schema)
        if is_sure or n == len(asked):
            requests = [r for view in asked[:n] for r in judge.asked_about(view)]
            caller.stores.forget(caller.stores.keys(judge.spec, requests))
            where = trial.where(_key_at_fault(judge, verdict))
            raise _UnreadableError(_complaint(where, verdict, 1 if is_sure else n))
    return Verdict(None, "there is no question to try it with")


def _key_at_fault(judge: LLMJudge, verdict: Verdict) -> str:
    """The key of panel.toml to look at."""
    if verdict.error in _SURE:
        return _SURE[verdict.error]
    if verdict.error == NO_LABEL:
        return "first_label"
    return "form" if hasattr(judge, "form") else "prompt"


def _complaint(where: str, verdict: Verdict, n: int) -> str:
    whose = "its first reply cannot be read" if n == 1 else f"none of {n} replies can be read"
    text = printable(verdict.calls[-1].text)[:SHOWN_CHARACTERS]
    begins = f"The last one begins: {text!r}" if text.strip() else "The last one is empty"
    return f"{where}: {whose}: {verdict.error}. {begins}. Nothing else has been asked yet"


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
