"""The one LightningModule: any objective, AdamW, a schedule.

Randomness is a function of (seed, update), so that a resumed run draws what an uninterrupted
one would have drawn.
"""

from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, distributed
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from .config import OptimizerConfig
from .data.batches import Batch
from .distributed import world_size
from .objectives import Objective
from .schedules import rate
from .seeding import Draws


class Learner(LightningModule):
    """Train an objective for a fixed number of updates."""

    def __init__(
        self,
        objective: Objective,
        optimizer: OptimizerConfig,
        *,
        updates: int,
        seed: int,
        learning_rate_scale: dict[str, float] | None = None,
    ) -> None:
        """Set up.

        Args:
            objective: what is trained; its frozen parts have no gradient.
            optimizer: rates and decays.
            updates: optimizer steps until the rate is zero.
            seed: of masks, crops and dropout.
            learning_rate_scale: factors on the rate for parameters by name prefix.
        """
        super().__init__()
        self.objective = objective
        self.optimizer_config = optimizer
        self.updates = updates
        self.seed = seed
        self.learning_rate_scale = learning_rate_scale or {}
        self._count = 0.0

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """One pass; gradients are divided by all that the update counts once they are summed."""
        torch.manual_seed(hash((self.seed, batch.step, batch.rows[0])) & 0x7FFF_FFFF)
        loss = self.objective(batch, Draws(self.seed, batch.step))
        self._count += loss.count
        size = len(batch.cut_ids)
        mean = loss.total.detach() / max(loss.count, 1.0)
        self.log("loss", mean, prog_bar=True, batch_size=size)
        self.log_dict(loss.parts, batch_size=size)
        total: Tensor = loss.total
        return total

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Make the summed gradients those of the mean over the whole update.

        Lightning divides each loss by the passes and averages gradients over the processes; both
        are undone here, because passes and processes may count different numbers of frames.
        """
        count = torch.tensor(self._count, device=self.device)
        if distributed.is_initialized():
            distributed.all_reduce(count)
        scale = world_size() * self.trainer.accumulate_grad_batches / count.clamp_min(1.0)
        self._count = 0.0
        for parameter in self.objective.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(scale)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Update, then let the objective move what follows the weights."""
        super().optimizer_step(*args, **kwargs)
        self.objective.after_update(self.global_step + 1)

    def configure_optimizers(self) -> Any:
        """AdamW over what learns, grouped by rate and by whether it is decayed."""
        config = self.optimizer_config
        groups: dict[tuple[float, float], list[Tensor]] = {}
        for name, parameter in self.objective.named_parameters():
            if parameter.requires_grad:
                decayed = config.decay_vectors or parameter.ndim > 1
                key = (self._scale(name), config.weight_decay if decayed else 0.0)
                groups.setdefault(key, []).append(parameter)
        optimizer = AdamW(
            [
                {
                    "params": parameters,
                    "lr": config.learning_rate * scale,
                    "weight_decay": weight_decay,
                }
                for (scale, weight_decay), parameters in groups.items()
            ],
            betas=config.betas,
            eps=config.eps,
        )
        schedule = LambdaLR(optimizer, self.rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def rate(self, update: int) -> float:
        """Share of the peak rate at an update counted from 0."""
        return rate(self.optimizer_config, update, self.updates)

    def _scale(self, name: str) -> float:
        for prefix, scale in self.learning_rate_scale.items():
            if name.startswith(prefix):
                return scale
        return 1.0
