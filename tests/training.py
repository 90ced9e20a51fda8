"""What the trainers' tests share: small data sets, runs in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from conftest import read_lines, write_rows

from judges.records import Appender
from train_baselines import (
    best_of_n,
    dpo,
    expert_iteration,
    feedme,
    ppo,
    quark,
    reward_conditioning,
    reward_model,
    rrhf,
    sft,
)

MAIN = {
    "sft": sft.main,
    "dpo": dpo.main,
    "reward_model": reward_model.main,
    "feedme": feedme.main,
    "reward_conditioning": reward_conditioning.main,
    "best_of_n": best_of_n.main,
    "expert_iteration": expert_iteration.main,
    "rrhf": rrhf.main,
    "ppo": ppo.main,
    "quark": quark.main,
}
WORDS = ("red", "blue", "green", "cat", "dog")
ASKED = [f"Say {word} {n}" for n in range(8) for word in WORDS]


def demonstrations(path: Path) -> Path:
    """Forty prompts of differing length, each answered with its word twice."""
    return write_rows(
        path,
        [{"prompt": f"{text}{' please' * (n % 4)}", "completion": f"{text.split()[1]} " * 2}
         for n, text in enumerate(ASKED)],
    )  # fmt: skip


def preferences(path: Path) -> Path:
    """The same prompts; the word is better than a refusal, whichever stands first."""
    rows = []
    for n, text in enumerate(ASKED):
        pair = [f"{text.split()[1]} yes", "no " * (1 + n % 3)]
        rows.append(
            {
                "messages": [{"role": "user", "content": text}],
                "output_1": pair[n % 2],
                "output_2": pair[1 - n % 2],
                "preference": float(n % 2),
            }
        )
    return write_rows(path, rows)


def candidates(path: Path, n: int = len(ASKED)) -> Path:
    """The same prompts, each with one to four answers: the word is best, a refusal worst."""
    rows = []
    for k, text in enumerate(ASKED[:n]):
        word = text.split()[1]
        answers = [("no " * (1 + k % 3), -1.5), (f"{word} yes", 2.0), (f"{word}", 0.5), ("no", 0.5)]
        kept = answers[k % 2 : k % 2 + 1 + k % 4]
        responses, scores = zip(*kept, strict=True)
        rows.append({"query": text, "responses": list(responses), "scores": list(scores)})
    return write_rows(path, rows)


def train(method: str, model: Path, data: Path, output: Path, **settings: object) -> int:
    """The exit code of a method's command line; settings are flags."""
    flags = {"model_name_or_path": model, "dataset": data, "output_dir": output, **settings}
    return MAIN[method]([x for k, v in flags.items() for x in (f"--{k}", str(v))])


def metrics(output: Path) -> list[dict[str, Any]]:
    return read_lines(output / "metrics.jsonl")


def in_processes(
    function: Callable[..., object], *args: object, world: int | None = None
) -> Sequence[int | None]:
    """Runs a function in a copy of this process, or in several that gloo joins; the exit codes."""
    context = multiprocessing.get_context("fork")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def body(rank: int) -> None:
        if world is not None:
            PartialState._reset_state()  # what this process was before it was copied
            os.environ |= {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world),
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true",
            }  # fmt: skip
        function(*args)

    children = [context.Process(target=body, args=(rank,)) for rank in range(world or 1)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
        if child.is_alive():
            child.kill()
    return [child.exitcode for child in children]


def look_sharded(monkeypatch: Any) -> None:
    """Has accelerate say that weights are sharded, which it does not do on a CPU."""
    from accelerate import Accelerator
    from accelerate.utils import DistributedType

    monkeypatch.setattr(Accelerator, "distributed_type", property(lambda _: DistributedType.FSDP))
    monkeypatch.setattr(Accelerator, "is_fsdp2", property(lambda _: True))


def killed_after(n: int, run: Callable[[], object]) -> int:
    """The exit code of a process that runs it and is killed once it has appended n lines to a file
    and a part of another."""

    def killed() -> None:
        append, done = Appender.append, []

        def kill(self: Appender, record: object) -> None:
            append(self, record)
            done.append(record)
            if len(done) == n:
                self._file.write(b'{"prompt": "to')  # torn
                os.kill(os.getpid(), signal.SIGKILL)

        Appender.append = kill
        run()

    (code,) = in_processes(killed)
    return code
