"""The panel of a new board: every key written out, every file that it rests on copied.

What a later version of Herdbook does by default, or how it words a prompt, must change no board.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from judges.asking.llm_judge import LLMJudge
from judges.backends.checkpoint import commit_of, find_checkpoint, pin_of
from judges.backends.spec import URL_VARIABLES
from judges.base import Judge, Orders
from judges.calling.prices import Prices
from judges.errors import UserError
from judges.kinds.alpaca_eval_config import AlpacaEvalConfig
from judges.kinds.recorded import Recorded
from judges.panel import Panel
from judges.panel_files import fill_models
from judges.prompting.templates import chat_template_file
from judges.registry import (
    judge_fields,
    judge_table,
    known_specs,
    make_panel,
    read_panel,
    spec_of,
    wanted_panel,
)
from judges.schema import Instruction
from leaderboard.answers.models import refuse_to_send
from leaderboard.boards.board import Board


@dataclass(frozen=True, slots=True)
class BoardPanel:
    """The content of panel.toml, and the files that come along: path on the board → file."""

    table: Mapping[str, Any]
    files: Mapping[str, Path | str]
    is_served: bool
    """Whether one of its judges is behind a server."""


def new_panel(
    source: Board | None,
    *,
    judges: Sequence[str] = (),
    panel: str | None = None,
    models: Sequence[str] = (),
) -> tuple[dict[str, Any], Path]:
    """What the user wants as a panel, and the folder that its paths are seen from.

    `judges` are short names or judge files, `panel` a packaged one, a file or one judge, `models`
    what goes into its slots; without either the source board's panel.
    """
    if judges and panel:
        raise UserError("give --judge or --panel, not both")
    if judges:
        return fill_models({"judges": [judge_table(spec) for spec in judges]}, models), Path()
    if panel:
        table, folder, _ = wanted_panel(panel)
        return fill_models(table, models), folder
    if source is not None:
        return fill_models(read_panel(source.path / "panel.toml"), models), source.path
    raise UserError(f"say who judges: --judge {', '.join(known_specs())}; or --panel PANEL")


def board_panel(
    wanted: Mapping[str, Any], folder: Path, instructions: Sequence[Instruction], orders: Orders
) -> BoardPanel:
    """The panel as a board holds it; raises UserError for one that cannot judge the instructions.

    A model in this process is bound to the files that it has now, if its folder is here, and one on
    the Hub to the commit that its revision stands for now, if anybody tells.
    """
    tables = [dict(table) for table in wanted["judges"]]
    for table in tables:
        if table.get("kind") == "recorded" and table.get("path"):
            table.setdefault("name", f"recorded/{Path(str(table['path'])).stem}")
    panel = make_panel({**wanted, "judges": tables}, folder)
    panel.check(instructions)
    panel.identity()  # reads the files of verdicts and prompts
    files: dict[str, Path | str] = {}
    written = []
    for table, judge in zip(tables, panel.judges, strict=True):
        _refuse_half_recorded(judge, orders)
        if isinstance(judge, LLMJudge):
            refuse_to_send(instructions, judge.spec, f"judge {judge.name}")
        own = _written_out(table, judge)
        if isinstance(judge, Recorded) and judge.path:
            verdicts = judge.folder / judge.path
            own["path"] = f"verdicts/{verdicts.name}"
            if own["path"] in files:
                raise UserError(f"two files of recorded verdicts are called {verdicts.name}")
            files[own["path"]] = verdicts
        elif isinstance(judge, AlpacaEvalConfig):
            own["path"] = _copied_config(files, judge)
        elif isinstance(judge, LLMJudge):
            own["prompt"] = _copied(files, "prompts", Path(judge.template.source))
        template = chat_template_file(own.get("args", {}), getattr(judge, "folder", Path()))
        if template is not None:
            copy = _copied(files, "templates", template)
            own["args"] = own["args"] | {"chat_template": copy}
        if str(own.get("model")).startswith("hf/"):
            own |= _at_commit(own)
        if (weights := _weights_of(judge, own)) is not None:
            own["weights"] = weights
        written.append(own)
    is_served = any(isinstance(j, LLMJudge) and j.spec.is_remote for j in panel.judges)
    joined = {"aggregate": panel.aggregate, "assign": panel.assign}
    return BoardPanel({**wanted, **joined, "judges": written}, files, is_served)


def _written_out(table: Mapping[str, Any], judge: Judge) -> dict[str, Any]:
    """The judge's table with all its keys; what has no value cannot stand in TOML."""
    values = {key: getattr(judge, key) for key in judge_fields(table["kind"])}
    own = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in values.items()
        if value is not None and value != {}
    }
    weight = {"weight": table["weight"]} if "weight" in table else {}
    return {"kind": table["kind"], **own, **weight}


