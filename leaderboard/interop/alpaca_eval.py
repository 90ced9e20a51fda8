"""AlpacaEval's verdicts as a board: a checkout of its repository, or a folder of parquet packages.

A checkout holds `results/<model>/<annotator>/annotations.json` and `results/<model>/
model_outputs.json`. A folder of packages holds `annotations.parquet` (model, instruction_index,
preference, and len_model where texts are missing; with a column `judge` in
`annotations_other_judges.parquet`), `instructions.jsonl`, and perhaps `model_outputs.parquet`.
A leaderboard CSV, where there is one, becomes the board's block of published rows.

AlpacaEval writes 1 for the reference, 2 for the model, 1.5 (in older files 0) for a draw; here that
becomes 0, 1 and 0.5. The order in which its judge saw the answers is not stored.
"""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from judges.errors import UserError
from judges.records import digest, to_line, write_atomic
from judges.schema import Annotation, Instruction, Message, Output
from leaderboard import __version__
from leaderboard.boards.board import Board, load_board, write_board
from leaderboard.boards.calibration import LC_ALPACA_EVAL, LcAlpacaEvalFile, import_lc_alpaca_eval
from leaderboard.boards.settings import Column, Settings
from leaderboard.rows.results import Manifest, ModelInfo, Row, json_text, write_annotations
from leaderboard.rows.standings import write_leaderboard
from leaderboard.rows.summary import summarise
from leaderboard.user_files import check_name, read_rows, safe_name
from leaderboard.watch import SILENT, Watch

DEFAULT_ANNOTATORS = {
    "gpt4_1106_preview": "weighted_alpaca_eval_gpt4_turbo",
    "text_davinci_003": "alpaca_eval_gpt4",
}
"""Reference → the judge of the published leaderboard against it (versions 2 and 1)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One model's answer to one instruction, as far as it is known, and what the judge said."""

    preference: float | None
    text: str | None
    length: int | None


@dataclass(frozen=True, slots=True)
class LengthControlFiles:
    """AlpacaEval's two files for its length control, and how rows meet the difficulties."""

    difficulty: Path
    gamed: Path
    alignment: Literal["instruction", "position"] = "instruction"

    def read(self, reference: Mapping[str, int]) -> LcAlpacaEvalFile:
        """`reference` is instruction id → characters of the reference's answer."""
        return import_lc_alpaca_eval(self.difficulty, self.gamed, reference, self.alignment)


@dataclass(slots=True)
class Found:
    """What an import has read: everything by instruction id."""

    instructions: dict[str, Instruction]
    reference: str
    reference_outputs: dict[str, Output]
    annotator: str
    models: dict[str, dict[str, Verdict]] = field(default_factory=dict)
    published: Path | None = None


def import_alpaca_eval(
    folder: Path,
    results: Path,
    *,
    name: str | None = None,
    annotator: str | None = None,
    length_control: LengthControlFiles | None = None,
    headline: Column = "win_rate",
    watch: Watch = SILENT,
) -> Board:
    """Make a board of recorded verdicts from a folder of AlpacaEval's, with one row a model.

    With `length_control` it has the column lc_alpaca_eval, which can be the headline. Raises UserError when the folder holds neither layout, several judges' verdicts and no
    `annotator` that names one, or a preference outside AlpacaEval's encoding.
    """
    board_name = check_name(name or safe_name(folder.resolve().name), "the board's name")
    if (folder / "annotations.parquet").is_file():
        found = _read_packages(folder, annotator)
    elif (folder / "results").is_dir():
        found = _read_checkout(folder, annotator)
    else:
        raise UserError(
            f"{folder} holds neither annotations.parquet (our packages) nor results/ (a checkout "
            "of AlpacaEval's repository)"
        )
    for model in found.models:
        check_name(model, "the model's name")
    check_name(found.reference, "the reference's name")
    # Neither title nor note: a live board that is made from this one would inherit them.
    settings = Settings(references=(found.reference,), orders="random", headline=headline)
    files: dict[str, Path | str] = {}
    if found.published is not None:
        files["published.csv"] = found.published
    if length_control is not None:
        reference = {i: output.characters for i, output in found.reference_outputs.items()}
        read = length_control.read(reference)
        if not read.is_own_reference:
            watch.note(
                f"the gamed references are not versions of {found.reference}'s answers: right for "
                "AlpacaEval 1's published figures, and for nothing else"
            )
        files[LC_ALPACA_EVAL] = json_text(asdict(read))
    elif headline != "win_rate":
        raise UserError(f"--headline {headline} needs --difficulty and --gamed")
    if (results / board_name).exists():
        raise UserError(f"{results / board_name} is there already; choose another --name")
    results.mkdir(parents=True, exist_ok=True)
    # Made aside and moved in whole, so that a failure leaves nothing half done.
    with tempfile.TemporaryDirectory(dir=results, prefix=".import-") as aside:
        write_board(
            Path(aside) / board_name,
            settings,
            tuple(found.instructions.values()),
            {found.reference: found.reference_outputs},
            {"judges": [{"kind": "recorded", "name": found.annotator}]},
            files,
        )
        board = load_board(board_name, aside)
        for model, verdicts in watch.track(found.models.items(), len(found.models), "importing"):
            # The reference against itself is a draw by definition, and stands there as that.
            if model != found.reference:
                _write_row(board, found, model, verdicts)
        write_leaderboard(board)
        board.path.rename(results / board_name)
    return load_board(board_name, results)


