"""Boards whose judges are behind the tests' servers, and what they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import TOY, make_board, toy_instructions, write_rows

from judges.schema import Instruction
from leaderboard.boards.board import Board

if TYPE_CHECKING:
    from api_server import ApiServer

CHEAP = replace(TOY, orders="fixed", control_items=4)
"""One order, and controls on four instructions."""


def judge_at(
    server: ApiServer, name: str = "gpt", wire: str = "openai", **own: Any
) -> dict[str, Any]:
    """The table of a judge behind a server; `wire` is the provider."""
    return {
        "kind": "pairwise",
        "name": name,
        "model": f"{wire}/{name}",
        "base_url": f"{server.url}/v1",
        **own,
    }


def served_board(
    folder: Path, *judges: Mapping[str, Any], n: int | Iterable[Instruction] = 12, **settings: Any
) -> Board:
    """The board `toy` in a results folder, judged by these; settings differ from CHEAP."""
    panel = {"schema_version": 1, "judges": list(judges)}
    return make_board(folder / "toy", n, panel, replace(CHEAP, **settings))


def own_answers(path: Path, n: int = 12) -> Path:
    """An answers file for the toy board whose answers are all different."""
    answers = [f"I say {i.gold_answer}" for i in toy_instructions(n)]
    return write_rows(
        path,
        [
            {"instruction_id": i.id, "output": text}
            for i, text in zip(toy_instructions(n), answers, strict=True)
        ],
    )


def set_prices(
    monkeypatch: pytest.MonkeyPatch, folder: Path, **dollars: tuple[float, float] | float
) -> None:
    """The user's prices.toml: provider__name → dollars per million tokens of input and output."""
    lines = []
    for name, price in dollars.items():
        read, written = price if isinstance(price, tuple) else (price, price)
        model = name.replace("__", "/")
        lines.append(f'[[models]]\nmodel = "{model}"\ninput = {read}\noutput = {written}\n')
    folder.mkdir(exist_ok=True)
    (folder / "prices.toml").write_text("".join(lines))
    monkeypatch.setenv("HERDBOOK_PRICES", str(folder / "prices.toml"))


def bodies(server: ApiServer) -> Counter[bytes]:
    """Request → how often it was made."""
    return Counter(asked.raw for asked in server.log)
