"""The configs that come with AlpacaEval: which of them are read, and whether as the package does.

The package is in an environment of its own under build/peers (`benchmarks/cli.py` makes it); where
it is not, these tests are skipped.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import comparison

from judges.base import Shown
from judges.errors import UserError
from judges.kinds.alpaca_eval_config import AlpacaEvalConfig
from judges.prompting.quoting import for_server

PEER = Path(__file__).parents[1] / "build" / "peers" / "alpaca_eval"
THEIRS = """
import json, logging, math, sys
from pathlib import Path
import pandas as pd, yaml
from alpaca_eval import utils
from alpaca_eval.annotators.pairwise_evaluator import SinglePairwiseAnnotator

logging.disable(logging.CRITICAL)
asked = json.load(sys.stdin)
found = {}
for file in asked["configs"]:
    ((name, config),) = yaml.safe_load(open(file)).items()
    judge = SinglePairwiseAnnotator(
        base_dir=Path(file).parents[1], **{**config, "fn_completions": print})  # nothing is called
    logprobs = config.get("fn_completion_parser") == "logprob_parser"
    replies = asked["logprobs" if logprobs else "texts"]
    if logprobs:
        replies = [{"logprobs": {"content": [{"top_logprobs": [
            {"token": t, "logprob": p} for t, p in top]}]}} for top in replies]
    values, _ = judge._parse_completions(replies)
    (prompt,), _ = judge._make_prompts(pd.DataFrame([asked["pair"]]))
    try:
        turns = [[t["role"], t["content"]] for t in utils.prompt_to_chatml(prompt.strip())]
    except AssertionError:
        turns = [["user", prompt.strip()]]
    found[file] = {"turns": turns, "values": [
        None if v is None or (isinstance(v, float) and math.isnan(v)) else v for v in values]}
