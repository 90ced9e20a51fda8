"""How AlpacaEval's parsers read a reply: for the evaluator configs that name them.

AlpacaEval (0.6.6, `completion_parsers.py`) encodes a preference as a number from 1, the first
answer shown is better, to 2, the second is; 0 is an old way to write a tie. A parser makes a list
of such numbers of a reply, and a reply that does not give exactly one has no verdict. Here the
number becomes a preference for the second answer shown, in [0, 1].

Its faults are kept, so that a published judge reads its replies as it did, but for four of them:
an expression that matches nothing at all, on which it never ends; a boolean, which it takes for a
number and stops the whole run at `false`; a tie written as 0, which stops it as well; and scores
of `nan` or `inf`, of which the first is a tie with any other. An expression may search for a second at most.
"""

from __future__ import annotations

import ast
import inspect
import json
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import regex

from judges.criteria.checks import SEARCH_SECONDS
from judges.criteria.share import parse as parse_criterion
from judges.errors import UserError

Logprobs = Sequence[tuple[str, float]]
"""The likeliest tokens at one place of a reply."""
Parse = Callable[[Any], list[Any]]
_UNREADABLE = (
    ValueError, TypeError, LookupError, AttributeError, SyntaxError, RecursionError, MemoryError,
    ArithmeticError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Parser:
    """A parser with its settings."""

    name: str
    parse: Parse
    """The values in a reply, which is its text or log-probabilities."""
    reads_logprobs: bool = False

    def preference(self, reply: str | Logprobs) -> float | None:
        """The preference for the second answer shown, or None where the reply has no verdict.

        Raises TimeoutError where the search for one takes longer than a second.
        """
        try:
            values = self.parse(reply)
        except _UNREADABLE:
            return None
        if len(values) != 1 or not is_preference(values[0]):
            return None
        return 0.5 if values[0] == 0 else float(values[0]) - 1


def is_preference(value: object) -> bool:
    """Whether AlpacaEval means a preference by it: 1 to 2, or 0."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return value == 0 or 1 <= value <= 2


def make_parser(name: object, settings: Mapping[str, Any]) -> Parser:
    """The parser that a config names; raises UserError for one that is not known, and for settings
    that are unknown, missing or of no use."""
    if not isinstance(name, str) or name not in _MAKERS:
        raise UserError(f"unknown fn_completion_parser {name!r}; known: {', '.join(_MAKERS)}")
    maker = _MAKERS[name]
    known = inspect.signature(maker).parameters
    if unknown := [key for key in settings if key not in known]:
        raise UserError(f"{name} has no setting {unknown[0]!r}")
    needed = [key for key, each in known.items() if each.default is inspect.Parameter.empty]
    if missing := [key for key in needed if key not in settings]:
        raise UserError(f"{name} needs completion_parser_kwargs.{missing[0]}")
    return Parser(name, maker(**settings), reads_logprobs=maker is _logprob)


def _regex(outputs_to_match: Any) -> Parse:
    """The values whose expressions match, in the order in which they do."""
    if not isinstance(outputs_to_match, dict) or not outputs_to_match:
        raise UserError("outputs_to_match must give an expression for 1 and one for 2")
    patterns = {}
    for value, pattern in outputs_to_match.items():
        try:
            parse_criterion(
                {"kind": "regex", "pattern": pattern}
            )  # that it is one, and not too large
        except UserError as error:
            raise UserError(f"outputs_to_match, {value!r}: {error}") from None
        with warnings.catch_warnings(action="ignore"):  # of what a later version may read
            patterns[value] = regex.compile(pattern)

    def parse(text: str) -> list[Any]:
        found: list[Any] = []
        end = time.monotonic() + SEARCH_SECONDS
        while len(found) < 2:  # two are as many as a thousand: no verdict
            hits = []
            for value, pattern in patterns.items():
                hit = pattern.search(text, timeout=max(end - time.monotonic(), 1e-3))
                if hit:
                    hits.append((hit, value))
            if not hits:
                break
            hit, value = min(hits, key=lambda pair: pair[0].start())
            if not hit.end():
                raise ValueError("an expression that matches nothing matches for ever")
            found.append(value)
            text = text[hit.end() :]
        return found

    return parse


def _lmsys() -> Parse:
    """Two scores in the first line."""

    def parse(text: str) -> list[Any]:
        one, two = map(float, text.split("\n")[0].replace(",", " ").split(" "))
        if not (math.isfinite(one) and math.isfinite(two)):
            raise ValueError("no score")
        return [1 if one > two else 2 if one < two else 0]

    return parse


def _ranking(model_1_name: str = "model_1") -> Parse:
    """The rank of the first answer's name in a list of `{"model": name, "rank": 1 or 2}`."""

    def parse(reply: Any) -> list[Any]:
        models = ast.literal_eval(reply) if isinstance(reply, str) else reply
        named = [model for model in models if model["model"] == model_1_name]
        rank = named[0]["rank"]
        return [int(rank) if rank in (1, 2) else math.nan]

    return parse


def _json(annotation_key: Any) -> Parse:
    """What stands by a key in a JSON object, or in each of a list of them."""

    def parse(text: str) -> list[Any]:
        if "```json" in text:
            text, end, _ = text.split("```json", 1)[1].partition("```")
            if not end:
                raise ValueError("the block has no end")
        loaded = json.loads(text)
        objects = [loaded] if isinstance(loaded, dict) else list(loaded)
        return objects if annotation_key is None else [each[annotation_key] for each in objects]

    return parse


def _literal() -> Parse:
    """A number, a text, a list or the like as Python writes it; nothing is ever run."""

    def parse(text: str) -> list[Any]:
        value = ast.literal_eval(text)
        return value if isinstance(value, list) else [value]

    return parse


def _logprob(
    numerator_token: Any,
    denominator_tokens: Any,
    is_binarize: Any = True,
    log_prob_index: Any = "batch",
) -> Parse:
    """2 - P(numerator) / sum of P(denominators), or 1 or 2 by which token is likeliest.

    A token that is not among the likeliest of the reply counts as impossible. Where in the reply
    the log-probabilities stand, the judge has seen to.
    """
    texts = [numerator_token, *denominator_tokens] if isinstance(denominator_tokens, list) else []
    if len(texts) < 2 or not all(isinstance(token, str) for token in texts):
        raise UserError("numerator_token must be a text, and denominator_tokens a list of texts")
    if not isinstance(is_binarize, bool):
        raise UserError("is_binarize must be true or false")
    if log_prob_index not in ("batch", 0, -1):
        raise UserError(f"log_prob_index must be 'batch', 0 or -1, not {log_prob_index!r}")

    def parse(logprobs: Logprobs) -> list[Any]:
        found = {token: math.exp(p) for token, p in logprobs if token in texts}
        if not any(found.values()):
            return [math.nan]
        probability = found.get(numerator_token, 0.0)
        if is_binarize:
            others = [found.get(token, 0.0) for token in texts[1:] if token != numerator_token]
            return [1 if all(probability > other for other in others) else 2]
        return [2 - probability / sum(found.get(token, 0.0) for token in texts[1:])]

    return parse


def _pipeline(parsers_to_kwargs: Any, is_squeeze: Any = True) -> Parse:
    """One parser after the other, each of which must find a single value."""
    if not isinstance(parsers_to_kwargs, dict) or not parsers_to_kwargs or is_squeeze is not True:
        raise UserError("pipeline_meta_parser needs parsers_to_kwargs, and is_squeeze true")
    steps = [make_parser(name, kwargs or {}) for name, kwargs in parsers_to_kwargs.items()]
    if any(step.reads_logprobs for step in steps):
        raise UserError("logprob_parser cannot stand in a pipeline_meta_parser")

    def parse(reply: Any) -> list[Any]:
        # Where one finds several values or none, no single one is left at the end.
        for step in steps:
            (reply,) = step.parse(reply)
        return [reply]

    return parse


_MAKERS: dict[str, Callable[..., Parse]] = {
    "regex_parser": _regex,
    "ranking_parser": _ranking,
    "logprob_parser": _logprob,
    "lmsys_parser": _lmsys,
    "json_parser": _json,
    "eval_parser": _literal,
    "pipeline_meta_parser": _pipeline,
}
"""Name → what makes it; the parameters are its settings."""
