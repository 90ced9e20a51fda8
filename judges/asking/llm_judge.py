"""What all judges have in common that ask a language model: its settings, and the way to ask it.

A kind says how a comparison becomes requests (`requests`) and how their completions become a
verdict (`read`); everything between is here. Each request stands for itself: no kind puts several
comparisons into one prompt.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from judges.backends.base import TOKENS_IF_UNLIMITED, Completion, Failure, Request, Sampling
from judges.backends.spec import ModelSpec
from judges.base import Shown, Verdict
from judges.calling.caller import Caller, Task
from judges.errors import UserError
from judges.prompting.templates import (
    Template,
    args_with_digest,
    chat_template_file,
    conversation,
    read_template,
)
from judges.schema import Comparison, Instruction, Message

OF_THE_MACHINE = ("batch_size", "device", "gpu_memory_utilization", "tensor_parallel_size")
"""What `args` say of where a model runs, and not of what it says."""
_REMEMBERED = 2048
"""Prompts that a judge remembers; a run of 805 comparisons builds each once."""
CUT = "the reply ran into max_tokens"
"""The reason of a verdict that is missing as its reply was cut off."""


@dataclass(frozen=True, kw_only=True)
class LLMJudge(ABC):
    """The settings of a judge that asks a language model; in a panel file they are its keys.

    A setting that is not there is not sent: `temperature`, `top_p`, `seed` and `max_tokens` have
    no defaults but the server's.
    """

    KIND: ClassVar[str]
    VERSION: ClassVar[int]
    NAMES: ClassVar[frozenset[str]]
    """The names that the kind fills in, one of which its prompt must have."""
    sees_order: ClassVar[bool] = True
    reads_instruction: ClassVar[bool] = True

    name: str
    model: str
    """As in `judges.backends.spec`: openai/NAME, anthropic/NAME, openai-api/NAME, vllm/PATH, …"""
    prompt: str
    """A prompt file, seen from the panel's folder, or the name of a packaged prompt."""
    base_url: str | None = None
    api_key_env: str | None = None
    """The name of the environment variable that holds the key."""
    weights: str | None = None
    """What binds a model in this process (`checkpoint.pin_of`): another one is refused."""
    family: str | None = None
    """The family of models that it belongs to, where its name does not say it."""
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    """Further parameters, as the provider names them."""
    args: dict[str, str] = field(default_factory=dict)
    """For a model in this process: device, dtype, chat_template (seen as `prompt` is), …"""
    show_gold: bool = False
    """Show the instruction's correct answer to the judge."""
    show_criteria: bool = False
    """Show the instruction's criteria to the judge."""
    persona: str = ""
    """Who judges, in a sentence or two, for the place that the prompt has for it."""
    folder: Path = field(default=Path(), repr=False)

    @cached_property
    def spec(self) -> ModelSpec:
        file = chat_template_file(self.args, self.folder)
        return ModelSpec(
            spec=self.model,
            base_url=self.base_url,
            api_key_env=self.api_key_env,
            asked_by=f"the panel in {self.folder}",
            args=self.args if file is None else {**self.args, "chat_template": str(file)},
        )

    @cached_property
    def template(self) -> Template:
        return read_template(self.prompt, self.folder, set(self.NAMES))

    @property
    def sampling(self) -> Sampling:
        return Sampling(
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
        )

    @property
    def reply_tokens(self) -> tuple[float, float, float]:
        """Tokens of a reply, low, expected and high: a guess for estimates of cost."""
        most = self.max_tokens or TOKENS_IF_UNLIMITED
        return min(20, most), min(150, most), most

    def identity(self) -> Mapping[str, Any]:
        """All that changes a verdict; not where the model is served, nor which key is used."""
        own = {key: getattr(self, key) for key in self._settings()}
        own["args"] = self.pinned_args
        own["extra"] = in_order(self.extra)
        return {
            "kind": self.KIND,
            "version": self.VERSION,
            "model": self.model if self.weights is None else self.weights,
            "prompt": self.template.digest,
            # A temperature or seed of 0 is a setting; nothing, False and "" are none.
            **{k: v for k, v in own.items() if not (v is None or v is False or v in ({}, ""))},
        }

    @property
    def pinned_args(self) -> dict[str, str]:
        """What of `args` changes what the model says; an adapter is bound by its content."""
        left_out = (*OF_THE_MACHINE, *(("adapter",) if self.weights else ()))
        args = args_with_digest(self.args, self.folder)
        return {k: v for k, v in args.items() if k not in left_out}

    def _settings(self) -> Sequence[str]:
        """The fields that change a verdict, beside model and prompt; kinds add their own."""
        return (
            "temperature", "top_p", "max_tokens", "seed", "extra", "args", "show_gold",
            "show_criteria", "persona",
        )  # fmt: skip

    def obstacle(self, instruction: Instruction) -> str | None:
        if self.show_gold and instruction.gold_answer is None:
            return "it has no gold answer, which this judge is to be shown"
        if self.show_criteria and not instruction.checks:
            return "it has no criteria, which this judge is to be shown"
        return None

    @abstractmethod
    def requests(self, shown: Shown) -> Sequence[Request]:
        """What the model is asked about one comparison; the ids are overwritten."""

    def asked_about(self, shown: Shown) -> Sequence[Request]:
        """`requests`, remembered for a while: what is counted before a run is asked in it."""
        key = (id(shown.comparison), shown.order)
        held = self._recent.get(key)
        if held is None or held[0] is not shown.comparison:
            while len(self._recent) >= _REMEMBERED:
                self._recent.pop(next(iter(self._recent)))
            held = self._recent[key] = (shown.comparison, self.requests(shown))
        return held[1]

    @cached_property
    def _recent(self) -> dict[tuple[int, str], tuple[Comparison, Sequence[Request]]]:
        return {}

    @abstractmethod
    def read(self, shown: Shown, completions: Sequence[Completion]) -> Verdict:
        """The verdict, from one completion a request, each of them complete."""

    def judge(
        self, shown: Sequence[Shown], caller: Caller, task: Task, *, fresh: bool = False
    ) -> Iterator[Verdict]:
        """One verdict for each of what is shown, in the same order; the calls run side by side."""
        done: dict[int, Verdict] = {}
        parts: dict[int, dict[int, Completion | Failure]] = {}
        counts: dict[int, int] = {}

        def asked() -> Iterator[Request]:
            for n, view in enumerate(shown):
                requests = self.asked_about(view)
                counts[n] = len(requests)
                if not requests:
                    done[n] = self.read(view, [])
                for k, request in enumerate(requests):
                    yield replace(request, id=f"{n}:{k}")

        at = 0
        for request, reply in caller.complete(
            self.spec, asked(), replace(task, judge=self.name), fresh=fresh
        ):
            n, k = map(int, request.id.split(":"))
            parts.setdefault(n, {})[k] = reply
            if len(parts[n]) == counts[n]:
                of = parts.pop(n)
                done[n] = self._verdict(shown[n], [of[k] for k in range(counts[n])])
            while at in done:
                yield done.pop(at)
                at += 1
        while at in done:
            yield done.pop(at)
            at += 1

    def _verdict(self, view: Shown, replies: Sequence[Completion | Failure]) -> Verdict:
        calls = tuple(reply for reply in replies if isinstance(reply, Completion))
        for reply in replies:
            if isinstance(reply, Failure):
                return Verdict(None, reply.reason, calls)
            if reply.finish_reason == "refused":
                return Verdict(None, "the provider kept the reply back", calls)
            if reply.finish_reason == "length" and not self._may_be_cut():
                return Verdict(None, CUT, calls)
        verdict = self.read(view, calls)
        return replace(verdict, calls=calls)

    def _may_be_cut(self) -> bool:
        """Whether a reply that was cut off can still hold the verdict."""
        return False

    def gold(self, instruction: Instruction) -> dict[str, str]:
        """The correct answer as data for the prompt, where it is to be shown."""
        if not self.show_gold or instruction.gold_answer is None:
            return {}
        return {"gold": instruction.gold_answer}

    def prompt_about(
        self, instruction: Instruction, data: Mapping[str, str], own: Mapping[str, str]
    ) -> tuple[tuple[Message, ...], str]:
        """The judge's prompt and its nonce: `Template.fill` with the conversation, the persona,
        and the correct answer and the criteria where they are to be shown."""
        shown = self._about(instruction, data)
        absent = {name: "" for name in ("gold", "criteria") if name not in shown}
        return self.template.fill(shown, {"persona": self.persona, **absent, **own})

    def nonce_about(self, instruction: Instruction, data: Mapping[str, str]) -> str:
        """The nonce of `prompt_about`, without the prompt."""
        return self.template.nonce(self._about(instruction, data))

    def _about(self, instruction: Instruction, data: Mapping[str, str]) -> dict[str, str]:
        about = {"conversation": conversation(instruction), **data, **self.gold(instruction)}
        if self.show_criteria:
            from judges.criteria.wording import numbered

            about["criteria"] = numbered(instruction.checks)
        return about


def in_order(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Further parameters for an identity, which sorts the keys of its tables: those inside of a
    parameter become lists of pairs, as the order of a schema's properties changes a verdict."""

    def listed(value: Any) -> Any:
        if isinstance(value, Mapping):
            return [[key, listed(inner)] for key, inner in value.items()]
        return [listed(inner) for inner in value] if isinstance(value, list) else value

    return {key: listed(value) for key, value in extra.items()}


def require_names(judge: LLMJudge, *names: str) -> None:
    """Raises UserError where the judge's prompt lacks one of the names, or that of something
    which the judge's settings want in it."""
    wanted = {"gold": judge.show_gold, "criteria": judge.show_criteria, "persona": judge.persona}
    names += tuple(name for name, is_wanted in wanted.items() if is_wanted)
    if missing := [name for name in names if name not in judge.template.names]:
        raise UserError(
            f"judge {judge.name}: its prompt {judge.template.source} must hold "
            f"{', '.join('{' + name + '}' for name in missing)}"
        )