def _write_row(board: Board, found: Found, model: str, verdicts: Mapping[str, Verdict]) -> None:
    row = Row(board.path / model)
    outputs, annotations = {}, []
    for instruction in board.instructions:
        verdict = verdicts.get(instruction.id)
        if verdict is None:
            continue
        if verdict.text is not None or verdict.length is not None:
            outputs[instruction.id] = Output(
                instruction_id=instruction.id,
                generator=model,
                text=verdict.text or "",
                length=None if verdict.text is not None else verdict.length,
            )
        annotations.append(
            Annotation(
                comparison_id=f"{found.reference}:{instruction.id}",
                annotator=found.annotator,
                order="none",
                preference=verdict.preference,
                error=None if verdict.preference is not None else "unparsed",
            )
        )
    source = f"AlpacaEval, verdicts of {found.annotator}"
    parts = {"verdicts": digest([[a.comparison_id, a.preference] for a in annotations])}
    row.write_info(ModelInfo(name=model, status="recorded verdicts"))
    row.write_manifest(Manifest(source=source, parts=parts, settings={}, herdbook=__version__))
    lines = (to_line(output) for output in outputs.values())
    write_atomic(row.outputs_file, "".join(line + "\n" for line in lines))
    write_annotations(row.annotations_file, annotations)
    row.write_summary(summarise(board, row, board.instructions, outputs))


def _preference(value: Any, where: str) -> float | None:
    """AlpacaEval's 1..2 (0 for a draw in older files) as 0..1; None where it is missing.

    -1 is what its cache holds for a verdict that could not be parsed.
    """
    if value is None or value == -1 or (isinstance(value, float) and math.isnan(value)):
        return None
    if value == 0:
        return 0.5
    if not isinstance(value, int | float) or not 1 <= value <= 2:
        raise UserError(f"{where}: preference {value!r} is not one of AlpacaEval's (1..2, or 0)")
    return float(value) - 1


# ----------------------------------------------------------------------------- parquet packages
def _read_packages(folder: Path, annotator: str | None) -> Found:
    instructions, outputs, references = {}, {}, set()
    for where, row in read_rows(folder / "instructions.jsonl"):
        index, text = _index(row, where), _text(row, "instruction", where)
        if index in instructions:
            raise UserError(f"{where}: a second instruction {index}")
        instructions[index] = _instruction(index, text, row.get("dataset"))
        outputs[index] = _text(row, "reference_output", where)
        references.add(_text(row, "reference_generator", where))
    reference = references.pop()
    if references:
        raise UserError(f"{folder / 'instructions.jsonl'}: answers of several references")
    default = DEFAULT_ANNOTATORS.get(reference, "recorded")
    annotator = annotator or default
    file = folder / "annotations.parquet"
    others = folder / "annotations_other_judges.parquet"
    if annotator != default:
        known = {row.get("judge") for _, row in read_rows(others)} if others.is_file() else set()
        if annotator not in known:
            there = ", ".join([default, *sorted(map(str, known))])
            raise UserError(f"{folder}: no verdicts of {annotator!r}; there are {there}")
        file = others
    found = Found(
        instructions,
        reference,
        {i: _output(i, reference, text) for i, text in outputs.items()},
        annotator,
    )
    if annotator == default and (folder / "official_leaderboard.csv").is_file():
        found.published = folder / "official_leaderboard.csv"
    texts = {}
    if (folder / "model_outputs.parquet").is_file():
        for where, row in read_rows(folder / "model_outputs.parquet"):
            texts[_text(row, "model", where), _index(row, where)] = _text(row, "output", where)
    for where, row in read_rows(file):
        if file == others and row["judge"] != annotator:
            continue
        model, index, length = _text(row, "model", where), _index(row, where), row.get("len_model")
        if index not in instructions:
            raise UserError(f"{where}: instruction {index} is not in instructions.jsonl")
        answer = texts.get((model, index))
        # A model can have been judged twice, on other answers: a text of another length is not it.
        if answer is not None and length not in (None, len(answer)):
            answer = None
        preference = _preference(row.get("preference"), where)
        _add(found, model, index, Verdict(preference, answer, length), where)
    return found


