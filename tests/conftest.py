"""What several tests need: small boards, the command line run in this process, tiny models."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from servers import api_keys, no_waits, serve, serve_process  # noqa: F401
from tiny_model import make_lora_adapter, make_tiny_llama

from judges.backends.base import Completion, Request
from judges.backends.fake import FakeLLM
from judges.base import Judge, Orders, Shown, Verdict, annotate, presentations
from judges.calling.caller import Caller, Task
from judges.kinds.checklist import Checklist
from judges.schema import Annotation, Comparison, Instruction, Message, Output
from leaderboard import evaluation
from leaderboard.boards.board import Board, load_board, write_board
from leaderboard.boards.settings import Settings
from leaderboard.cli import main

DATA = Path(__file__).parents[2] / "shared" / "data"
CHECKLIST = {"judges": [{"kind": "checklist", "name": "checklist"}]}
LONGEST = {"judges": [{"kind": "heuristic", "rule": "longest"}]}
TOY = Settings(title="Toy", references=("base",))

os.environ["OMP_NUM_THREADS"] = "1"  # torch reads it when a test first imports it
# A shell has what it runs behind it ignore Ctrl-C, and what the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
# A busy machine is no failure, and what CI says of a commit does not change.
hypothesis.settings.register_profile(
    "untimed", deadline=None, derandomize="CI" in os.environ, database=None
)
hypothesis.settings.load_profile("untimed")


# ------------------------------------------------------------------------------ the command line
@dataclass(frozen=True, slots=True)
class Finished:
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def nothing_of_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory):
    """No test reads or writes the user's own cache, prices or keys."""
    monkeypatch.setenv("HERDBOOK_CACHE", str(tmp_path_factory.mktemp("cache")))
    for name in (
        "HERDBOOK_DATABASE", "HERDBOOK_PRICES", "OPENAI_API_KEY", "OPENAI_BASE_URL",
        "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL",
    ):  # fmt: skip
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def leaderboard(capsys: pytest.CaptureFixture[str]) -> Callable[..., Finished]:
    """Runs a command line: `leaderboard("show", "toy", "--results", path)`."""

    def run(*args: str | Path) -> Finished:
        capsys.readouterr()
        code = main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return Finished(code, captured.out, captured.err)

    return run


@pytest.fixture
def evaluate(results: Path, leaderboard: Callable[..., Finished]) -> Callable[..., Finished]:
    """Runs `eval` on the toy board."""
    return lambda *args: leaderboard("eval", *args, "--board", "toy", "--results", results)


def refused(run: Finished, *parts: str) -> None:
    """Holds that a command exited with 2 and said in a line or two what is wrong."""
    assert run.code == 2, run.out
    assert run.out == ""
    assert "Traceback" not in run.err
    lines = run.err.strip().splitlines()
    # What stands before the complaint is what the command noted on its way.
    begin = next(n for n, line in enumerate(lines) if line.startswith("leaderboard "))
    assert len(lines[begin:]) <= 2, run.err
    for part in parts:
        assert part in "\n".join(lines[begin:])


# ------------------------------------------------------------------------------------------ boards
@pytest.fixture
def new_board(tmp_path: Path, leaderboard: Callable[..., Finished]) -> Callable[..., Finished]:
    """Runs `board new mine` with a reference and a judge unless others are given."""

    def run(*flags: str | Path) -> Finished:
        given = [str(flag) for flag in flags]
        if "--reference" not in given:
            given += ["--reference", "fake/echo"]
        if "--judge" not in given and "--panel" not in given:
            given += ["--judge", "heuristic/longest"]
        return leaderboard("board", "new", "mine", *given, "--results", tmp_path / "results")

    return run


