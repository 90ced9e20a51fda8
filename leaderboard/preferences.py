"""Preferences to train on: pairs of answers, judged by a panel, with AlpacaFarm's label noise.

A simulated annotator is a panel that draws one judge for each instruction, and flips labels at a
rate p. As in AlpacaFarm (arXiv:2305.14387) a flip costs nothing: with probability 2p the label is
that of a fair coin, which is a flip with probability p, and nobody is asked. Two equal answers are
a tie, and nobody is asked either. All draws hang on what is judged and on the seed, not on the run,
the machine or the other pairs: judge and order on the instruction, the coin on the whole pair.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from judges.asking.llm_judge import LLMJudge
from judges.backends.base import Request
from judges.base import Orders, Shown, annotate, presentations, stable_fraction
from judges.calling.caller import Caller, Task
from judges.errors import UserError
from judges.panel import COIN, Panel, panel_preferences
from judges.records import to_line, validated, write_atomic
from judges.schema import Annotation, Comparison, Instruction, Message
from leaderboard.answers.answers import with_input
from leaderboard.boards.evalset import check_instruction
from leaderboard.curation.create import PROMPT_COLUMNS, decoded, turns_of
from leaderboard.judging.estimate import Estimate, estimate
from leaderboard.judging.preflight import check_local, check_reach, check_rewards
from leaderboard.judging.trial import Trial, try_judge
from leaderboard.rows.results import annotation_frame
from leaderboard.user_files import read_rows
from leaderboard.watch import SILENT, Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """One line of prefs.jsonl: a prompt, two answers, and the probability that 2 is better."""

    id: str
    """The digest of all its texts."""
    messages: tuple[Message, ...]
    output_1: str
    output_2: str
    preference: float
    annotators: Mapping[str, float]
    """Every vote by the judge's name, or the coin's; empty for two equal answers."""


@dataclass(frozen=True, slots=True)
class Annotated:
    """What came of annotating pairs; a pair without a preference is left out and counted."""

    preferences: tuple[Preference, ...]
    n_pairs: int
    errors: Mapping[str, int]
    """Why votes are missing → how many."""
    n_coins_left_out: int
    """Labels by a coin that are left out, as many as make their share that of all pairs."""

    @property
    def coverage(self) -> float:
        return len(self.preferences) / self.n_pairs


# ------------------------------------------------------------------------------------------ pairs
def read_pairs(
    path: Path, *, multi: bool = False, seed: int = 0, watch: Watch = SILENT
) -> list[Comparison]:
    """The pairs of a file (json, jsonl, csv, parquet), each once; the id is the pair's digest.

    A row has a prompt (`messages`, `instruction` with AlpacaFarm's `input` below it, `prompt`,
    `query` or `question`) and `output_1` and `output_2`. With `multi` it has one sample or several
    under `output`: the different samples of an instruction are shuffled by a stable hash and paired
    up, each used once. `checks` are criteria for judges that read them; of several samples those of
    the first row hold. Lists are JSON text in a CSV file. Raises UserError with the line for what is
    missing.
    """
    pairs: dict[str, Comparison] = {}
    found = [*(_samples(path, seed, watch) if multi else _pairs(path))]
    for asked, one, two in found:
        pair = _comparison("", asked, one, two)
        pairs.setdefault(pair.digest, pair)
    if not pairs:
        raise UserError(f"{path}: there are no two different samples of one instruction")
    if repeated := len(found) - len(pairs):
        watch.note(f"{repeated} of {len(found)} pairs repeat others, and are left out")
    return [
        _comparison(digest, pair.instruction, pair.output_1, pair.output_2)
        for digest, pair in pairs.items()
    ]


def _comparison(name: str, asked: Instruction, one: str, two: str) -> Comparison:
    return Comparison(
        id=name,
        instruction=replace(asked, id=name),
        output_1=one,
        output_2=two,
        generator_1="1",
        generator_2="2",
    )


def _pairs(path: Path) -> Iterator[tuple[Instruction, str, str]]:
    for where, row in read_rows(path):
        one, two = (_answer(row, column, path) for column in ("output_1", "output_2"))
        if one is None or two is None:
            is_multi = "output_1" not in row and row.get("output") is not None
            hint = ". Samples of one instruction are paired up with --multi" if is_multi else ""
            raise UserError(f"{where}: output_1 and output_2 must be texts{hint}")
        yield _asked(row, where), one, two


def _answer(row: Mapping[str, Any], column: str, path: Path) -> str | None:
    """An empty cell of a CSV file is an empty answer; a null elsewhere is none."""
    given = row.get(column)
    if given is None and column in row and path.suffix.lower() == ".csv":
        return ""
    return given if isinstance(given, str) else None


def _samples(path: Path, seed: int, watch: Watch) -> Iterator[tuple[Instruction, str, str]]:
    samples: dict[tuple[Message, ...], tuple[Instruction, dict[str, None]]] = {}
    n = 0
    for where, row in read_rows(path):
        one = _answer(row, "output", path)
        texts = row.get("output") if one is None else _listed(one, path)
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise UserError(f"{where}: output must be a text or a list of texts")
        n += len(texts)
        asked = _asked(row, where)
        samples.setdefault(asked.messages, (asked, {}))[1].update(dict.fromkeys(texts))
    paired = 0
    for asked, different in samples.values():
        prompt = to_line(list(asked.messages))
        shuffled = sorted(different, key=lambda text: stable_fraction(seed, "pair", prompt, text))
        for one, two in zip(shuffled[::2], shuffled[1::2], strict=False):
            paired += 2
            yield asked, one, two
    if n > paired:
        watch.note(
            f"{n - paired} of {n} samples are in no pair: they repeat another one, or are left over"
        )


def _listed(text: str, path: Path) -> list[str]:
    """The samples in a text: those of a JSON list in a cell of a CSV file, else itself."""
    if path.suffix.lower() == ".csv" and text.lstrip().startswith("["):
        try:
            texts = json.loads(text)
        except ValueError:
            return [text]
        if isinstance(texts, list) and all(isinstance(one, str) for one in texts):
            return texts
    return [text]


def _asked(row: Mapping[str, Any], where: str) -> Instruction:
    column = next((name for name in PROMPT_COLUMNS if row.get(name) is not None), None)
    if column is None:
        raise UserError(f"{where}: no prompt; give a column {', '.join(PROMPT_COLUMNS)}")
    prompt = row[column]
    if column == "instruction" and isinstance(prompt, str):
        prompt = with_input(prompt, row)
    checks = decoded(row.get("checks"), where) or ()
    turns = turns_of(prompt, where, column)
    record = {"id": "pair", "messages": turns, "checks": checks}
    instruction = validated(Instruction, record, where)
    check_instruction(instruction, where)
    return instruction


# ---------------------------------------------------------------------------------- who says what
@dataclass(frozen=True, slots=True)
class Plan:
    """Who is to be asked about which pairs; made without asking anybody."""

    pairs: Sequence[Comparison]
    panel: Panel
    orders: Orders
    seed: int
    known: Mapping[str, tuple[float, Mapping[str, float]]]
    """Pair → label and vote of those that nobody is asked about."""
    shown: Mapping[str, Sequence[Shown]]
    """Judge → what it is to be shown."""

    @property
    def asking(self) -> list[tuple[LLMJudge, list[Request]]]:
        """The judges that will ask a model, and what."""
        judges = [judge for judge in self.panel.judges if isinstance(judge, LLMJudge)]
        asked = [(j, [r for view in self.shown[j.name] for r in j.requests(view)]) for j in judges]
        return [(judge, requests) for judge, requests in asked if requests]


def plan_annotation(
    pairs: Sequence[Comparison],
    panel: Panel,
    *,
    flip: float = 0.0,
    orders: Orders = "random",
    seed: int = 0,
) -> Plan:
    """Draw coins, judges and orders; `flip` is the rate p of label noise.

    Raises UserError for a rate outside 0..0.5, and for a judge that cannot judge the pairs.
    """
    if not 0 <= flip <= 0.5:
        raise UserError(f"--flip {flip}: a rate from 0 to 0.5 is needed")
    panel.check([pair.instruction for pair in pairs])
    known: dict[str, tuple[float, Mapping[str, float]]] = {}
    own: dict[str, list[Comparison]] = {name: [] for name in panel.names}
    for pair in pairs:
        if pair.output_1 == pair.output_2:
            known[pair.id] = 0.5, {}
        elif stable_fraction(seed, "flip", pair.digest) < 2 * flip:
            label = float(stable_fraction(seed, "coin", pair.digest) < 0.5)
            known[pair.id] = label, {COIN: label}
        else:
            for judge in panel.assigned(pair.instruction, seed):
                own[judge.name].append(pair)
    shown = {j.name: presentations(j, own[j.name], orders, seed) for j in panel.judges}
    return Plan(pairs, panel, orders, seed, known, shown)


def estimates(plan: Plan, caller: Caller) -> list[Estimate]:
    """What the plan's calls will cost, judge by judge."""
    found = []
    for judge, asked in plan.asking:
        requests = list({request.messages: request for request in asked}.values())
        is_remote = judge.spec.is_remote
        n_stored = len(requests) - caller.n_uncached(judge.spec, requests) if is_remote else 0
        what, prices = f"judging by {judge.name}", caller.price_table
        tokens, batch = judge.reply_tokens, caller.batch
        found.append(estimate(what, judge.spec, requests, tokens, prices, n_stored, batch=batch))
    return found


