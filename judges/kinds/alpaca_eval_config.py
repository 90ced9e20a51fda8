"""A published judge of AlpacaEval, from a copy of its evaluator config.

Its model, prompt, settings and parser are reproduced as they stand. That holds for what is wrong
with them as well: such a prompt has no nonce and no frames that a text could not forge, so that an
answer which talks to the judge is more likely to be obeyed than by our own kinds. Three things are
ours. The template is taken apart before it is filled, so that no text of others becomes a turn, a
placeholder or a control token, and what nobody can see is taken out of it (see `judges.prompting.quoting`).
The board says in which orders answers are shown. And a reply without a verdict is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from judges.alpaca_eval.files import PLACEHOLDER, EvaluatorConfig, read_config
from judges.asking.llm_judge import LLMJudge, in_order
from judges.asking.verdicts import EMPTY, NO_VERDICT
from judges.backends.base import TOKENS_IF_UNLIMITED, Completion, Request, Sampling, credible
from judges.base import Shown, Verdict
from judges.errors import UserError
from judges.prompting.quoting import quote
from judges.prompting.templates import Template, conversation
from judges.records import digest
from judges.schema import Message

NO_LOGPROBS = "no log-probabilities in the reply"
TOO_LONG = "the search for a verdict in the reply took too long"


@dataclass(frozen=True, kw_only=True)
class AlpacaEvalConfig(LLMJudge):
    """Judges as an evaluator config says. What the panel file sets goes before the config."""

    KIND: ClassVar[str] = "alpaca_eval"
    VERSION: ClassVar[int] = 1
    NAMES: ClassVar[frozenset[str]] = frozenset({"instruction", "output_1", "output_2"})

    name: str = ""
    """Unless given, what the config calls its annotator."""
    path: str
    """The config's folder or YAML file, seen from the panel's folder."""
    model: str = ""
    # A published judge has its own prompt, and sees the instruction and the answers alone.
    prompt: str = field(init=False, default="", repr=False)
    show_gold: bool = field(init=False, default=False, repr=False)
    show_criteria: bool = field(init=False, default=False, repr=False)
    persona: str = field(init=False, default="", repr=False)

    def __post_init__(self) -> None:
        config, call = self.config, self.config.call
        if not self.model and not call.is_chat:
            raise UserError(
                f"{config.source}: {call.model} takes a text and no turns, which Herdbook does not "
                "send; name another with `model`, which gets the prompt as turns"
            )
        if not self.model and call.base_url and not self.base_url:
            # A file from elsewhere does not say to which server a key is sent.
            raise UserError(
                f"{config.source}: its model is served at {call.base_url.rpartition('@')[2]}; if "
                "that is right, give it as `base_url`, and the key's variable as `api_key_env`"
            )
        if not self.name:
            object.__setattr__(self, "name", config.annotator)
        if not self.model:
            object.__setattr__(self, "model", call.model)
        if "tools" in call.extra and self.spec.provider not in ("openai", "openai-api"):
            raise UserError(
                f"{config.source}: its verdict comes as a function call, which {self.model} cannot "
                "make here; openai/NAME and openai-api/NAME can"
            )
        every_token = config.settings.get("log_prob_index", "batch") == "batch"
        if config.parser.reads_logprobs and every_token and self.sampling.max_tokens != 1:
            raise UserError(
                f"{config.source}: its parser wants a reply of one token: set max_tokens to 1, or "
                "log_prob_index to 0"
            )

    @cached_property
    def config(self) -> EvaluatorConfig:
        return read_config(self.folder / self.path)

    def files(self) -> Mapping[str, Path]:
        """The files that a copy needs: path below a folder of its own → file.

        In a copy, `path` leads to the first of them.
        """
        return self.config.files()

    @cached_property
    def template(self) -> Template:
        """The prompt for people to read; what is sent are the turns of the config."""
        text = "\n\n".join(turn.content for turn in self.config.turns)
        return Template(str(self.config.source), user=text)

    @property
    def sampling(self) -> Sampling:
        of = self.config.call.sampling
        return Sampling(
            max_tokens=of.max_tokens if self.max_tokens is None else self.max_tokens,
            temperature=of.temperature if self.temperature is None else self.temperature,
            top_p=of.top_p if self.top_p is None else self.top_p,
            top_k=of.top_k,
            seed=of.seed if self.seed is None else self.seed,
        )

    @property
    def all_extra(self) -> dict[str, Any]:
        """Further parameters: those of the config, then those of the panel file."""
        return {**self.config.call.extra, **self.extra}

    @property
    def reply_tokens(self) -> tuple[float, float, float]:
        most = self.sampling.max_tokens or TOKENS_IF_UNLIMITED
        return min(1, most), min(50, most), most

    def identity(self) -> Mapping[str, Any]:
        config = self.config
        return {
            "kind": self.KIND,
            "version": self.VERSION,
            "model": self.model if self.weights is None else self.weights,
            "prompt": digest(config.turns),
            "parser": config.parser.name,
            # Its keys may be numbers, which sort with no text.
            "parser_settings": digest(repr(config.settings)),
            "sampling": asdict(self.sampling),
            "top_logprobs": config.call.top_logprobs,
            "extra": in_order(self.all_extra),
            "args": self.pinned_args,
        }

    def requests(self, shown: Shown) -> Sequence[Request]:
        texts = {
            "instruction": quote(conversation(shown.instruction)),
            "output_1": quote(shown.first),
            "output_2": quote(shown.second),
        }
        turns = tuple(
            Message(turn.role, PLACEHOLDER.sub(lambda found: texts[found[1]], turn.content))
            for turn in self.config.turns
        )
        request = Request(
            id="",
            messages=turns,
            sampling=self.sampling,
            top_logprobs=self.config.call.top_logprobs,
            extra=self.all_extra,
        )
        return [request]

    def read(self, shown: Shown, completions: Sequence[Completion]) -> Verdict:
        (completion,) = completions
        parser = self.config.parser
        logprobs = credible(completion.logprobs)
        if parser.reads_logprobs and logprobs is None:
            return Verdict(None, NO_LOGPROBS)
        if not parser.reads_logprobs and not completion.text.strip():
            return Verdict(None, EMPTY)
        try:
            preference = parser.preference(
                logprobs or () if parser.reads_logprobs else completion.text
            )
        except TimeoutError:
            return Verdict(None, TOO_LONG)
        return Verdict(preference, NO_VERDICT if preference is None else None)

    def _may_be_cut(self) -> bool:
        return True  # many of these judges are to write one token