json.dump(found, sys.stdout, default=float)
"""


@pytest.fixture(scope="module")
def shipped() -> dict[Path, AlpacaEvalConfig | str]:
    """Every config that comes with the package → the judge, or why there is none."""
    folders = sorted(PEER.glob("lib/*/site-packages/alpaca_eval/evaluators_configs/*/"))
    if not folders:
        pytest.skip(f"alpaca_eval is not installed in {PEER}")
    found: dict[Path, AlpacaEvalConfig | str] = {}
    for file in sorted(file for folder in folders for file in folder.glob("config*.yaml")):
        try:
            found[file] = judge_of_file(file)
        except UserError as error:
            found[file] = str(error)
    return found


def judge_of_file(file: Path) -> AlpacaEvalConfig:
    first = next(iter(yaml.safe_load(file.read_text(encoding="utf-8")).values()))
    url = first["completions_kwargs"].get("client_kwargs", {}).get("base_url")
    return AlpacaEvalConfig(path=str(file), base_url=url)


REASONS = ("13 annotators", "batch_size 5", "fn_completions", "log_prob_index -1", "no turns")


def test_27_of_the_44_configs_are_read_and_the_others_refused_with_the_reason(shipped):
    read = {file.parent.name for file, judge in shipped.items() if not isinstance(judge, str)}
    refused = {file.parent.name: why for file, why in shipped.items() if isinstance(why, str)}
    assert {"weighted_alpaca_eval_gpt4_turbo", "alpaca_eval_gpt4", "alpaca_eval_gpt4_fn"} <= read
    assert (len(read), len(shipped)) == (27, 44)
    for name, why in refused.items():
        assert any(reason in why for reason in REASONS), (name, why)
    found = [sum(reason in why for why in refused.values()) for reason in REASONS]
    assert found == [1, 1, 5, 4, 6]


TEXTS = [
    "Output (a)", "Output (b)", " Output (a)", "\nOutput (b)\n", "output (a)", "Output(a)",
    "Output (a) is better than Output (b)", "Output (a)\nOutput (b)", "Output (b)\n\nOutput (b)",
    "I prefer Output (b)", "**Output (a)**", "", " ", "\n", "nothing", "(a)", "\n(a)", " (b)",
    "7 8", "8 7\nmore", "8 8", "8,7", "8, 7", "8  7", "8.5 7.25", "-1 2", "1e3 5", "a b", "8", "8 7 6",
    "1_0 9", "\n8 7", "8 7 ", "Scores: 8 7",
    "[{'model': 'model_1', 'rank': 1}, {'model': 'model_2', 'rank': 2}]",
    "[{'model': 'model_1', 'rank': 2}, {'model': 'model_2', 'rank': 1}]",
    "[{'model': 'model_2', 'rank': 1}, {'model': 'model_1', 'rank': 2}]",
    '[{"model": "model_1", "rank": 1}, {"model": "model_2", "rank": 2}]',
    "[{'model': 'model_1', 'rank': 3}, {'model': 'model_2', 'rank': 1}]",
    "[{'model': 'model_1', 'rank': '1'}]", "[{'model': 'model_1', 'rank': 1.0}]",
    "[{'model': 'model_1', 'rank': 1}, {'model': 'model_1', 'rank': 2}]",
    "[{'model': 'model_2', 'rank': 1}]", "[{'rank': 1}]", "[]", "{}", "[1, 2]", "None",
    "{'model': 'model_1', 'rank': 1}", "  [{'model': 'model_1', 'rank': 1}]",
    "```\n[{'model': 'model_1', 'rank': 1}]\n```", "[{'model': 'model_1', 'rank': 1}",
    "[{'model': 'm', 'rank': 1}, {'model': 'M', 'rank': 2}]", "[" * 300, "(" * 50 + ")" * 50,
    '{"ordered_models": [{"model": "m", "rank": 2}, {"model": "M", "rank": 1}]}',
    '{"ordered_models": [{"model": "model_1", "rank": 1}]}', '{"ordered_models": []}',
    '{"ordered_models": "m"}', '[{"ordered_models": [{"model": "m", "rank": 1}]}]',
    '{"concise_explanation": "x", "ordered_models": [{"rank": 1, "model": "m"}]}',
    'x ```json\n{"ordered_models": [{"model": "m", "rank": 1}]}\n``` y', "```json {",
    '{"best_output": "Output (a)"}', '{"best_output": "output (b)"}', "m", "M", "true", ": true",
    "Output (a)\u2028Output (b)", "\ud83d\ude00 Output (a)", "Output (a)" * 50,
]  # fmt: skip
LOGPROBS = [
    [["m", -0.1], ["M", -2.4]], [["M", -0.1], ["m", -2.4]], [["m", -0.7], ["M", -0.7]], [["m", 0.0]],
    [["M", 0.0]], [["A", -0.2], ["B", -1.7]], [["B", -0.2]], [["The", -0.1]], [],
    [["m", -30.0], ["M", -0.0]], [["m", -700.0], ["M", -701.0]], [[" m", -0.1], ["M", -3.0]],
    [["m", -0.5], ["M", -1.5], ["Both", -2.0], ["a", -3.0], ["b", -4.0]],
]  # fmt: skip


def test_prompts_and_verdicts_are_those_of_the_package(shipped):
    judges = {str(file): judge for file, judge in shipped.items() if not isinstance(judge, str)}
    pair = {"instruction": "Sum: 2 + 2", "output_1": "It is {four}.", "output_2": "4"}
    asked = {"configs": list(judges), "texts": TEXTS, "logprobs": LOGPROBS, "pair": pair}
    done = subprocess.run(
        [str(PEER / "bin" / "python"), "-c", THEIRS],
        input=json.dumps(asked), capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    view = Shown(
        comparison(pair["output_1"], pair["output_2"], text=pair["instruction"]), "original"
    )
    n_verdicts = 0
    for file, theirs in json.loads(done.stdout).items():
        judge = judges[file]
        (request,) = judge.requests(view)
        ours = [[turn.role, for_server(turn.content)] for turn in request.messages]
        assert ours == theirs["turns"], file
        reads_logprobs = judge.config.parser.reads_logprobs
        replies: list[Any] = LOGPROBS if reads_logprobs else TEXTS
        for reply, value in zip(replies, theirs["values"], strict=True):
            found = judge.config.parser.preference(reply)
            expected = None if value is None else 0.5 if value == 0 else value - 1
            assert found == (None if expected is None else pytest.approx(expected)), (file, reply)
            n_verdicts += 1
    assert n_verdicts > 1000