def check_plan(plan: Plan, caller: Caller, watch: Watch) -> None:
    """Try every judge behind a server with one of its own pairs, before the others are paid for,
    unless all its replies are in the cache.

    Raises UserError for a missing key, for what the server refuses, for replies that cannot be read,
    and for a model in this process that is not the one that the panel names.
    """
    left = [
        judge
        for judge, requests in plan.asking
        if judge.spec.is_remote and caller.n_uncached(judge.spec, requests)
    ]
    check_reach(left, caller)
    check_local(judge for judge, _ in plan.asking)
    check_rewards([judge for judge in plan.panel.judges if plan.shown[judge.name]])
    for judge in left:
        by_length = sorted(plan.shown[judge.name], key=lambda view: _length(view.comparison))
        views = [view for view in by_length if judge.requests(view)]
        task = Task(judge=judge.name, purpose="probe")
        trial = Trial(views, views[-1], task, partial("judge {}, {}".format, judge.name))
        try_judge(judge, trial, caller, watch)


def _length(pair: Comparison) -> int:
    turns = sum(len(turn.content) for turn in pair.instruction.messages)
    return turns + len(pair.output_1) + len(pair.output_2)


def annotate_pairs(plan: Plan, caller: Caller, watch: Watch = SILENT) -> Annotated:
    """Have the judges of the plan say which answer of each pair is better."""
    panel = plan.panel
    if caller.batch:
        caller.submit([(judge.spec, requests) for judge, requests in plan.asking])
    verdicts = [a for judge in panel.names for a in _verdicts(plan, judge, caller, watch)]
    left = [pair for pair in plan.pairs if pair.id not in plan.known]
    both = plan.orders == "both"
    items = panel_preferences(
        annotation_frame(verdicts),
        [pair.id for pair in left],
        panel.names,
        aggregate=panel.aggregate,
        weights=panel.weights,
        n_orders=[2 if judge.sees_order and both else 1 for judge in panel.judges],
        assigned=panel.assignment([pair.instruction for pair in left], plan.seed),
    )
    labels = dict(plan.known)
    for name, label, *votes in items[["comparison_id", "preference", *panel.names]].to_numpy():
        if not math.isnan(label):
            each = zip(panel.names, votes, strict=True)
            labels[name] = label, {judge: float(v) for judge, v in each if not math.isnan(v)}
    spare = _spare_coins(plan, (len(labels) - len(plan.known)) / len(left) if left else 1.0)
    made = (
        Preference(
            id=pair.id,
            messages=pair.instruction.messages,
            output_1=pair.output_1,
            output_2=pair.output_2,
            preference=float(labels[pair.id][0]),
            annotators=labels[pair.id][1],
        )
        for pair in plan.pairs
        if pair.id in labels and pair.id not in spare
    )
    errors = Counter(a.error or "no verdict" for a in verdicts if a.preference is None)
    return Annotated(tuple(made), len(plan.pairs), errors, len(spare))


def _spare_coins(plan: Plan, share: float) -> set[str]:
    """The pairs whose coin is left out where only this share of the others has a label: with all
    of them, more labels than the rate says would be flipped."""
    by_coin = [pair for pair in plan.pairs if COIN in plan.known.get(pair.id, (0.5, {}))[1]]
    by_coin.sort(key=lambda pair: stable_fraction(plan.seed, "spare", pair.digest))
    return {pair.id for pair in by_coin[round(share * len(by_coin)) :]}


def _verdicts(plan: Plan, name: str, caller: Caller, watch: Watch) -> list[Annotation]:
    judge = next(judge for judge in plan.panel.judges if judge.name == name)
    shown = plan.shown[name]
    judged = annotate(judge, shown, caller, Task(judge=name, purpose="annotate"))
    return [a for a, _ in watch.track(judged, len(shown), f"judging ({name})")]


def write_preferences(path: Path, preferences: Iterable[Preference]) -> None:
    """Write prefs.jsonl, in one step."""
    write_atomic(path, "".join(to_line(preference) + "\n" for preference in preferences))
