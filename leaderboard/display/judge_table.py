"""What judges need and whether it is there, what they cost, and what is known of their models.

Nothing is asked of a model or a server: keys are looked for by name, models in their folders, and
prices in the table of `judges.calling.prices`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from judges.asking.llm_judge import LLMJudge
from judges.backends.spec import DEFAULT_URLS, ModelSpec
from judges.base import Judge, Orders, Shown, judge_digest
from judges.calling.prices import Prices
from judges.errors import UserError
from judges.kinds.recorded import Recorded
from judges.panel import Assign, Panel
from judges.panel_files import SLOT, fill_models, model_slots
from judges.registry import (
    EXAMPLES,
    KINDS,
    make_judge,
    make_panel,
    packaged_panels,
    read_panel,
    spec_of,
    wanted_panel,
)
from judges.schema import Comparison, Instruction, Message
from leaderboard.boards.board import Board
from leaderboard.judging.estimate import estimate

_PACKAGES = {
    "openai": ("openai", "api"),
    "openai-api": ("openai", "api"),
    "anthropic": ("anthropic", "api"),
    "vllm": ("vllm", "vllm"),
    "transformers": ("transformers", "local"),
}
"""Provider → the package that it takes, and the extra that installs it."""

KIND_NEEDS = {
    "checklist": "instructions with checks",
    "recorded": "a file of verdicts",
    "pairwise": "a language model",
    "pairwise_logprob": "a language model that gives log-probabilities",
    "pointwise": "a language model",
    "checklist_llm": "a language model, and instructions with criteria",
    "reward_model": "a folder with a sequence classifier",
    "alpaca_eval": "a folder with an evaluator config, and its model",
}

TYPICAL = Comparison(
    id="typical",
    instruction=Instruction(
        id="typical",
        messages=(Message("user", "words " * 40),),
        checks=({"kind": "words", "max": 300},),
        gold_answer="words " * 100,
    ),
    output_1="words " * 300,
    output_2="words, " * 250,
    generator_1="",
    generator_2="",
)
"""Stands for a comparison where no board is named: 240 characters asked, 1,800 answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeLine:
    """One judge; None is not known."""

    judge: str
    kind: str
    model: str = ""
    needs: Sequence[str] = ()
    missing: Sequence[str] = ()
    """What of it is not there."""
    usd_per_1000: float | None = None
    """USD for 1,000 comparisons."""
    logprobs: bool | None = None
    context: int | None = None
    shutdown: date | None = None
    is_alias: bool | None = None
    """Whether the provider may put another model behind the name."""
    agreement: float | None = None
    """With people, by the report of `agree` that has most pairs; None where there is none."""
    digest: str = ""
    """Of the judge's identity; empty where its model is left open."""
    host: str = ""
    """Where a provider's model is served, if not by the provider: its facts are not known then."""


# ----------------------------------------------------------------------------------- of one panel
def panel_lines(spec: str | Path, models: Sequence[str] = ()) -> list[JudgeLine]:
    """The judges of what --panel names, whose models may be left open."""
    wanted, folder, file = wanted_panel(str(spec))
    panel = _filled(wanted, models)
    closed = [table for table in panel["judges"] if not SLOT.fullmatch(str(table.get("model")))]
    if len(closed) == len(panel["judges"]):
        return judge_lines(make_panel(panel, folder, file), [TYPICAL], "both")
    prices = Prices.load()
    lines = []
    for table in panel["judges"]:
        if table in closed:
            own = {key: value for key, value in table.items() if key != "weight"}
            lines.append(judge_line(make_judge(own, folder), [TYPICAL], "both", prices))
            continue
        slot = str(table["model"])
        need = f"--judge-model {slot.strip('{}')}=MODEL"
        name = str(table.get("name", table["kind"]))
        lines.append(
            JudgeLine(
                judge=name, kind=table["kind"], model=slot, needs=(need,), missing=("a model",)
            )
        )
    return lines


def board_lines(board: Board) -> list[JudgeLine]:
    """The judges of a board, with prices for comparisons as long as those of its references."""
    reference = board.references[board.settings.references[0]]
    pairs = [
        Comparison(
            id=i.id,
            instruction=i,
            output_1=reference[i.id].text,
            output_2=reference[i.id].text + " ",  # nobody is asked about equal texts
            generator_1="",
            generator_2="",
        )
        for i in board.first(100)
    ]
    return judge_lines(board.panel, pairs, board.settings.orders)


def judge_lines(panel: Panel, pairs: Sequence[Comparison], orders: Orders) -> list[JudgeLine]:
    """The judges of a panel; the price is for 1,000 of such comparisons, were a judge to see all."""
    prices = Prices.load()
    return [judge_line(judge, pairs, orders, prices) for judge in panel.judges]


def judge_line(
    judge: Judge, pairs: Sequence[Comparison], orders: Orders, prices: Prices
) -> JudgeLine:
    """What is known of one judge."""
    kind = str(judge.identity()["kind"])
    spec = spec_of(judge)
    if spec is None:
        needs, missing = _needs_of_program(judge)
        return JudgeLine(
            judge=judge.name,
            kind=kind,
            needs=needs,
            missing=missing,
            usd_per_1000=0.0,
            digest=judge_digest(judge),
        )
    needs, missing = needs_of_model(spec)
    facts = prices.facts(spec)
    return JudgeLine(
        judge=judge.name,
        kind=kind,
        model=spec.spec,
        needs=needs,
        missing=missing,
        usd_per_1000=_price(judge, spec, pairs, orders, prices),
        logprobs=facts.logprobs,
        context=facts.context,
        shutdown=facts.shutdown,
        is_alias=facts.is_alias,
        digest=judge_digest(judge),
        host=_other_host(spec),
    )