def toy_instructions(n: int) -> tuple[Instruction, ...]:
    """Instructions "say the word wordK in one line": a right answer meets all checks."""
    return tuple(
        Instruction(
            id=f"toy-{k:02d}",
            messages=(Message("user", f"Say word{k}, and nothing else."),),
            category="even" if k % 2 == 0 else "odd",
            checks=(
                {"kind": "contains", "all": [f"word{k}"], "weight": 2},
                {"kind": "words", "max": 3},
                {"kind": "omits", "terms": ["nothing"]},
            ),
            gold_answer=f"word{k}",
        )
        for k in range(n)
    )


def make_board(
    path: Path,
    instructions: int | Iterable[Instruction] = 12,
    panel: dict[str, Any] = CHECKLIST,
    settings: Settings = TOY,
) -> Board:
    """A board in `path` whose references meet three quarters of the weight in every toy answer."""
    given = toy_instructions(instructions) if isinstance(instructions, int) else instructions
    asked = tuple(given)
    references = {
        name: {
            i.id: Output(
                instruction_id=i.id, generator=name, text=f"The word is {i.gold_answer}, I believe."
            )
            for i in asked
        }
        for name in settings.references
    }
    write_board(path, settings, asked, references, panel, {})
    return load_board(path.name, path.parent)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results folder with the board `toy`."""
    folder = tmp_path / "results"
    make_board(folder / "toy")
    return folder


# ----------------------------------------------------------------------------------------- answers
def good_answers(n: int = 12) -> list[str]:
    return [f"word{k}" for k in range(n)]


def bad_answers(n: int = 12) -> list[str]:
    return ["I am not sure what you mean by that." for _ in range(n)]


def mixed_answers(good: int, n: int = 12) -> list[str]:
    """The first `good` answers are good, the others bad."""
    return good_answers(n)[:good] + bad_answers(n)[good:]


def write_answers(path: Path, texts: Sequence[str]) -> Path:
    """An answers file for the toy board: the k-th text answers `toy-k`."""
    rows = [{"instruction_id": f"toy-{k:02d}", "output": text} for k, text in enumerate(texts)]
    return write_rows(path, rows)


@pytest.fixture
def add_row(evaluate: Callable[..., Finished], tmp_path: Path) -> Callable[..., None]:
    """Evaluates answers as a row of the toy board: `add_row("good", good_answers())`."""

    def add(name: str, texts: Sequence[str], *flags: str) -> None:
        done = evaluate(write_answers(tmp_path / f"{name}.jsonl", texts), *flags)
        assert done.code == 0, done.err

    return add


@pytest.fixture(scope="session")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder whose board toy has the rows good, middling and bad; not to be changed."""
    folder = tmp_path_factory.mktemp("ranked")
    make_board(folder / "results" / "toy")
    for name, good in (("good", 12), ("middling", 6), ("bad", 0)):
        file = write_answers(folder / f"{name}.jsonl", mixed_answers(good))
        evaluation.evaluate(str(file), board="toy", results=folder / "results")
    return folder / "results"


@pytest.fixture
def show(results: Path, leaderboard: Callable[..., Finished]) -> Callable[..., str]:
    """Runs `show` on the board toy: `show("--format", "csv")`; gives what it prints."""

    def run(*args: str, code: int = 0) -> str:
        done = leaderboard("show", "toy", "--results", results, *args)
        assert done.code == code, done.err
        return done.out if code == 0 else done.err

    return run


