"""A training run: the steps of a method, on one device or many, that can be killed and resumed.

A method keeps its own loop and asks the run for four things:

    run = Run("sft", config)
    model = run.prepare(policy)                 # device, wrapping, optimiser
    for batch in run.batches(rows):             # examples of this process; saves between two steps
        loss, metrics = sft_loss(...)           # a mean over the batch
        run.update(batch, loss, metrics)        # backward; with the last batch of a step, the step
    return run.finish()                         # the checkpoint

The loss of a step is the mean over all its examples (or their tokens), however they are cut into
batches and dealt to processes.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from judges.errors import UserError
from judges.records import digest
from train_baselines.runtime import folder, plan, storage
from train_baselines.runtime.config import RunConfig
from train_baselines.runtime.devices import Model, make_accelerator
from train_baselines.runtime.journal import Journal, Tally
from train_baselines.runtime.optimizer import make_optimizer, set_learning_rate
from train_baselines.runtime.plan import Batch, R


class Run:
    """One training run of a method. Makes the folder its own on entry: raises UserError for one
    that holds a finished run, or one of another method or with other settings."""

    def __init__(self, method: str, config: RunConfig) -> None:
        config.check()
        self.method, self.config, self.output = method, config, config.output_dir
        self.accelerator = make_accelerator(config)
        self.device: torch.device = self.accelerator.device
        self.rank: int = self.accelerator.process_index
        self.world: int = self.accelerator.num_processes
        self.is_main: bool = self.accelerator.is_main_process
        self.step = 0
        """Steps that are done."""
        self.state: dict[str, Any] = {}
        """What the method wants to have back when it is resumed; as JSON."""
        self._facts: dict[str, Any] = {}
        self._tally = Tally()
        self._losses: list[tuple[Tensor, Sequence[Any]]] = []
        tracked = config.report_to != "none"
        self._journal = Journal(self.output / "metrics.jsonl", self.accelerator, tracked=tracked)
        self._claim()
        from accelerate.utils import set_seed

        set_seed(config.seed)

    @property
    def precision(self) -> str:
        """fp32 or bf16."""
        return "bf16" if self.accelerator.mixed_precision == "bf16" else "fp32"

    def note(self, text: str, **facts: object) -> None:
        """Tells the user something, once for all processes; facts go into train_config.json."""
        self._facts.update(facts)
        if self.is_main:
            print(text, flush=True)

    # ------------------------------------------------------------------------------- preparation
    def prepare(self, model: Model) -> Any:
        """The model on its device, wrapped for all processes; what to call in the loop.

        Makes the optimiser, for the parameters that ask for gradients, and says what is trained at
        which learning rate.
        """
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        optimizer = make_optimizer([p for _, p in named], self.config, self.device)
        if self.config.torch_compile:
            model.compile()
        self._saved_by = model
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.model.train()
        inner = self.accelerator.unwrap_model(self.model)
        self._trained = {name: p for name, p in inner.named_parameters() if p.requires_grad}
        rate = self.config.resolved_learning_rate()
        lora = self.config.use_peft and self.config.learning_rate is None
        self.note(
            f"training {sum(p.numel() for _, p in named):,} of "
            f"{sum(p.numel() for p in model.parameters()):,} parameters in {self.precision}, "
            f"learning rate {rate:g}{' (ten times the full one, with LoRA)' if lora else ''}"
        )
        return self.model

    # --------------------------------------------------------------------------------- the steps
    def batches(self, rows: Sequence[R], *, packed: bool = False) -> Iterator[Batch[R]]:
        """This process's batches of every step that is left, the plainest loop; see `steps`."""
        for chosen in self.steps(rows):
            yield from self.micro_batches(rows, chosen, packed=packed)

    def steps(self, rows: Sequence[R]) -> Iterator[list[int]]:
        """The numbers of the rows of each step, in all processes; `update` it before the next.

        Takes up the last checkpoint first. Between two steps it logs, saves and exports.
        """
        if not rows:
            raise UserError(f"{self.config.dataset}: no examples are left to train on")
        size = self.config.batch_size
        per_epoch = math.ceil(len(rows) / size)
        self.total = self.config.max_steps or per_epoch * self.config.num_train_epochs
        self._resume(rows)
        self._journal.open(self.method, self.step, self.total)
        left = range(self.step, self.total)
        every = plan.rows_of_steps(len(rows), size, left, seed=self.config.seed)
        try:
            for number, chosen in zip(left, every, strict=True):
                set_learning_rate(self.optimizer, self.config, number, self.total)
                yield chosen
                self.step = number + 1
                self._end_step(self.step / per_epoch)
        finally:
            self._journal.close()

    def _end_step(self, epoch: float) -> None:
        self._journal.line(self.step, epoch, self.optimizer.param_groups[0]["lr"])
        if self.step % self.config.save_steps == 0 and self.step < self.total:
            self._save()
        if self.config.export_steps and self.step % self.config.export_steps == 0:
            self._write(self.output / f"step-{self.step}")

    def micro_batches(
        self, rows: Sequence[R], chosen: Sequence[int], *, packed: bool = False
    ) -> Iterator[Batch[R]]:
        """The batches of this process for one step on the chosen rows, which all processes hold."""
        lengths, weights = _measures(rows)
        dealt = plan.deal(chosen, lengths, self.world)
        planned = plan.shares(
            dealt, lengths, weights, self.config.tokens_per_device, packed=packed
        )[self.rank]
        yield from self._yielded(rows, planned)

    def own_batches(self, rows: Sequence[R], size: int, *, epoch: int = 0) -> Iterator[Batch[R]]:
        """The batches of one pass over rows that this process alone holds, such as its rollouts,
        shuffled; `size` rows of all processes to an update. All processes hold equally many."""
        from accelerate.utils import gather_object

        n = len(rows)
        held: list[list[tuple[int, float]]] = gather_object([[(r.length, r.weight) for r in rows]])
        lengths = [length for one in held for length, _ in one]
        weights = [weight for one in held for _, weight in one]
        key = self.config.seed + 1 + self.step
        for chosen in plan.steps_of_epoch(n, max(1, size // self.world), seed=key, epoch=epoch):
            dealt = [[rank * n + row for row in chosen] for rank in range(self.world)]
            planned = plan.shares(dealt, lengths, weights, self.config.tokens_per_device)
            mine = [
                plan.Share(tuple(row % n for row in part.rows), part.share)
                for part in planned[self.rank]
            ]
            yield from self._yielded(rows, mine)

    def _yielded(self, rows: Sequence[R], planned: Sequence[plan.Share]) -> Iterator[Batch[R]]:
        for n, part in enumerate(planned):
            last = n == len(planned) - 1
            # Processes exchange their gradients once a step; this must be known to the forward.
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.model):
                yield Batch([rows[row] for row in part.rows], part.share, last)

    def update(
        self, batch: Batch[Any], loss: Tensor, metrics: Mapping[str, Tensor | float] | None = None
    ) -> None:
        """Backward for a loss that is the mean over the batch's weights; behind the last batch of a
        step, the optimiser moves. `metrics` are such means as well, under equal names each time.

        Raises UserError for a loss or gradient that is not finite, and names the batch.
        """
        self.accelerator.backward(loss * batch.share)
        self._losses.append((loss.detach(), batch.rows))
        self._tally.add({"loss": loss, **(metrics or {})}, batch.share, loss)
        tokens = sum(row.n_tokens for row in batch.rows) if batch.share else 0
        self._tally.add({"tokens": tokens}, self.world, loss)
        if batch.is_last:
            self._move()

    def log(self, **figures: float) -> None:
        """Adds figures of the whole step to its line in metrics.jsonl, such as a mean reward."""
        self._journal.log(figures)

    def _move(self) -> None:
        limit = self.config.max_grad_norm or math.inf
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), limit)
        found = {**self._tally.total(self.accelerator), "grad_norm": float(norm)}
        if not (math.isfinite(found["loss"]) and math.isfinite(found["grad_norm"])):
            raise UserError(self._not_finite())
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._journal.update(found)
        self._losses = []

    def _not_finite(self) -> str:
        wrong = [rows for loss, rows in self._losses if not torch.isfinite(loss).item()]
        what, rows = ("loss", wrong[0]) if wrong else ("gradient", self._losses[0][1])
        named = ", ".join(row.where for row in rows[:3])
        more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
        kept = storage.last_checkpoint(self.output)
        return (
            f"step {self.step + 1}: the {what} is not finite, in the batch of {named}{more}. "
            f"{f'{kept} is kept' if kept else 'No checkpoint was saved yet'}: lower the learning "
            "rate or look at these examples"
        )

    # ------------------------------------------------------------------------------- the folder
    def _claim(self) -> None:
        folder.check_free(self.output, self.method, self.config)
        self.accelerator.wait_for_everyone()
        if self.is_main and self.config.overwrite:
            folder.clear(self.output)
        self.accelerator.wait_for_everyone()
        if self.config.report_to != "none":
            self.accelerator.init_trackers(self.method, config=folder.settings(self.config))

    def _resume(self, rows: Sequence[Any]) -> None:
        data = _digest(rows)
        last = storage.last_checkpoint(self.output)
        if last is not None:
            saved = storage.load_checkpoint(last)
            if saved.state["data"] != data:
                raise UserError(
                    f"{last} was trained on other data than {self.config.dataset} holds now: "
                    "choose another --output-dir, or begin anew with --overwrite True"
                )
            folder.restore_tensors(saved.tensors, self._trained, self._optimizer)
            self.step, self.state = saved.state["step"], saved.state["method"]
            if self.rank < len(saved.state["random"]):
                own = folder.below(f"random/{self.rank}/", saved.tensors)
                storage.set_random_state(own, saved.state["random"][self.rank])
            self.note(f"going on from {last}")
        self._data = data
        if self.is_main:
            storage.cut_metrics(self.output / "metrics.jsonl", self.step)
            self._facts |= {"examples": len(rows), "steps": self.total}
            self._describe(finished=False)

    def _describe(self, *, finished: bool) -> None:
        told = folder.describe(self.method, self.config, self._facts)
        storage.write_run(self.output, {**told, "finished": finished})

    @property
    def _optimizer(self) -> Any:
        return self.optimizer.optimizer  # accelerate's wrapper keeps the real one

    def _save(self) -> None:
        from accelerate.utils import gather_object

        tensors = folder.training_tensors(self._trained, self._optimizer)
        states = gather_object([storage.random_state()])
        if self.is_main:
            for rank, (generators, _) in enumerate(states):
                tensors |= {f"random/{rank}/{name}": t for name, t in generators.items()}
            state = {"data": self._data, "method": self.state, "random": [s for _, s in states]}
            storage.save_checkpoint(self.output, self.step, storage.Saved(tensors, state))
        self.accelerator.wait_for_everyone()

    def _write(self, path: Path) -> None:
        self._save_model(lambda save: folder.fill(path, save))

    def _save_model(self, place: Callable[[Callable[[Path], None]], None]) -> None:
        """Has the main process place what the model writes, while the others hand in their parts."""
        if self.is_main:
            place(self._saved_by.save)
        else:
            self._saved_by.save(None)
        self.accelerator.wait_for_everyone()

    def finish(self) -> Path:
        """Writes the model into the output folder, marks the run as finished, and gives the folder."""
        self._save_model(lambda save: folder.put(self.output, save))
        if self.is_main:
            self._describe(finished=True)
            folder.remove_scaffold(self.output)
        self.accelerator.wait_for_everyone()
        if self.config.report_to != "none":
            self.accelerator.end_training()
        return self.output

    # --------------------------------------------------------------------- without a gradient
    def once(
        self, name: str, rows: Sequence[R], function: Callable[[Sequence[R]], Tensor]
    ) -> Tensor:
        """`each`, computed before the first step and kept on disk for when the run is resumed."""
        from safetensors.torch import load_file, save_file

        path, key = self.output / f"kept-{name}" / "kept.safetensors", _digest(rows)
        if path.is_file() and key in (held := load_file(path)):
            return held[key]
        found = self.each(rows, function, what=name)
        if self.is_main:
            self._describe(finished=False)  # the folder is this run's from here on
            with storage.new_folder(path.parent) as draft:
                save_file({key: found}, draft / path.name)
        self.accelerator.wait_for_everyone()
        return found

    @torch.no_grad()
    def each(
        self, rows: Sequence[R], function: Callable[[Sequence[R]], Tensor], *, what: str
    ) -> Tensor:
        """A figure or several for every row, by all processes together: [rows, …] on the CPU.

        `function` takes a batch of rows, which have about one length, and gives a line for each.
        """
        from accelerate.utils import gather_object
        from tqdm import tqdm

        lengths, _ = _measures(rows)
        dealt = plan.deal(range(len(rows)), lengths, self.world)
        planned = plan.shares(dealt, lengths, [1.0] * len(rows), self.config.tokens_per_device)
        shown = None if self.is_main else True
        self.model.eval()
        found = [
            (part.rows, function([rows[row] for row in part.rows]).float().cpu())
            for part in tqdm(planned[self.rank], desc=what, disable=shown, leave=False)
        ]
        self.model.train()
        parts = gather_object(found)
        result = torch.empty(len(rows), *parts[0][1].shape[1:])
        for numbers, values in parts:
            result[list(numbers)] = values
        return result


def _digest(rows: Sequence[Any]) -> str:
    return digest([repr(row) for row in rows])


def _measures(rows: Sequence[Any]) -> tuple[list[int], list[float]]:
    return [row.length for row in rows], [row.weight for row in rows]