def _index(row: Mapping[str, Any], where: str) -> str:
    """The instruction's number as an id."""
    number = row.get("instruction_index")
    if not isinstance(number, int) or number < 0:
        raise UserError(f"{where}: 'instruction_index' must be a number from 0, not {number!r}")
    return f"{number:03d}"


def _text(row: Mapping[str, Any], name: str, where: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise UserError(f"{where}: {name!r} must be a text, not {value!r}")
    return value


def _add(found: Found, model: str, index: str, verdict: Verdict, where: str) -> None:
    verdicts = found.models.setdefault(model, {})
    if index in verdicts:
        raise UserError(f"{where}: a second verdict on {model!r}, instruction {index}")
    verdicts[index] = verdict


# ------------------------------------------------------------------------------------- a checkout
def _read_checkout(folder: Path, annotator: str | None) -> Found:
    files: dict[str, dict[str, Path]] = {}
    for file in sorted((folder / "results").glob("*/*/annotations.json")):
        files.setdefault(file.parent.name, {})[file.parent.parent.name] = file
    if not files:
        raise UserError(f"{folder / 'results'}: no <model>/<annotator>/annotations.json in there")
    if annotator is None:
        published = [name for name in DEFAULT_ANNOTATORS.values() if name in files]
        chosen = published or list(files)
        if len(chosen) > 1:
            raise UserError(
                f"{folder}: verdicts of several judges; choose one with --annotator: "
                f"{', '.join(sorted(files))}"
            )
        annotator = chosen[0]
    if annotator not in files:
        there = ", ".join(sorted(files))
        raise UserError(f"{folder}: no verdicts of {annotator!r}; there are {there}")
    rows = {model: read_rows(file) for model, file in files[annotator].items()}
    found = _common(rows, annotator)
    ids = {instruction.text: instruction.id for instruction in found.instructions.values()}
    for model, judged in rows.items():
        for where, row in judged:
            verdict = Verdict(_preference(row.get("preference"), where), row["output_2"], None)
            _add(found, model, ids[row["instruction"]], verdict, where)
    leaderboards = sorted(
        folder.glob(f"src/alpaca_eval/leaderboards/*/{annotator}_leaderboard.csv")
    )
    found.published = leaderboards[0] if leaderboards else None
    return found


def _common(rows: Mapping[str, list[tuple[str, dict[str, Any]]]], annotator: str) -> Found:
    """The instructions in the order of the longest file, and the reference that most saw."""
    longest = max(rows.values(), key=len)
    answers: dict[str, Counter[str]] = {}
    datasets: dict[str, str] = {}
    generators: Counter[str] = Counter()
    for judged in [longest, *rows.values()]:
        for where, row in judged:
            for name in ("instruction", "output_1", "generator_1", "output_2"):
                _text(row, name, where)
            answers.setdefault(row["instruction"], Counter())[row["output_1"]] += 1
            datasets.setdefault(row["instruction"], row.get("dataset") or "")
            generators[row["generator_1"]] += 1
    reference = generators.most_common(1)[0][0]
    instructions, outputs = {}, {}
    for number, (text, seen) in enumerate(answers.items()):
        index = f"{number:03d}"
        instructions[index] = _instruction(index, text, datasets[text])
        outputs[index] = _output(index, reference, seen.most_common(1)[0][0])
    return Found(instructions, reference, outputs, annotator)


def _instruction(index: str, text: str, dataset: str | None) -> Instruction:
    return Instruction(
        id=index, messages=(Message(role="user", content=text),), category=dataset or ""
    )


def _output(index: str, generator: str, text: str) -> Output:
    return Output(instruction_id=index, generator=generator, text=text)
