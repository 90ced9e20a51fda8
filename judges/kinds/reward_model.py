"""Prefers the answer to which a reward model gives the higher score.

A reward model is a local checkpoint that reads the conversation with one answer and gives a number
r. With the two numbers of a comparison,

    preference = 1 / (1 + exp(-(r2 - r1) / scale))

which is the Bradley–Terry probability that such models are trained on where the scale is 1
(Ouyang et al. 2022, equation 1). Each answer is scored alone, so no order can matter. The texts are
encoded as data: a control token written into an answer is only letters to the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from judges.asking.scores import check_map, preference
from judges.base import Shown, Verdict
from judges.calling.caller import Caller, Task
from judges.errors import UserError
from judges.prompting.quoting import quote
from judges.prompting.templates import args_with_digest, chat_template_file
from judges.schema import Instruction, Message

if TYPE_CHECKING:
    from judges.backends.reward import RewardScorer, Score

_ARGS = ("batch_size", "chat_template", "device", "dtype", "system_prompt")
_CHUNK = 512
"""Comparisons whose answers are sorted by length together."""


@dataclass(frozen=True, kw_only=True)
class RewardModel:
    """The settings of a judge that is a reward model; in a panel file they are its keys."""

    KIND: ClassVar[str] = "reward_model"
    VERSION: ClassVar[int] = 1
    sees_order: ClassVar[bool] = False
    reads_instruction: ClassVar[bool] = True

    name: str
    model: str
    """A folder, or hf/ORG/NAME."""
    revision: str | None = None
    """A commit, tag or branch of a model on the Hub."""
    weights: str | None = None
    """What binds the model (`checkpoint.pin_of`): another one is refused."""
    scale: float = 1.0
    """The difference of two scores that makes the better answer e times as likely to be preferred."""
    family: str | None = None
    """The family of models that it belongs to, where its name does not say it."""
    args: dict[str, str] = field(default_factory=dict)
    """batch_size, chat_template (seen from the panel's folder), device, dtype, system_prompt."""
    folder: Path = field(default=Path(), repr=False)

    def __post_init__(self) -> None:
        check_map(self.name, spread=self.scale, tie_band=0.0, called="scale")
        if unknown := sorted(set(self.args) - set(_ARGS)):
            raise UserError(
                f"judge {self.name}: args has no {unknown[0]!r}; known: {', '.join(_ARGS)}"
            )
        size = str(self.args.get("batch_size", "1"))
        if not size.isdecimal() or int(size) < 1:
            raise UserError(f"judge {self.name}: batch_size={size}: a positive number is needed")

    def identity(self) -> Mapping[str, Any]:
        """All that changes a verdict; the device and the size of batches only change rounding."""
        args = args_with_digest(self.args, self.folder)
        args = {k: v for k, v in args.items() if k not in ("batch_size", "device")}
        return {
            "kind": self.KIND,
            "version": self.VERSION,
            "model": self.weights or self.model,
            "scale": self.scale,
            **({"revision": self.revision} if self.revision else {}),
            **({"args": args} if args else {}),
        }

    def obstacle(self, instruction: Instruction) -> str | None:
        return None

    def check(self) -> None:
        """Raises UserError for files that are no reward model's; loads nothing."""
        from judges.backends.checkpoint import find_checkpoint
        from judges.backends.reward import check_reward

        check_reward(find_checkpoint(self.model, revision=self.revision).folder)

    def load(self) -> RewardScorer:
        """The model, ready to score; raises UserError, also for another one than `weights` says."""
        from judges.backends.checkpoint import pin_of
        from judges.backends.reward import RewardScorer

        settings: dict[str, Any] = {**self.args, "revision": self.revision}
        if (file := chat_template_file(self.args, self.folder)) is not None:
            settings["chat_template"] = file
        if "batch_size" in settings:
            settings["batch_size"] = int(settings["batch_size"])
        scorer = RewardScorer.load(self.model, **settings)
        found = pin_of(scorer.parts)
        if self.weights not in (None, found):
            scorer.close()
            raise UserError(
                f"judge {self.name}: {self.model} holds other weights, config or tokenizer than "
                f"the panel names: {found} is there, {self.weights} is wanted"
            )
        return scorer

    def judge(self, shown: Sequence[Shown], caller: Caller, task: Task) -> Iterator[Verdict]:
        """One verdict for each of what is shown, in the same order."""
        key = f"reward_model {self.identity()} {self.args}"
        for begin in range(0, len(shown), _CHUNK):
            chunk = shown[begin : begin + _CHUNK]
            scorer = caller.hold(key, self.load)
            scores = scorer.score(
                [
                    _conversation(view.instruction, answer)
                    for view in chunk
                    for answer in (view.first, view.second)
                ]
            )
            for one, two in zip(scores[::2], scores[1::2], strict=True):
                yield self._verdict(one, two)

    def _verdict(self, one: Score, two: Score) -> Verdict:
        if isinstance(one, str):
            return Verdict(None, one)
        if isinstance(two, str):
            return Verdict(None, two)
        return Verdict(preference(one, two, spread=self.scale, tie_band=0.0))


def _conversation(instruction: Instruction, answer: str) -> list[Message]:
    turns = [Message(turn.role, quote(turn.content)) for turn in instruction.messages]
    return [*turns, Message("assistant", quote(answer))]