def _copied(files: dict[str, Path | str], folder: str, file: Path) -> str:
    """The path on the board of a copy, under the file's own name unless another one has it."""
    content = file.read_bytes()
    for n in range(1, len(files) + 2):
        path = f"{folder}/{file.stem}{f'-{n}' if n > 1 else ''}{file.suffix}"
        other = files.get(path)
        if other is None or (isinstance(other, Path) and other.read_bytes() == content):
            files[path] = file
            return path
    raise AssertionError("more names than files")


def _copied_config(files: dict[str, Path | str], judge: AlpacaEvalConfig) -> str:
    """The path on the board of a copy of an evaluator config, in a folder of its own."""
    taken = {Path(path).parts[1] for path in files if path.startswith("evaluators/")}
    name = next(
        name
        for n in range(1, len(taken) + 2)
        if (name := f"{Path(judge.path).stem}{f'-{n}' if n > 1 else ''}") not in taken
    )
    copies = {f"evaluators/{name}/{path}": file for path, file in judge.files().items()}
    files |= copies
    return next(iter(copies))


def _at_commit(own: Mapping[str, Any]) -> dict[str, str]:
    """The keys that bind a model on the Hub to the commit that its revision stands for now; none
    where nobody tells. A commit names all files of the model."""
    name, _, at = str(own["model"]).removeprefix("hf/").partition("@")
    commit = commit_of(name, own.get("revision") or at or None)
    if commit is None:
        return {}
    if "revision" in judge_fields(own["kind"]):
        return {"model": f"hf/{name}", "revision": commit}
    return {"model": f"hf/{name}@{commit}"}


def floating(panel: Panel) -> str:
    """In a line, the judges behind whose names another model can come to stand, and what can be
    done; empty where there are none."""
    prices, names = Prices.load(), []
    for judge in panel.judges:
        spec = spec_of(judge)
        if spec is None or spec.provider == "fake":
            continue
        commit = getattr(judge, "revision", None) or spec.name.rpartition("@")[2]
        is_bound = getattr(judge, "weights", None) or re.fullmatch("[0-9a-f]{40}", commit)
        is_alias = prices.facts(spec).is_alias
        if spec.is_remote:
            # Of a server of the user's own nothing is known, and its name need have no date.
            floats = is_alias or (is_alias is None and spec.provider != "openai-api")
        else:
            floats = not is_bound
        if floats:
            names.append(f"{judge.name} ({spec.spec})")
    if not names:
        return ""
    return (
        f"not bound to one version of its model: {', '.join(dict.fromkeys(names))}. Another one can "
        "come behind such a name, and later rows are then measured otherwise: a name with a date, "
        "or hf/ORG/NAME@COMMIT, is bound"
    )


def without_address(panel: Panel) -> str:
    """In a line, the judges of which nobody says where they are served; empty where there are none."""
    specs = [judge.spec for judge in panel.judges if isinstance(judge, LLMJudge)]
    named = [spec for spec in specs if spec.provider == "openai-api" and not spec.base_url]
    variable = URL_VARIABLES["openai-api"]
    if not named or os.environ.get(variable):
        return ""
    names = ", ".join(dict.fromkeys(spec.spec for spec in named))
    return (
        f"where is it served? {names} has no address yet: eval needs one, in {variable} or as "
        "base_url in panel.toml. With --judge …@URL it is written there"
    )


def _weights_of(judge: Judge, own: Mapping[str, Any]) -> str | None:
    """What binds a judge in this process to its model; None where that is not in a folder here, or
    bound by its commit, unless an adapter comes on top. `own` is its table.

    Raises UserError for a model that is nowhere, as one written without its provider is.
    """
    spec = spec_of(judge)
    if spec is None or spec.is_remote or spec.provider == "fake":
        return None
    adapter = spec.args.get("adapter")
    if adapter and spec.spec.startswith("hf/"):
        return pin_of(find_checkpoint(own["model"], adapter=adapter).fingerprint())
    if not Path(spec.name).is_dir():
        is_elsewhere = spec.provider == "vllm" or spec.spec.startswith("hf/")
        if is_elsewhere or getattr(judge, "weights", None):
            return None
        raise UserError(
            f"judge {judge.name}: there is no folder {spec.name!r}. A model is a folder, hf/ORG/NAME, "
            "vllm/PATH, openai/NAME, anthropic/NAME or openai-api/NAME@URL"
        )
    return pin_of(find_checkpoint(spec.name, adapter=adapter).fingerprint())


def _refuse_half_recorded(judge: Judge, orders: Orders) -> None:
    one_order = isinstance(judge, Recorded) and judge.sees_order and not judge.has_both_orders
    if one_order and orders == "both":
        raise UserError(
            f"judge {judge.name}: no pair has verdicts in both orders; use --orders fixed or "
            "record both orders"
        )
