"""The one training loop of autoencoder and generator: AdamW, EMA, exact resume."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from histosynth.diffusion.state import ResumableState

CHECK_EVERY_ON_GPU = 25  # reading a loss waits for the device


def train_loop(
    module: torch.nn.Module,
    step_loss: Callable[[int], torch.Tensor],
    *,
    steps: int,
    batch_size: int,
    peak_rate: float,
    warmup_steps: int,
    weight_decay: float,
    ema_decay: float,
    rows_of_step: Callable[[int], np.ndarray],
    state: ResumableState,
    name: str,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Train `module` in place; it ends with its averaged weights, in eval mode.

    Parameters
    ----------
    step_loss
        The loss of step k, a function of k and the module's weights alone.
    rows_of_step
        The tile rows of step k, to name where a loss went bad.

    Returns
    -------
    What train.json says of the run: loss curve of at most 100 points, seconds over all restarts,
    images a second, device, threads, peak memory.

    Raises
    ------
    FloatingPointError
        A loss is not finite; step and tile rows are named, the last good state is kept.
    """
    device = next(module.parameters()).device
    module.train()
    optimizer = torch.optim.AdamW(
        module.parameters(),
        lr=peak_rate,
        betas=(0.9, 0.95),
        weight_decay=weight_decay,
        fused=True,
    )
    ema = Ema(module, ema_decay)
    step, seconds, losses = 0, 0.0, torch.zeros(steps)
    saved = state.load()
    if saved:
        module.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        ema.load(saved["ema"])
        step, seconds, losses = saved["step"], saved["seconds"], saved["losses"]
        log(f"{name}: resumed at step {step} of {steps}")
    started = time.monotonic()
    pending: list[torch.Tensor] = []

    def read_losses() -> None:
        if pending:
            read = torch.stack(pending).float().cpu()
            losses[step - len(read) : step] = read
            pending.clear()
            check_finite(read, step - len(read), rows_of_step)

    def collect() -> dict[str, Any]:
        read_losses()  # so that no state is saved after a bad loss
        return {
            "step": step,
            "seconds": seconds + time.monotonic() - started,
            "losses": losses,
            "model": module.state_dict(),
            "optimizer": optimizer.state_dict(),
            "ema": ema.parameters,
        }

    progress = tqdm(total=steps, initial=step, desc=name)
    with state.catching_signals(), progress:
        while step < steps:
            rate = learning_rate(step, peak=peak_rate, steps=steps, warmup_steps=warmup_steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = step_loss(step)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            ema.update(module, step)
            pending.append(loss.detach())
            step += 1
            progress.update()
            if device.type == "cpu" or len(pending) >= CHECK_EVERY_ON_GPU:
                read_losses()
            state.save_if_due(collect)
        if not (saved and saved["finished"]):
            seconds = (final := collect())["seconds"]
            state.save(final, finished=True)
    ema.copy_to(module)
    module.eval()
    return _record(losses, seconds, batch_size, device)


def learning_rate(step: int, *, peak: float, steps: int, warmup_steps: int) -> float:
    """Linear warm-up over `warmup_steps`, times a linear fall that reaches zero at `steps`."""
    return peak * min(1.0, (step + 1) / max(1, warmup_steps)) * (1 - step / steps)


class Ema:
    """Exponential moving average of a module's parameters, its decay warming up with the steps.

    The decay of step k is min(decay, (1 + k) / (10 + k)), so that early averages forget the
    random start.
    """

    def __init__(self, module: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.parameters = [p.detach().clone() for p in module.parameters()]

    @torch.no_grad()
    def update(self, module: torch.nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.parameters, list(module.parameters()), 1 - decay)

    @torch.no_grad()
    def load(self, values: list[torch.Tensor]) -> None:
        for average, value in zip(self.parameters, values, strict=True):
            average.copy_(value)

    @torch.no_grad()
    def copy_to(self, module: torch.nn.Module) -> None:
        for parameter, average in zip(module.parameters(), self.parameters, strict=True):
            parameter.copy_(average)


def check_finite(losses: torch.Tensor, first_step: int, rows: Callable[[int], np.ndarray]) -> None:
    """Stop at the first loss that is not finite, naming its step and tile rows."""
    bad = torch.nonzero(~torch.isfinite(losses))
    if len(bad):
        step = first_step + int(bad[0])
        raise FloatingPointError(
            f"loss {float(losses[bad[0]])} at step {step}, tile rows {rows(step).tolist()}; the "
            "last good state is kept. Look at those tiles, or lower the learning rate."
        )


def _record(
    losses: torch.Tensor, seconds: float, batch_size: int, device: torch.device
) -> dict[str, Any]:
    width = max(1, -(-len(losses) // 100))
    if device.type == "cuda":
        name, peak = torch.cuda.get_device_name(device), torch.cuda.max_memory_allocated(device)
    else:
        import resource  # absent on some systems; only the CPU path needs it

        name, peak = "cpu", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "steps": len(losses),
        "loss": [float(chunk.mean()) for chunk in losses.split(width)],
        "loss_every": width,
        "seconds": round(seconds, 2),
        "images_per_second": round(len(losses) * batch_size / max(seconds, 1e-9), 2),
        "device": name,
        "threads": torch.get_num_threads(),
        "peak_memory_mb": round(peak / 2**20, 1),
    }
