"""What stands in a board's board.toml beside its hashes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from judges.backends.base import Sampling
from judges.base import Orders
from judges.errors import UserError
from judges.records import validated

Column = Literal["win_rate", "lc_alpaca_eval", "lc_joint"]
"""A figure that a board can rank by."""

SelfJudging = Literal["flag", "exclude", "allow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """How every model on the board writes; None means: as its own generation config says."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    max_tokens: Annotated[int, Field(gt=0)] = 1024
    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    def but(self, text: str) -> Generation:
        """These settings with others over them, as KEY=VALUE,…; raises UserError for what is no such
        key or value."""
        given: dict[str, object] = asdict(self)
        for pair in text.split(","):
            key, equals, value = (part.strip() for part in pair.partition("="))
            if not equals or key not in given:
                known = ", ".join(given)
                raise UserError(f"generation {pair!r}: write key=value,key=value; known: {known}")
            try:
                given[key] = json.loads(value)
            except ValueError:
                raise UserError(f"generation {pair!r}: {value!r} is no number") from None
        return validated(Generation, given, "generation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What stands in board.toml beside the hashes."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    references: tuple[str, ...]
    title: str = ""
    note: str = ""
    """A sentence for whoever reads a card; like the title it is not pinned."""
    headline: Column = "win_rate"
    """The column that ranks."""
    orders: Orders = "both"
    min_votes: int | Literal["all"] = "all"
    self_judging: SelfJudging = "flag"
    """What to do about a judge that is the candidate itself, or of its family of models."""
    seed: int = 0
    control_items: Annotated[int, Field(gt=0)] | None = None
    """Judge every control on so many instructions, chosen by the seed; None: on all."""
    drift: Annotated[int, Field(ge=0)] = 0
    """Judge so many stored comparisons once more before a new row; 0: none."""
    max_cost_usd: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """What one run may spend on this board."""
    parent: str = ""
    """The board whose answers were judged anew here."""
    generation: Generation = field(default_factory=Generation)
    schema_version: Literal[1] = 1

    @property
    def sampling(self) -> Sampling:
        return Sampling(seed=self.seed, **asdict(self.generation))
