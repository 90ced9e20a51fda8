"""Judges behind a server: `leaderboard` beside `alpaca_eval`, and what a call takes of time and CPU.

    python benchmarks/judging.py [--data ../shared/data] [--runs 3]
    python benchmarks/judging.py --large

The server is `tests/api_server.py` in a process of its own, with 200 ms before every reply; both
tools send it the same 805 comparisons, each in one order. `--large` judges 100,000 comparisons with
1,000 calls at once and looks at memory, and at whether the rate falls.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import urlopen

from cli import MODEL, PEER, prepare
from paired import Command, compare, peer, run_once

LATENCY = 0.2
SLOW = 2.0
"""For many calls at once: a server that replies sooner than we can ask has few to work at."""
WORK = Path("build") / "benchmark-judging"
ANNOTATOR = """\
local:
  prompt_template: "annotator/template.txt"
  fn_completions: "openai_completions"
  completions_kwargs:
    model_name: "judge"
    max_tokens: 50
    temperature: 0
  completion_parser_kwargs:
    outputs_to_match:
      1: "^first"
      2: "^second"
  batch_size: 1
"""
TEMPLATE = """\
<|im_start|>user
Which of two answers is better? Say "first" or "second".

The instruction:
{instruction}

The first answer:
{output_1}

The second answer:
{output_2}
<|im_end|>
"""


@contextlib.contextmanager
def server(latency: float) -> Iterator[str]:
    """The address of a server in a process of its own."""
    command = [sys.executable, "tests/api_server.py", "--latency", str(latency)]
    process = subprocess.Popen(
        [*command, "--choices", "first", "second"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def stats(url: str) -> dict[str, int]:
    """What the server counted."""
    with urlopen(f"{url}/stats") as reply:
        return dict(json.load(reply))


# ------------------------------------------------------------------- one process that only judges
def judge(url: str, n: int, at_once: int, out: Path) -> None:
    """Judge `n` comparisons with `at_once` calls under way, and write down how it went."""
    begin, cpu = time.perf_counter(), time.process_time()
    from judges.backends.limiter import Limits
    from judges.base import Shown
    from judges.calling.caller import Caller, Task
    from judges.calling.prices import Prices
    from judges.kinds.pairwise import Pairwise
    from judges.schema import Comparison, Instruction, Message
    from judges.storage.cache import Cache
    from judges.storage.database import open_database
    from judges.storage.ledger import Ledger

    texts = json.loads((WORK / "texts.json").read_text())
    shown = []
    for i in range(n):
        instruction, first, second = texts[i % len(texts)]
        messages = (Message("user", instruction if i < len(texts) else f"{instruction} ({i})"),)
        comparison = Comparison(
            id=str(i),
            instruction=Instruction(id=str(i), messages=messages),
            output_1=first,
            output_2=second,
            generator_1="one",
            generator_2="two",
        )
        shown.append(Shown(comparison, "original"))
    database = open_database()
    caller = Caller(
        cache=Cache(database),
        ledger=Ledger(database),
        prices=Prices.load(),
        limits=Limits(max_in_flight=at_once, start_in_flight=at_once),
    )
    asker = Pairwise(name="judge", model="openai-api/judge", base_url=f"{url}/v1", max_tokens=50)
    # The client is loaded, and the database made, by a first call.
    list(asker.judge(shown[:1], caller, Task(), fresh=True))
    ready, ready_cpu = time.perf_counter(), time.process_time()
    verdicts = asker.judge(shown, caller, Task())
    times = [ready]
    for quarter in range(4):
        count = n * (quarter + 1) // 4 - n * quarter // 4
        missing = sum(verdict.preference is None for verdict in islice(verdicts, count))
        assert missing == 0, f"{missing} verdicts are missing"
        times.append(time.perf_counter())
    done_cpu = time.process_time()
    caller.close()
    figures = {
        "start_up_s": ready - begin,
        "start_up_cpu_s": ready_cpu - cpu,
        "judging_s": times[-1] - ready,
        "cpu_ms_a_call": 1000 * (done_cpu - ready_cpu) / n,
        "rates": [n / 4 / (b - a) for a, b in pairwise(times)],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    out.write_text(json.dumps(figures))


def judged(url: str, n: int, at_once: int) -> dict[str, Any]:
    """`judge` in a process of its own, with an empty cache."""
    cache, out = WORK / "cache", WORK / "figures.json"
    shutil.rmtree(cache, ignore_errors=True)
    flags = ["--judge", url, "--n", str(n), "--at-once", str(at_once), "--out", str(out)]
    env = {"HERDBOOK_CACHE": str(cache.resolve()), "OPENAI_API_KEY": "none"}
    begin = time.perf_counter()
    subprocess.run([sys.executable, __file__, *flags], check=True, env={**os.environ, **env})
    wall = time.perf_counter() - begin
    return {**json.loads(out.read_text()), "wall_s": wall}


# --------------------------------------------------------------------------------- the comparisons
def beside_alpaca_eval(url: str, runs: int) -> None:
    """Wall time and CPU of 805 comparisons, both tools as they come; then ours, all cached."""
    ours = str(Path(sys.executable).parent / "leaderboard")
    theirs = str(peer("alpaca_eval", PEER) / "alpaca_eval")
    annotator = WORK / "annotator"
    annotator.mkdir()
    (annotator / "configs.yaml").write_text(ANNOTATOR)
    (annotator / "template.txt").write_text(TEMPLATE)
    results, cache, out = WORK / "results", WORK / "cache", WORK / "out"
    env = {"HERDBOOK_CACHE": str(cache.resolve()), "OPENAI_API_KEY": "none"}
    where = ["--results", str(results)]
    new = ["board", "new", "api", "--prompts", str(WORK / "prompts.jsonl"), "--orders", "fixed"]
    new += ["--reference", str(WORK / "reference.json")]
    new += ["--judge", f"pairwise/openai-api/judge@{url}/v1"]
    subprocess.run([ours, *new, *where], check=True, env={**os.environ, **env})
    answers = str(WORK / "answers.json")
    evaluate = [ours, "eval", answers, "--board", "api", *where]

    before = stats(url)["calls"]
    first = run_once(Command("", evaluate, env=env))
    calls = stats(url)["calls"] - before
    print(
        f"\nThe first row of a board, its controls judged as well: {calls} calls in "
        f"{first.wall:.2f} s, {first.cpu:.2f} s of CPU"
    )

    def forget_row() -> None:
        shutil.rmtree(results / "api" / MODEL, ignore_errors=True)

    def forget_all() -> None:
        forget_row()
        shutil.rmtree(cache, ignore_errors=True)

    def forget_out() -> None:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()

    flags = {
        "model_outputs": answers,
        "reference_outputs": str(WORK / "reference.json"),
        "annotators_config": str(annotator.resolve()),
        "caching_path": "None",
        "fn_metric": "get_winrate",
        "sort_by": "win_rate",
        "precomputed_leaderboard": "None",
        "is_cache_leaderboard": "False",
        "output_path": str(out),
    }
    judge_all = [theirs, "evaluate", *(f"--{key}={value}" for key, value in flags.items())]
    offline = {
        "OPENAI_API_KEY": "none",
        "OPENAI_API_BASE": f"{url}/v1",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
    }
    compare(
        "805 comparisons at defaults",
        Command("leaderboard eval", evaluate, forget_all, env),
        Command("alpaca_eval evaluate", judge_all, forget_out, offline),
        runs,
    )

    before = stats(url)["calls"]
    cached = [run_once(Command("", evaluate, forget_row, env)) for _ in range(2 * runs + 1)]
    assert stats(url)["calls"] == before, "a cached completion was asked for again"
    print(
        f"\nAll completions cached, process to row: {median(r.cpu for r in cached):.2f} s of CPU, "
        f"{median(r.wall for r in cached):.2f} s wall (median of {len(cached)})"
    )


def equal_concurrency(url: str, runs: int) -> None:
    """Wall time against calls × latency / concurrency."""
    print(f"\n805 comparisons, judging alone ({runs} runs, medians)\n")
    print("| calls at once | ideal s | judging s | ratio | start-up s | CPU ms a call |")
    print("| --- | --- | --- | --- | --- | --- |")
    for at_once in (5, 32, 64):
        all_figures = [judged(url, 805, at_once) for _ in range(runs)]
        ideal = 805 * LATENCY / at_once
        judging = median(figures["judging_s"] for figures in all_figures)
        start = median(f["wall_s"] - f["judging_s"] for f in all_figures)
        cpu = median(figures["cpu_ms_a_call"] for figures in all_figures)
        print(
            f"| {at_once} | {ideal:.2f} | {judging:.2f} | {judging / ideal:.2f} | {start:.2f} "
            f"| {cpu:.1f} |",
            flush=True,
        )


def many_at_once() -> None:
    """CPU of a call with many others under way."""
    print(f"\n4,000 comparisons, {SLOW:.0f} s before every reply\n")
    print("| calls at once | at the server | CPU ms a call | calls a second |")
    print("| --- | --- | --- | --- |")
    for at_once in (200, 1000):
        with server(SLOW) as url:
            figures = judged(url, 4000, at_once)
            most = stats(url)["most_in_flight"]
        rate = 4000 / figures["judging_s"]
        print(f"| {at_once} | {most} | {figures['cpu_ms_a_call']:.1f} | {rate:.0f} |", flush=True)


def large() -> None:
    """Memory and rate over 100,000 comparisons."""
    with server(SLOW) as url:
        figures = judged(url, 100_000, 1000)
        most = stats(url)["most_in_flight"]
    first, *_, last = figures["rates"]
    print(
        f"\n100,000 comparisons, up to {most} calls at once: {figures['judging_s']:.0f} s, "
        f"{figures['cpu_ms_a_call']:.1f} ms of CPU a call, peak memory {figures['peak_mib']:.0f} "
        f"MiB; {first:.0f} calls a second in the first quarter, {last:.0f} in the last"
    )


def main() -> None:
    """Run the comparisons and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--judge", help=argparse.SUPPRESS)
    parser.add_argument("--n", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--at-once", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 8192), hard), hard))
    if args.judge:
        judge(args.judge, args.n, args.at_once, args.out)
        return
    data = args.data / "alpaca_eval_2"
    if not data.is_dir():
        sys.exit(f"{data} is not there: this benchmark needs real answers")
    prepare(data, WORK)
    both = [json.loads((WORK / f"{name}.json").read_text()) for name in ("reference", "answers")]
    texts = [[a["instruction"], a["output"], b["output"]] for a, b in zip(*both, strict=True)]
    (WORK / "texts.json").write_text(json.dumps(texts))
    if args.large:
        large()
        return
    with server(LATENCY) as url:
        beside_alpaca_eval(url, args.runs)
        equal_concurrency(url, args.runs)
    many_at_once()


if __name__ == "__main__":
    main()
