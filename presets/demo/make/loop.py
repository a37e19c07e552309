"""The training loop that the three networks of the demo model share.

It averages gradients over worker processes, keeps an exponential moving average of the weights, and can go on
from its checkpoint after an interruption.
"""

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.optim.swa_utils import AveragedModel

WARM_UP_STEPS = 50
STEADY_SHARE = 0.4  # of the steps run at the full learning rate; then it falls along a cosine
REPORT_EVERY = 50
SAVE_EVERY = 100


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train; where the checkpoint lies."""

    steps: int
    learning_rate: float
    checkpoint: Path
    ema_decay: float = 0.995
    weight_decay: float = 0.01


def train(model: nn.Module, batch_loss: Callable[[], Tensor], plan: Plan) -> None:
    """Minimise `batch_loss()` over the trainable parameters of `model`; leaves the averaged weights in it."""
    average = AveragedModel(model, multi_avg_fn=partial(blend, plan.ema_decay))
    optimizer = build_optimizer(model, plan)
    first = load_checkpoint(plan.checkpoint, model, average, optimizer)
    losses, started = [], time.monotonic()
    for step in range(first, plan.steps):
        set_learning_rate(optimizer, plan.learning_rate * rate_factor(step, plan.steps))
        loss = batch_loss()
        loss.backward()
        average_gradients(model)
        nn.utils.clip_grad_norm_(trainable(model), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update_parameters(model)
        losses.append(loss.item())
        if (step + 1) % REPORT_EVERY == 0 and is_first_worker():
            seconds = (time.monotonic() - started) / len(losses)
            mean = sum(losses[-REPORT_EVERY:]) / REPORT_EVERY
            print(f"step {step + 1}/{plan.steps}  loss {mean:.4f}  {seconds:.2f} s/step", flush=True)
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == plan.steps:
            save_checkpoint(plan.checkpoint, step + 1, model, average, optimizer)
    model.load_state_dict(average.module.state_dict())


@torch.no_grad()
def blend(decay: float, averages: Sequence[Tensor], values: Sequence[Tensor], count: int | Tensor) -> None:
    """Move the averages towards the values; early on by larger shares, so that it forgets its beginnings."""
    share = 1 - min(decay, float((1 + count) / (10 + count)))
    for average, value in zip(averages, values, strict=True):
        average.lerp_(value, share)


def rate_factor(step: int, steps: int) -> float:
    """Warm-up, a steady stretch, then half a cosine down to 2 %."""
    fall = max(0.0, (step / steps - STEADY_SHARE) / (1 - STEADY_SHARE))
    return min(1.0, (step + 1) / WARM_UP_STEPS) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * fall)))


def build_optimizer(model: nn.Module, plan: Plan) -> torch.optim.AdamW:
    """AdamW; biases and norms are not decayed."""
    weights = [p for p in trainable(model) if p.ndim > 1]
    others = [p for p in trainable(model) if p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": plan.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=(0.9, 0.99))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def trainable(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def save_checkpoint(
    path: Path, step: int, model: nn.Module, average: AveragedModel, optimizer: torch.optim.Optimizer
) -> None:
    """Write everything a later `train` needs to go on; whole or not at all. Only the first worker writes."""
    if not is_first_worker():
        return
    state = {
        "step": step,
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def load_checkpoint(
    path: Path, model: nn.Module, average: AveragedModel, optimizer: torch.optim.Optimizer
) -> int:
    """Go back to the state of `path` and return its step; 0 where there is no checkpoint yet."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"]


def load_average(path: Path, model: nn.Module) -> int:
    """Load only the averaged weights of a checkpoint into `model`; return its step."""
    state = torch.load(path, weights_only=True)
    prefix = "module."
    weights = {k.removeprefix(prefix): v for k, v in state["average"].items() if k.startswith(prefix)}
    model.load_state_dict(weights)
    return state["step"]


# -- worker processes: one thread each is faster on a CPU than one process with many threads


def run_workers(count: int, work: Callable[..., None], *arguments: object) -> None:
    """Call `work(worker, *arguments)` in `count` processes that average their gradients; wait for all."""
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "store")
        spawn(start_worker, (count, store, work, arguments), nprocs=count)


def start_worker(
    worker: int, count: int, store: str, work: Callable[..., None], arguments: tuple[object, ...]
) -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    if count > 1:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=worker, world_size=count)
    work(worker, *arguments)
    if count > 1:
        dist.destroy_process_group()


def is_first_worker() -> bool:
    return not dist.is_initialized() or dist.get_rank() == 0


def average_gradients(model: nn.Module) -> None:
    """Replace each gradient by its mean over the workers, in one message."""
    if not dist.is_initialized():
        return
    gradients = [p.grad for p in trainable(model) if p.grad is not None]
    message = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(message)
    message /= dist.get_world_size()
    for gradient, mean in zip(gradients, message.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
