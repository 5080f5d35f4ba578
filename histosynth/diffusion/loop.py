"""The one training loop of autoencoder and generator: AdamW, averages, exact resume."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import torch
from tqdm import tqdm

from histosynth.diffusion.curves import TENSORBOARD, Curves
from histosynth.diffusion.ema import averages_of, holding, trainable
from histosynth.diffusion.history import History
from histosynth.diffusion.microbatches import MicroBatch, MicroBatches, memory_ran_out
from histosynth.diffusion.prefetch import Piece, Prefetch
from histosynth.diffusion.processes import Processes
from histosynth.diffusion.state import ResumableState
from histosynth.diffusion.throughput import (
    count_flops,
    device_record,
    fast_matrix_products,
    share_of_peak,
)

CHECK_EVERY_ON_GPU = 25  # reading a loss waits for the device
AHEAD_ON_GPU = 4  # pieces of input made before they are needed
Inputs = TypeVar("Inputs")


class Stateful(Protocol):
    """What else a step changes: modules and optimizers have both methods."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How the loop steps.

    Attributes
    ----------
    batch_size : samples of a step, in however many pieces they go through
    learning_rate : the highest, after `warmup_steps`
    decay : from there linearly to zero at `steps`, or constant
    beta2 : of AdamW; its beta1 is 0.9
    max_gradient_norm : longer gradients are shortened to it
    ema_widths : relative widths of power-function averages
    ema_decay : an exponential average instead; neither: the last weights count
    micro_batch : samples that go through at once; `auto` halves them where memory runs out
    """

    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int = 0
    decay: Literal["linear", "constant"] = "linear"
    weight_decay: float = 0.0
    beta2: float = 0.95
    max_gradient_norm: float = 1.0
    ema_widths: Sequence[float] = ()
    ema_decay: float | None = None
    micro_batch: MicroBatch = None

    def rate(self, step: int) -> float:
        """The learning rate of step `step`, counted from 0."""
        rate = self.learning_rate * min(1.0, (step + 1) / max(1, self.warmup_steps))
        return rate * (1 - step / self.steps) if self.decay == "linear" else rate


@dataclass(frozen=True)
class Validation:
    """A score of the weights while they train: `score` of the module with the first average."""

    every: int
    score: Callable[[torch.nn.Module], dict[str, float]]


@dataclass(frozen=True)
class Trained:
    """What a training leaves beside the module, which keeps its last weights, in eval mode.

    Attributes
    ----------
    averages : by name, at least one, for `ema.copy_into`; the first is the default
    record : what train.json says of the run
    """

    averages: dict[str, list[torch.Tensor]]
    record: dict[str, Any]


def train_loop(
    module: torch.nn.Module,
    inputs_of: Callable[[int, range], Inputs],
    loss_of: Callable[[Inputs], torch.Tensor],
    *,
    plan: Plan,
    names_of: Callable[[int], Sequence[str]],
    state: ResumableState,
    name: str,
    log: Callable[[str], None],
    parts: Mapping[str, Stateful] | None = None,
    after_step: Callable[[int], None] | None = None,
    validation: Validation | None = None,
    processes: Processes | None = None,
) -> Trained:
    """Train the parameters of `module` that require gradients; resumes from `state`.

    Parameters
    ----------
    inputs_of
        Inputs of some positions of step k's batch: a function of step and positions alone, made
        on the CPU, on CUDA by a thread.
    loss_of
        The mean loss of such inputs, a function of them and of the weights.
    names_of
        What the samples of step k are called, to name where a loss went bad.
    name
        The section of config, for progress and errors.
    parts
        What else `loss_of` or `after_step` change, saved and restored with the module.
    after_step
        Called with step k once its weights are updated, e.g. to train a discriminator.
    processes
        Those that share each batch; default: this one alone.

    Raises
    ------
    InputError
        Out of memory, or no room to save.
    FloatingPointError
        A loss or gradient is not finite; step and samples are named, the last good state is kept.
    """
    together = processes or Processes(trainable(module)[0].device)
    run = _Run(module, inputs_of, loss_of, plan, names_of, state, name, log, parts or {}, together)
    with fast_matrix_products(run.device):
        record = run.train(after_step, validation)
    averages = {key: ema.values for key, ema in run.averages.items()}
    return Trained(averages or {"last": [p.detach() for p in trainable(module)]}, record)


class _Run:
    """One training in progress: everything that a step changes."""

    def __init__(
        self,
        module: torch.nn.Module,
        inputs_of: Callable[[int, range], Any],
        loss_of: Callable[[Any], torch.Tensor],
        plan: Plan,
        names_of: Callable[[int], Sequence[str]],
        state: ResumableState,
        name: str,
        log: Callable[[str], None],
        parts: Mapping[str, Stateful],
        processes: Processes,
    ) -> None:
        self.module, self.plan, self.parts = module, plan, parts
        self.inputs_of, self.loss_of = inputs_of, loss_of
        self.state, self.name, self.log = state, name, log
        self.weights = trainable(module)
        self.device = self.weights[0].device
        self.processes, self.positions = processes, processes.share(plan.batch_size)
        self.optimizer = torch.optim.AdamW(
            self.weights,
            lr=plan.learning_rate,
            betas=(0.9, plan.beta2),
            weight_decay=plan.weight_decay,
            fused=True,
        )
        self.averages = averages_of(module, widths=plan.ema_widths, decay=plan.ema_decay)
        self.micro = MicroBatches(
            plan.micro_batch, batch_size=len(self.positions), key=name, log=log
        )
        self.step = 0
        self.seconds = self.validation_seconds = 0.0
        self.history = History(plan.steps, names_of)
        self.finished = False
        if saved := state.load():
            self._restore(saved)
        self.inputs = Prefetch(
            inputs_of, self._following, ahead=AHEAD_ON_GPU if self.device.type == "cuda" else 0
        )
        folder = TENSORBOARD if processes.is_first else f"{TENSORBOARD}.{processes.index}"
        self.curves = Curves(state.path.parent / folder, self.history, done=self.step)

    def train(
        self, after_step: Callable[[int], None] | None, validation: Validation | None
    ) -> dict[str, Any]:
        self.module.train()
        self.started = time.monotonic()
        flops = self._count_flops()
        progress = tqdm(total=self.plan.steps, initial=self.step, desc=self.name)
        try:
            with self.state.catching_signals(), progress:
                while self.step < self.plan.steps:
                    self._take_step()
                    if after_step:
                        after_step(self.step - 1)
                    if self.device.type == "cpu" or self.history.waiting >= CHECK_EVERY_ON_GPU:
                        self._read_losses()
                    if validation and self.step % validation.every == 0:
                        self._validate(validation)
                    # Saved before anything is printed: a signal to a whole job ends the log's
                    # reader too, and the next line to it fails.
                    self.state.save_if_due(self._collect)
                    progress.update()
                if not self.finished:
                    final = self._collect()
                    self.seconds = final["seconds"]
                    self.state.save(final, finished=True)
        finally:
            self.inputs.close()
            self.curves.close()
        self.module.eval()
        return self._record(flops)

    def _take_step(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate(self.step)
        loss = self._accumulate()
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        self.processes.average([*gradients, loss])
        norm = torch.nn.utils.clip_grad_norm_(self.weights, self.plan.max_gradient_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        for average in self.averages.values():
            average.update(self.step)
        self.history.add(loss, norm)
        self.step += 1

    def _accumulate(self) -> torch.Tensor:
        """The gradients of this share of the batch, and its loss; in smaller pieces if need be."""
        while True:
            try:
                loss = torch.zeros((), device=self.device)
                for piece in self.micro.pieces(self.positions):
                    part = self.loss_of(self.inputs.get(self.step, piece))
                    part = part * (len(piece) / len(self.positions))
                    part.backward()
                    loss += part.detach()
                return loss
            except (RuntimeError, MemoryError) as error:
                if not memory_ran_out(error):
                    raise
                reason = str(error).split("\n")[0]
            # out of the handler, which keeps the failed pass and its memory alive
            self.optimizer.zero_grad(set_to_none=True)
            self.micro.shrink(self.step, reason)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _following(self, piece: Piece) -> Piece | None:
        step, positions = piece
        rest = range(positions.stop, self.positions.stop)
        if not rest:
            step, rest = step + 1, self.positions
        return (step, self.micro.pieces(rest)[0]) if step < self.plan.steps else None

    def _read_losses(self) -> None:
        self.history.read(self.step)
        self.curves.add_losses(self.step)

    def _validate(self, validation: Validation) -> None:
        self._read_losses()
        started = time.monotonic()
        average = next(iter(self.averages.values()), None)
        values = self.weights if average is None else average.values
        with holding(self.module, values), torch.no_grad():
            row = {"step": self.step, **validation.score(self.module)}
        self.history.validation.append(row)
        self.curves.add_validation(row)
        self.validation_seconds += time.monotonic() - started

    def _collect(self) -> dict[str, Any]:
        self._read_losses()  # so that no state is saved after a bad loss
        frozen = {key for key, p in self.module.named_parameters() if not p.requires_grad}
        return {
            "step": self.step,
            "seconds": self.seconds + time.monotonic() - self.started,
            "validation_seconds": self.validation_seconds,
            "history": self.history.state_dict(),
            "micro_batch": self.micro.size,
            "model": {k: v for k, v in self.module.state_dict().items() if k not in frozen},
            "optimizer": self.optimizer.state_dict(),
            "averages": {key: average.values for key, average in self.averages.items()},
            "parts": {key: part.state_dict() for key, part in self.parts.items()},
        }

    def _restore(self, saved: dict[str, Any]) -> None:
        self.module.load_state_dict(saved["model"], strict=False)  # frozen weights are not saved
        self.optimizer.load_state_dict(saved["optimizer"])
        for key, average in self.averages.items():
            average.load(saved["averages"][key])
        for key, part in self.parts.items():
            part.load_state_dict(saved["parts"][key])
        if self.micro.auto:
            self.micro.size = saved["micro_batch"]
        self.step, self.finished = saved["step"], saved["finished"]
        self.seconds, self.validation_seconds = saved["seconds"], saved["validation_seconds"]
        self.history.load_state_dict(saved["history"])
        self.log(f"{self.name}: resumed at step {self.step} of {self.plan.steps}")

    def _count_flops(self) -> int:
        """Operations of a whole batch, from one sample of the first step's."""

        def one_sample() -> None:
            self.loss_of(self.inputs_of(0, range(1))).backward()

        flops = count_flops(one_sample) * self.plan.batch_size
        self.optimizer.zero_grad(set_to_none=True)
        return flops

    def _record(self, flops: int) -> dict[str, Any]:
        plan = self.plan
        cards = self.processes.count if self.device.type == "cuda" else 0
        steps_per_second = plan.steps / max(self.seconds - self.validation_seconds, 1e-9)
        return {
            "steps": plan.steps,
            **self.history.record(),
            "seconds": round(self.seconds, 2),
            "validation_seconds": round(self.validation_seconds, 2),
            "gpu_hours": round(self.seconds / 3600 * cards, 4),
            "images_per_second": round(steps_per_second * plan.batch_size, 2),
            "micro_batch": self.micro.size,
            "flops_per_step": flops,
            "share_of_peak": share_of_peak(
                flops * steps_per_second / self.processes.count, self.device
            ),
            **device_record(self.device),
        }
