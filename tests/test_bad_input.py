"""Bad input gets a clear error on the command line, and what was done is not lost."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import good_answers, make_board, toy_instructions, write_answers
from tiny_model import make_tiny_llama

from judges.backends.base import Completion, Request
from judges.backends.fake import FakeLLM
from judges.base import Shown
from judges.checklist import Checklist
from judges.records import Appender
from leaderboard.results import Row

ESCAPE = "\x1b[2J"


def refused(run: Any, *parts: str) -> None:
    """Holds that a command said in a line or two what is wrong, and exited with 2."""
    assert run.code == 2, run.out
    lines = run.err.strip().splitlines()
    complaint = "\n".join(lines[-2:])
    assert "Traceback" not in run.err
    assert len(lines) <= 2, run.err
    assert lines[0].startswith("leaderboard "), run.err
    for part in parts:
        assert part in complaint


@pytest.fixture
def evaluate(results, leaderboard):
    """Runs `eval` on the toy board."""
    return lambda *args: leaderboard("eval", *args, "--board", "toy", "--results", results)


def rows_of(results: Path, board: str = "toy") -> set[str]:
    with (results / board / "leaderboard.csv").open(encoding="utf-8", newline="") as file:
        return {record["model"] for record in csv.DictReader(file)}


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# --------------------------------------------------------------------------------- answers files
ROWS = [{"instruction_id": f"toy-{k:02d}", "output": f"word{k}"} for k in range(12)]
LINES = [json.dumps(row) + "\n" for row in ROWS]
TEXT = toy_instructions(1)[0].text

BAD_FILES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "missing instruction": (".jsonl", "".join(LINES[:-1]), ("1 of 12 instructions", "toy-11")),
    "neither id nor text": (".json", json.dumps([{"output": "x"}]), ("row 1: neither `instr",)),
    "doubled id": (".jsonl", "".join([*LINES, LINES[3]]), ("line 13: a second answer", "toy-03")),
    "doubled by id and text": (
        ".jsonl",
        "".join([*LINES, json.dumps({"instruction": TEXT, "output": "x"}) + "\n"]),
        ("line 13: a second answer", "toy-00"),
    ),
    "unknown column": (".jsonl", LINES[0].replace("output", "outptu"), ("column 'outptu'; known",)),
    "unknown CSV column": (".csv", "instruction_id,outputs\na,b\n", ("line 2", "'outputs'; known")),
    "missing output": (".jsonl", '{"instruction_id": "toy-00"}\n', ("line 1: `output` must be",)),
    "null output": (".jsonl", '{"instruction_id": "toy-00", "output": null}', ("not None",)),
    "output that is a list": (".json", '[{"instruction_id": "a", "output": []}]', ("row 1", "[]")),
    "reasoning that is a number": (
        ".jsonl", '{"instruction_id": "toy-00", "output": "x", "reasoning": 3}', ("`reasoning`",)
    ),
    "empty file": (".jsonl", "", ("the file is empty",)),
    "blank file": (".jsonl", "\n \n", ("there are no rows",)),
    "header only": (".csv", "instruction_id,output\n", ("there are no rows",)),
    "empty list": (".json", "[]", ("there are no rows",)),
    "empty Parquet": (".parquet", "", ("the file is empty",)),
    "broken JSON": (".json", '[\n{"output": "a"},\n{"output" "b"}]', ("not valid JSON", "line 3")),
    "broken JSON on line 2": (".jsonl", LINES[0] + '{"a": \n' + LINES[1], ("line 2: not valid",)),
    "deep JSON": (".json", "[" * 100_000, ("not valid JSON",)),
    "JSON that is no list": (".json", '{"output": "x"}', ("a JSON list of objects",)),
    "a line that is no object": (".jsonl", "[1]\n", ("line 1: a JSON object was expected",)),
    "ragged CSV": (".csv", "instruction_id,output\ntoy-00,a,b\n", ("line 2: 2 cells",)),
    "open quote in CSV": (".csv", 'instruction_id,output\ntoy-00,"a\n', ("near line",)),
    "doubled CSV column": (".csv", "output,output\na,b\n", ("two columns have one name",)),
    "broken Parquet": (".parquet", "PAR1 not really", ("not a readable Parquet file",)),
    "half a character": (".jsonl", '{"output": "\\ud83d"}\n', ("line 1: half of a surrogate",)),
    "another eval set": (
        ".jsonl",
        "".join(LINES) + '{"instruction": "Something else?", "output": "x"}\n',
        ("line 13: this instruction is not on the board (1 of 13 rows", "another eval set"),
    ),
    "other ids": (
        ".jsonl", '{"instruction_id": "alpaca-1", "output": "x"}\n', ("1 of 1 rows are not",)
    ),
    "several generators": (
        ".json",
        json.dumps([{**row, "generator": f"m{k}"} for k, row in enumerate(ROWS)]),
        ("answers of several generators (m0, m1, m10)",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_FILES)
def test_a_bad_answers_file_is_refused_with_the_place(what, evaluate, results, tmp_path):
    suffix, content, complaints = BAD_FILES[what]
    path = tmp_path / f"bad{suffix}"
    path.write_text(content, encoding="utf-8")
    refused(evaluate(path), str(path), *complaints)
    assert not (results / "toy" / "bad").exists()


def test_text_that_is_not_utf_8_is_refused(evaluate, tmp_path):
    for suffix, content in ((".csv", b"instruction_id,output\ntoy-00,caf\xe9\n"),
                            (".jsonl", b'{"output": "caf\xe9"}\n')):  # fmt: skip
        path = tmp_path / f"latin{suffix}"
        path.write_bytes(content)
        refused(evaluate(path), "latin", "line")


def test_two_instructions_of_one_text_need_ids(tmp_path, leaderboard):
    turns = [[{"role": "user", "content": start}, {"role": "assistant", "content": "?"},
              {"role": "user", "content": "And now?"}] for start in "ab"]  # fmt: skip
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps([{"messages": m} for m in turns]), encoding="utf-8")
    flags = ("--reference", "fake/echo", "--judge", "heuristic/random", "--results", tmp_path)
    assert leaderboard("board", "new", "twins", "--prompts", prompts, *flags).code == 0
    answers = tmp_path / "a.json"
    answers.write_text(json.dumps([{"instruction": "And now?", "output": "x"}]), encoding="utf-8")
    run = leaderboard("eval", answers, "--board", "twins", "--results", tmp_path)
    refused(run, "row 1: several instructions have this text; give `instruction_id`")


# --------------------------------------------------------------------------------- names and paths
@pytest.mark.parametrize(
    "name",
    ["a/b", "../up", "/abs", "a\\b", "a b", "a\nb", ESCAPE, "\u202ereversed", "..", ".", "",
     "controls", "References", "-dash", "x" * 97],
)  # fmt: skip
def test_unusable_row_names_are_refused(name, evaluate, results, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    answers = write_answers(tmp_path / "good.jsonl", good_answers())
    run = evaluate(answers, f"--name={name}")
    refused(run, "--name")
    assert ESCAPE not in run.err
    assert "\u202e" not in run.err
    assert sorted(tmp_path.rglob("*")) == sorted([*before, answers])


@pytest.mark.parametrize("name", ["../toy", "a/b", ESCAPE, "x" * 300, "."])
def test_unusable_board_names_are_refused(name, results, leaderboard, tmp_path):
    answers = write_answers(tmp_path / "good.jsonl", good_answers())
    run = leaderboard("eval", answers, f"--board={name}", "--results", results)
    refused(run, "the board's name")
    assert ESCAPE not in run.err


def test_a_group_with_control_characters_is_refused(evaluate):
    run = evaluate("fake/words", f"--group={ESCAPE}")
    refused(run, "--group")
    assert ESCAPE not in run.err


@pytest.mark.parametrize("generator", ["../../etc/passwd", "a\nb", f"{ESCAPE}red", "a b"])
def test_a_files_generator_becomes_a_safe_name_inside_the_board(
    generator, evaluate, results, tmp_path
):
    rows = [{**row, "generator": generator} for row in ROWS]
    path = tmp_path / "answers.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    before = set(results.iterdir())
    run = evaluate(path)
    assert run.code == 0, run.err
    assert ESCAPE not in run.out
    assert set(results.iterdir()) == before
    (row,) = (results / "toy").glob("*/outputs.jsonl")
    assert row.parent.name in {"etc__passwd", "a-b", "2Jred"}


MODELS = {
    "nothing.jsonl": "no such file",
    "nowhere": "no such file or folder",
    "fake/nothing": "unknown model 'fake/nothing'",
    "notes.txt": "unknown format; answers files are .json, .jsonl, .csv, .parquet",
}


@pytest.mark.parametrize("model", MODELS)
def test_a_model_that_is_not_there_is_refused(model, evaluate, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("x", encoding="utf-8")
    refused(evaluate(model), MODELS[model])


def test_no_model_at_all_is_refused(evaluate):
    refused(evaluate(), "name a model, a folder or a file of answers")


def test_an_unknown_board_is_refused_with_those_that_there_are(results, leaderboard):
    run = leaderboard("eval", "fake/echo", "--board", "tyo", "--results", results)
    refused(run, "there is no board 'tyo'", "starter, toy", "leaderboard board new tyo")


def test_a_results_folder_that_is_a_file_is_refused(tmp_path, leaderboard):
    path = tmp_path / "results"
    path.write_text("x", encoding="utf-8")
    for command in (("eval", "fake/echo"), ("board", "new", "b", "--from", "starter")):
        refused(leaderboard(*command, "--results", path), "a file stands where a folder is needed")


# ----------------------------------------------------------------------------------- model folders
@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Path:
    """The folder of a tiny model."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    torch.set_num_threads(1)
    return make_tiny_llama(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def model(llama, tmp_path) -> Path:
    return Path(shutil.copytree(llama, tmp_path / "model"))


def test_a_model_folder_without_weights_is_refused(model, evaluate, results):
    (model / "model.safetensors").unlink()
    refused(evaluate(model), str(model), "no weights")
    assert not list((results / "toy").glob("*/outputs.jsonl"))


def test_a_folder_that_is_no_model_is_refused(tmp_path, evaluate):
    refused(evaluate(tmp_path), "no config.json, so this is not a model's folder")


class Trap:
    """What runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (os.mkdir, (os.environ["TRAP"],))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_pickled_weights_are_refused_and_never_loaded(name, model, evaluate, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setenv("TRAP", str(tmp_path / "sprung"))
    (model / "model.safetensors").unlink()
    torch.save({"weight": Trap()}, model / name)
    refused(evaluate(model), name, "pickled weights are refused", "save_pretrained")
    assert not (tmp_path / "sprung").exists()


def test_a_cut_off_weights_file_is_refused(model, evaluate):
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    refused(evaluate(model), "model.safetensors: broken or cut off")


# ------------------------------------------------------------------------ interrupted and resumed
@pytest.fixture
def generated(monkeypatch) -> list[str]:
    """The ids of the requests that fake models have answered, four a batch."""
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


def interrupt_after(calls: int, monkeypatch: pytest.MonkeyPatch, kind: BaseException) -> None:
    complete, done = FakeLLM.complete_batch, []

    def interrupted(self: FakeLLM, requests: Sequence[Request]) -> list[Completion]:
        if len(done) == calls:
            raise kind
        done.append(requests)
        return complete(self, requests)

    monkeypatch.setattr(FakeLLM, "complete_batch", interrupted)


def test_an_interrupted_run_resumes_and_answers_nothing_twice(
    evaluate, results, generated, monkeypatch
):
    with monkeypatch.context() as patch:
        interrupt_after(2, patch, KeyboardInterrupt())
        run = evaluate("fake/words")
    assert run.code == 130
    assert "interrupted; what was done is kept" in run.err
    assert "Traceback" not in run.err
    assert len(generated) == 8
    held = read_lines(results / "toy/words/outputs.jsonl")
    assert sorted(line["instruction_id"] for line in held) == sorted(generated)
    run = evaluate("fake/words")
    assert run.code == 0, run.err
    assert "8 answers are there already; 4 are left" in run.err
    assert sorted(generated) == [i.id for i in toy_instructions(12)]
    evaluate("fake/words", "--name", "at-once")
    whole, resumed = (results / "toy" / n / "outputs.jsonl" for n in ("at-once", "words"))
    assert whole.read_text("utf-8").replace("at-once", "words") == resumed.read_text("utf-8")


def test_an_interrupted_judging_resumes_and_judges_nothing_twice(evaluate, results, monkeypatch):
    judged: list[str] = []
    judge = Checklist.judge

    def interrupted(self: Checklist, shown: Sequence[Shown]) -> Any:
        for view, verdict in zip(shown, judge(self, shown), strict=True):
            if len(judged) == 5:
                raise KeyboardInterrupt
            judged.append(view.comparison.id)
            yield verdict

    with monkeypatch.context() as patch:
        patch.setattr(Checklist, "judge", interrupted)
        assert evaluate("fake/words").code == 130
    held = {a.comparison_id for a in Row(results / "toy" / "words").annotations()}
    assert held == set(judged)

    def counting(self: Checklist, shown: Sequence[Shown]) -> Any:
        judged.extend(v.comparison.id for v in shown if v.comparison.generator_2 == "words")
        return judge(self, shown)

    monkeypatch.setattr(Checklist, "judge", counting)
    assert evaluate("fake/words").code == 0
    assert len(judged) == len(set(judged)) == 12


def test_a_model_that_breaks_down_keeps_what_it_wrote(evaluate, results, generated, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(1, patch, RuntimeError("a fault of ours"))
        with pytest.raises(RuntimeError, match="a fault of ours"):
            evaluate("fake/words")
    assert evaluate("fake/words").code == 0
    assert len(generated) == len(set(generated)) == 12


@pytest.mark.parametrize("torn", ['{"instruction_id": "toy-0', "{", '{"a": "\xe4'])
def test_a_torn_last_line_of_outputs_is_written_anew(torn, evaluate, results, generated):
    evaluate("fake/words")
    path = results / "toy/words/outputs.jsonl"
    whole = path.read_bytes()
    kept = b"".join(whole.splitlines(keepends=True)[:9])
    path.write_bytes(kept + torn.encode()[:-1])
    generated.clear()
    run = evaluate("fake/words")
    assert run.code == 0, run.err
    assert sorted(generated) == ["toy-09", "toy-10", "toy-11"]
    assert path.read_bytes() == whole


def test_a_torn_last_line_of_annotations_is_judged_anew(evaluate, results):
    evaluate("fake/words")
    path = results / "toy/words/annotations.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert evaluate("fake/words").code == 0
    assert path.read_bytes() == whole


def test_judging_torn_outputs_says_what_is_missing(evaluate, results):
    evaluate("fake/words", "--only", "generate")
    path = results / "toy/words/outputs.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    refused(evaluate("words", "--only", "judge"), "1 of 12 instructions have no answer (toy-11)")


@pytest.mark.parametrize(
    ("file", "content", "complaint"),
    [
        ("outputs.jsonl", '{"instruction_id": "toy-00"}\n', "outputs.jsonl, line 1: generator"),
        ("outputs.jsonl", "{]\n", "outputs.jsonl, line 1: not valid JSON"),
        ("annotations.jsonl", '{"verdict": 1}\n', "line 1: unknown field 'verdict'"),
        ("annotations.jsonl", '{"preference": 7}\n', "line 1: preference 7 is not in 0..1"),
        ("annotations.jsonl", '{"order": "up"}\n', "line 1: order 'up' is not one of"),
        ("annotations.jsonl", '{"order": "none"}\n', "line 1: an annotation needs"),
        ("manifest.json", "[]", "manifest.json: no JSON object of schema_version 1"),
        ("model.toml", "name = ", "model.toml: not valid TOML"),
        ("model.toml", 'name = "x"\nlicence = "MIT"\n', "model.toml: licence"),
    ],
)
def test_a_row_edited_by_hand_is_refused_with_the_place(
    file, content, complaint, evaluate, results
):
    evaluate("fake/words")
    (results / "toy" / "words" / file).write_text(content, encoding="utf-8")
    run = evaluate("fake/words")
    assert run.code == 2
    assert complaint in run.err.splitlines()[-1]
    assert "Traceback" not in run.err


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_broken_summary_is_named_by_others_and_made_anew_by_its_own_run(
    content, evaluate, results
):
    evaluate("fake/words")
    path = results / "toy" / "words" / "summary.json"
    whole = path.read_bytes()
    path.write_text(content, encoding="utf-8")
    run = evaluate("fake/echo")
    assert run.code == 2
    assert str(path) in run.err.splitlines()[-1]
    assert evaluate("fake/words").code == 0
    assert path.read_bytes() == whole
    assert rows_of(results) == {"base", "words", "echo"}


# --------------------------------------------------------------- full disks, read-only folders
class FullDisk:
    """A file on a disk that has room for so many bytes more; then it is as the system has it: a
    write takes what fits, the next one fails."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self._room = file, room

    def write(self, data: bytes) -> int:
        if self._room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken: int = self._file.write(data[: self._room])
        self._room -= taken
        return taken

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.mark.parametrize("room", [0, 1, 700, 701, 750])
@pytest.mark.parametrize("file", ["outputs.jsonl", "annotations.jsonl"])
def test_a_full_disk_keeps_what_was_done_readable(file, room, evaluate, results, monkeypatch):
    enter = Appender.__enter__

    def full(self: Appender) -> Appender:
        entered = enter(self)
        if self.path.name == file:
            entered._file = FullDisk(entered._file, room)  # type: ignore[assignment]
        return entered

    with monkeypatch.context() as patch:
        patch.setattr(Appender, "__enter__", full)
        run = evaluate("fake/words")
    assert run.code == 2
    assert "no space is left on the disk" in run.err.splitlines()[-1]
    assert "what was done is kept" in run.err.splitlines()[-1]
    assert "Traceback" not in run.err
    path = results / "toy" / "words" / file
    assert path.read_bytes() == b"" or path.read_bytes().endswith(b"\n")
    assert len(path.read_bytes()) <= room
    held = len(read_lines(path))
    assert (held > 0) == (room >= 700)
    run = evaluate("fake/words")
    assert run.code == 0, run.err
    assert len(read_lines(path)) == 12


@pytest.mark.parametrize("file", ["outputs.jsonl", "annotations.jsonl", "summary.json"])
def test_a_disk_that_is_full_at_the_rewriting_leaves_the_old_file(
    file, evaluate, results, monkeypatch
):
    replaced = os.replace

    def full(source: Any, target: Any) -> None:
        if Path(target).name == file:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        replaced(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        run = evaluate("fake/words")
    assert run.code == 2
    assert "no space is left on the disk" in run.err.splitlines()[-1]
    assert len(read_lines(results / "toy/words/outputs.jsonl")) == 12
    assert not list(results.rglob("*.tmp"))
    assert evaluate("fake/words").code == 0
    assert "words" in rows_of(results)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_read_only_results_folder_is_told(code, evaluate, results, leaderboard, monkeypatch):
    evaluate("fake/words")
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    opened, made = os.open, os.mkdir

    def check(path: Any) -> None:
        if str(results) in str(path):
            raise OSError(code, os.strerror(code), str(path))

    def read_only(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            check(path)
        return opened(path, flags, *args, **kwargs)

    def make(path: Any, *args: Any, **kwargs: Any) -> None:
        if not os.path.exists(path):  # where the folder is there, the system says that first
            check(path)
        made(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", read_only)
    monkeypatch.setattr(os, "mkdir", make)
    said = "read-only" if code == errno.EROFS else "permission denied"
    refused(evaluate("fake/echo"), said, str(results))
    refused(evaluate("fake/words"), said, str(results))
    refused(leaderboard("eval", "fake/echo", "--results", results), said)
    assert {path: path.read_bytes() for path in before} == before
    assert leaderboard("show", "toy", "--results", results).code == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_really_read_only_results_folder_is_told(evaluate, results):
    folders = [results, *(path for path in results.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        refused(evaluate("fake/words"), "permission denied")
    finally:
        for folder in folders:
            folder.chmod(0o755)


# ------------------------------------------------------------------------------- other processes
SLOW = """
import sys, time
from judges.backends.fake import FakeLLM
from leaderboard.cli import main

complete = FakeLLM.complete_batch

def slow(self, requests):
    print(*(request.id for request in requests), file=log, flush=True)
    time.sleep(float(sys.argv[2]))
    return complete(self, requests)

FakeLLM.complete_batch = slow
log = open(sys.argv[1], "a")
sys.exit(main(sys.argv[3:]))
"""


@pytest.fixture
def start(tmp_path):
    """Starts a command line in a process of its own, its fake models slow; ends all at the end."""
    script = tmp_path / "slow.py"
    script.write_text(SLOW, encoding="utf-8")
    root = Path(__file__).parents[1]
    running: list[subprocess.Popen[str]] = []

    def run(pause: float, *args: str | Path) -> subprocess.Popen[str]:
        command = [sys.executable, script, tmp_path / "asked.txt", str(pause), *args]
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(root)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()


def wait_for_lines(path: Path, n: int, process: subprocess.Popen[str]) -> None:
    for _ in range(1200):
        if path.is_file() and path.read_bytes().count(b"\n") >= n:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError(f"{path} never got {n} lines")


def test_a_killed_run_resumes_and_answers_nothing_twice(start, tmp_path, generated, leaderboard):
    results = tmp_path / "results"
    make_board(results / "toy", 40)
    command = ("eval", "fake/words", "--board", "toy", "--results", results)
    process = start(0.5, *command)
    outputs = results / "toy" / "words" / "outputs.jsonl"
    wait_for_lines(outputs, 1, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    held = [line["instruction_id"] for line in read_lines(outputs)]
    assert 0 < len(held) < 40
    run = leaderboard(*command)
    assert run.code == 0, run.err
    assert sorted([*held, *generated]) == [i.id for i in toy_instructions(40)]
    assert rows_of(results) == {"base", "words"}


def test_a_second_run_on_one_row_is_refused_and_the_first_goes_on(start, results, leaderboard):
    command = ("eval", "fake/words", "--board", "toy", "--results", results)
    first = start(1.0, *command)
    wait_for_lines(results / "toy" / "words" / "outputs.jsonl", 1, first)
    refused(leaderboard(*command), "another run is at work on", "--name")
    _, errors = first.communicate(timeout=120)
    assert first.returncode == 0, errors
    assert rows_of(results) == {"base", "words"}


@pytest.mark.parametrize("board", ["toy", "starter"])
def test_of_two_runs_on_one_board_at_once_both_rows_land(board, start, results):
    """On `starter` both runs also make the board; on both they judge its controls."""
    processes = [
        start(0.0, "eval", model, "--board", board, "--results", results)
        for model in ("fake/words", "fake/echo")
    ]
    for process in processes:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
    assert {"words", "echo"} < rows_of(results, board)


# ------------------------------------------------------------------------------ boards by hand
def test_a_board_edited_by_hand_is_refused_and_its_rows_stay(evaluate, results):
    evaluate("fake/words")
    row = {path: path.read_bytes() for path in (results / "toy" / "words").iterdir()}
    path = results / "toy" / "references" / "base.jsonl"
    text = path.read_text("utf-8")
    path.write_text(text.replace("The word", "Our word", 1), encoding="utf-8")
    refused(
        evaluate("fake/echo"), "changed", "references/", "leaderboard board new NAME --from toy"
    )
    assert {path: path.read_bytes() for path in row} == row
    path.write_text(text, encoding="utf-8")
    assert evaluate("fake/echo").code == 0
    assert {"words", "echo"} < rows_of(results)