def grid(text: str) -> list[list[str]]:
    """The cells of the first Markdown table in a text."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for n, row in enumerate(rows) if n != 1]


# ------------------------------------------------------------------------------------------- files
def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """The rows in the format of the file's name; a CSV file holds lists as JSON text."""
    if path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        import pandas as pd

        pd.DataFrame(rows).to_parquet(path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            for row in rows:
                cells = {k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()}
                writer.writerow(cells)
    return path


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def table_of(results: Path, board: str = "toy") -> dict[str, dict[str, str]]:
    """leaderboard.csv, by model."""
    with (results / board / "leaderboard.csv").open(encoding="utf-8", newline="") as file:
        return {record["model"]: record for record in csv.DictReader(file)}


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real verdicts and labels beside the project; skips where it is absent."""
    if not DATA.is_dir():
        pytest.skip("the folder shared/data is not beside the project")
    return DATA


# ------------------------------------------------------------------------ what models are asked
@pytest.fixture
def generated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the requests that fake models have answered from here on, four a batch."""
    answered: list[str] = []
    start, complete = FakeLLM.__init__, FakeLLM.complete_batch

    def small(self: FakeLLM, name: str) -> None:
        start(self, name)
        self.batch_size = 4

    def counting(self: FakeLLM, requests: Sequence[Request]) -> list[Completion]:
        completions = complete(self, requests)
        answered.extend(request.id for request in requests)
        return completions

    monkeypatch.setattr(FakeLLM, "__init__", small)
    monkeypatch.setattr(FakeLLM, "complete_batch", counting)
    return answered


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the comparisons with answers of the row `words` that a checklist is shown."""
    asked: list[str] = []
    judge = Checklist.judge

    def counting(
        self: Checklist, shown: Sequence[Shown], caller: Caller, task: Task
    ) -> Iterator[Verdict]:
        asked.extend(v.comparison.id for v in shown if v.comparison.generator_2 == "words")
        return judge(self, shown, caller, task)

    monkeypatch.setattr(Checklist, "judge", counting)
    return asked


# ------------------------------------------------------------------------------------- tiny models
@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder org/llama of a tiny model; not to be changed."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    return make_tiny_llama(tmp_path_factory.mktemp("models") / "org" / "llama")


@pytest.fixture(scope="session")
def tiny_adapter(tiny_llama: Path) -> Path:
    """The folder org/lora of an adapter to the tiny model; not to be changed."""
    return make_lora_adapter(tiny_llama.parent / "lora", tiny_llama)


@pytest.fixture
def llama_copy(tiny_llama: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model to change."""
    return Path(shutil.copytree(tiny_llama, tmp_path / "copy"))


def edit_json(path: Path, **changes: object) -> None:
    """Sets keys of a JSON file, which is made where it is not there."""
    held = read_json(path) if path.is_file() else {}
    path.write_text(json.dumps({**held, **changes}), encoding="utf-8")


# --------------------------------------------------------------------------------- pairs to judge
CHECKS = ({"kind": "contains", "all": ["red"], "weight": 3}, {"kind": "words", "max": 3})


def comparison(one: str = "one", two: str = "two", *, text: str = "Go", n: int = 0) -> Comparison:
    """Two answers to an instruction with checks for "red" and for at most three words."""
    return Comparison(
        id=f"base:i{n}",
        instruction=Instruction(id=f"i{n}", messages=(Message("user", text),), checks=CHECKS),
        output_1=one,
        output_2=two,
        generator_1="base",
        generator_2="model",
    )


def exchanged(pair: Comparison) -> Comparison:
    """The same two answers, the other one first."""
    return replace(
        pair,
        output_1=pair.output_2,
        output_2=pair.output_1,
        generator_1=pair.generator_2,
        generator_2=pair.generator_1,
    )


def verdicts(
    judge: Judge, *pairs: Comparison, orders: Orders = "both", seed: int = 0
) -> list[Annotation]:
    """What a judge says of the pairs."""
    shown = presentations(judge, pairs, orders, seed)
    return [annotation for annotation, _ in annotate(judge, shown, Caller(), Task())]


def one_preference(judge: Judge, pair: Comparison) -> float | None:
    """The preference of a judge that sees no order."""
    (verdict,) = verdicts(judge, pair)
    return verdict.preference


# ------------------------------------------------------------------------------------ the browser
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real Chromium, for the pages that are written for people."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no Chromium: make test-browser installs it where it can")
    with api.sync_playwright() as playwright:
        args = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=chromium, args=args)
        yield browser
        browser.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")
