"""Judges that would judge themselves: which of a board's judges are the candidate, or its kin.

A model prefers what it wrote itself, and what its relatives wrote. What is known of the candidate
is in its row: the model and the hashes of its manifest, the name and the base model of its
model.toml. What the board does about it stands in board.toml: `flag` counts the votes and says so,
`exclude` leaves them out, `allow` does not look.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from judges.base import Judge
from judges.calling.prices import family_of
from judges.errors import UserError
from leaderboard.boards.board import Board
from leaderboard.boards.settings import SelfJudging
from leaderboard.rows.results import Row

_PROVIDERS = ("openai/", "anthropic/", "openai-api/", "vllm/", "hf/", "fake/")


@dataclass(frozen=True, slots=True)
class _Candidate:
    names: tuple[str, ...]
    """What it is called: by its manifest, in model.toml, by its row."""
    base: str
    weights: str


def self_judges(board: Board, row: Row) -> dict[str, str]:
    """Judge → why it is the row's model, or of its family; empty where the board does not look at
    it. Where two rows meet it is either's."""
    judges = [judge for judge in board.panel.judges if getattr(judge, "model", "")]
    if board.settings.self_judging == "allow" or not judges:
        return {}
    candidates = [_candidate(one) for one in _models(board, row)]
    found = {}
    for judge in judges:
        reasons = [why for candidate in candidates if (why := _kinship(judge, candidate))]
        if reasons:
            found[judge.name] = reasons[0]
    return found


def excluded(board: Board, row: Row) -> frozenset[str]:
    """The judges whose votes on the row do not count, by name.

    Raises UserError where no judge is left.
    """
    if board.settings.self_judging != "exclude":
        return frozenset()
    found = self_judges(board, row)
    if len(found) == len(board.panel.judges):
        reasons = "; ".join(f"{judge}: {why}" for judge, why in found.items())
        raise UserError(
            f"no judge of board {board.name} is left for {row.name} ({reasons}), as its rule is "
            'self_judging = "exclude". Make a board with a judge of another family: '
            f"leaderboard board new NAME --from {board.name} --judge JUDGE"
        )
    return frozenset(found)


def told(rule: SelfJudging) -> str:
    """What is done with the votes of such judges, in words."""
    return "their votes are left out" if rule == "exclude" else "their votes count"


def _models(board: Board, row: Row) -> list[Row]:
    """The rows whose models' answers are judged here: a control has none, a meeting two."""
    if row.path.parent.name == "controls":
        return []
    if row.path.parent.name != "head_to_head":
        return [row]
    names = row.name.split("--vs--")
    return [Row(board.path / name) for name in names if name not in board.references]


def _candidate(row: Row) -> _Candidate:
    manifest, info = row.manifest(), row.info()
    parts = {} if manifest is None else dict(manifest.parts)
    source = "" if manifest is None else manifest.source
    model = source.removeprefix("model ") if source.startswith("model ") else ""
    given = [parts.get("model", ""), model, info.name, row.name]
    names = dict.fromkeys(name.replace("__", "/") for name in given if name)
    return _Candidate(tuple(names), info.base_model, parts.get("weights", ""))


def _kinship(judge: Judge, candidate: _Candidate) -> str | None:
    """What ties a judge that asks a model to a candidate, in words; None where nothing is known."""
    model, weights = str(getattr(judge, "model", "")), getattr(judge, "weights", None)
    # The first part of what binds a judge; whatever stands on top, the weights are kin.
    if weights and weights.partition("+")[0] == candidate.weights:
        return "it has the candidate's weights"
    if any(_is_same(model, name) for name in candidate.names):
        return "it is the candidate"
    if candidate.base and _is_same(model, candidate.base):
        return "the candidate was made from it"
    family = getattr(judge, "family", None) or family_of(model)
    of = {family_of(name) for name in (*candidate.names, candidate.base) if name}
    if family and family.casefold() in {name.casefold() for name in of if name}:
        return f"it is of the candidate's family, {family}"
    return None


def _is_same(a: str, b: str) -> bool:
    """Whether two names mean one model: who serves it, and which revision, does not matter."""
    one, other = _parts(a), _parts(b)
    n = min(len(one), len(other))
    return n > 0 and one[-n:] == other[-n:]


def _parts(name: str) -> list[str]:
    """The owner, where there is one, and the name."""
    text = name.strip().casefold()
    for provider in _PROVIDERS:
        text = text.removeprefix(provider)
    parts = PurePath(text.partition("@")[0]).parts
    return [part for part in parts if part not in ("/", ".", "..")][-2:]