def _other_host(spec: ModelSpec) -> str:
    try:
        url, own = spec.url, DEFAULT_URLS.get(spec.provider)
    except UserError:
        return ""
    return urlsplit(url).hostname or "" if url and own and url != own else ""


def together(lines: Sequence[JudgeLine], assign: Assign) -> float | None:
    """USD for 1,000 comparisons by the panel; None where one of the prices is not known. Where some
    judges are drawn for an item, it is the mean over the draws."""
    known = [line.usd_per_1000 for line in lines if line.usd_per_1000 is not None]
    if len(known) < len(lines):
        return None
    drawn = {"all": len(known), "one": 1}.get(str(assign), assign)
    return sum(known) * int(drawn) / len(known)


def _filled(panel: Mapping[str, Any], models: Sequence[str]) -> dict[str, Any]:
    """The panel with these models in its slots, those that are not named staying open."""
    slots = model_slots(panel)
    named = {text.partition("=")[0] for text in models}
    if any(text.partition("=")[0] not in slots for text in models):  # one for all, or a fault
        return fill_models(panel, models)
    return fill_models(panel, [*models, *(f"{s}={{{s}}}" for s in slots if s not in named)])


def _price(
    judge: Judge, spec: ModelSpec, pairs: Sequence[Comparison], orders: Orders, prices: Prices
) -> float | None:
    """USD for 1,000 comparisons like these; None where the price is not known."""
    if not isinstance(judge, LLMJudge):
        return 0.0  # it runs in this process
    places = 2 if judge.sees_order and orders == "both" else 1
    requests = [request for pair in pairs for request in judge.requests(Shown(pair, "original"))]
    costs = estimate(judge.name, spec, requests, judge.reply_tokens, prices).cost_usd
    return None if costs is None else 1000 * places * costs[1] / len(pairs)


# ---------------------------------------------------------------------------------- what is needed
def needs_of_model(spec: ModelSpec) -> tuple[list[str], list[str]]:
    """What a model needs to be asked, by name, and what of it is not there."""
    needs, missing = [], []

    def need(what: str, is_there: bool) -> None:
        needs.append(what)
        if not is_there:
            missing.append(what)

    if (package := _PACKAGES.get(spec.provider)) is not None:
        need(f"herdbook[{package[1]}]", find_spec(package[0]) is not None)
    if spec.is_remote:
        try:
            # A server of one's own may need no key.
            is_keyed = spec.provider != "openai-api" or spec.api_key_env is not None
            if is_keyed and (key := spec.key_variable):
                need(key, bool(os.environ.get(key)))
        except UserError as error:
            need(str(error), False)
        try:
            if spec.url != DEFAULT_URLS.get(spec.provider):
                need(f"a server at {spec.url}", True)
        except UserError:
            need("a base_url", False)
    elif not spec.spec.startswith("hf/") and (
        spec.provider == "transformers" or Path(spec.name).is_absolute()
    ):
        need(f"the folder {spec.name}", Path(spec.name).is_dir())
    return needs, missing


def _needs_of_program(judge: Judge) -> tuple[list[str], list[str]]:
    if isinstance(judge, Recorded):
        if judge.path is None:
            return ["verdicts in the board's rows"], []
        file = judge.folder / judge.path
        return [str(judge.path)], [] if file.is_file() else [str(judge.path)]
    if (need := KIND_NEEDS.get(str(judge.identity()["kind"]))) is not None:
        return [need], []
    return [], []


# -------------------------------------------------------------------------------------- the overview
_MODELS = {
    "openai/NAME": "OpenAI",
    "anthropic/NAME": "Anthropic",
    "openai-api/NAME": "any server that speaks OpenAI's chat completions",
    "vllm/PATH_OR_NAME": "in this process, by vLLM",
    "hf/ORG/NAME": "in this process, by transformers; or a folder",
}


def overview() -> list[dict[str, Any]]:
    """One record a kind, a way to write a model, and a packaged panel: what, name, is, needs,
    missing."""
    records = [
        {
            "what": "kind",
            "name": kind,
            "is": EXAMPLES.get(kind, kind),
            "needs": KIND_NEEDS.get(kind, ""),
            "missing": "",
        }
        for kind in KINDS
    ]
    for spec, what in _MODELS.items():
        needs, missing = needs_of_model(ModelSpec(spec=spec))
        found = {"needs": _joined(needs), "missing": _joined(missing)}
        records.append({"what": "model", "name": spec, "is": what, **found})
    for name, file in packaged_panels().items():
        lines, note = panel_lines(file), str(read_panel(file).get("note", ""))
        records.append(
            {
                "what": "panel",
                "name": name,
                "is": note,
                "needs": _joined(need for line in lines for need in line.needs),
                "missing": _joined(need for line in lines for need in line.missing),
            }
        )
    return records


def line_record(line: JudgeLine) -> dict[str, Any]:
    """A judge as a record for programs."""
    return {
        "judge": line.judge,
        "kind": line.kind,
        "model": line.model,
        "needs": _joined(line.needs),
        "missing": _joined(line.missing),
        "usd_per_1000": line.usd_per_1000,
        "logprobs": line.logprobs,
        "context": line.context,
        "shutdown": None if line.shutdown is None else line.shutdown.isoformat(),
        "is_alias": line.is_alias,
        "agreement": line.agreement,
    }


def _joined(parts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(parts))
