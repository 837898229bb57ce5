"""The one LightningModule: any objective, AdamW, a linear warm-up and decay.

Randomness is a function of (seed, update), so that a resumed run draws what an uninterrupted
one would have drawn.
"""

from typing import Any

import numpy as np
import torch
from lightning import LightningModule
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from .config import OptimizerConfig
from .data.batches import Batch
from .objectives import Objective


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

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """One batch; Lightning counts `batch_index`, we go by the update."""
        step = self.global_step
        torch.manual_seed(hash((self.seed, step)) & 0x7FFF_FFFF)
        loss = self.objective(batch, np.random.default_rng([self.seed, step]))
        self.log("loss", loss.total.detach(), prog_bar=True, batch_size=len(batch.cut_ids))
        self.log_dict(loss.parts, batch_size=len(batch.cut_ids))
        total: Tensor = loss.total
        return total

    def configure_optimizers(self) -> Any:
        """AdamW; norms, biases and single vectors are not decayed apart, as in fairseq."""
        config = self.optimizer_config
        groups: dict[float, list[Tensor]] = {}
        for name, parameter in self.objective.named_parameters():
            if parameter.requires_grad:
                groups.setdefault(self._scale(name), []).append(parameter)
        optimizer = AdamW(
            [
                {"params": parameters, "lr": config.learning_rate * scale}
                for scale, parameters in groups.items()
            ],
            betas=config.betas,
            eps=config.eps,
            weight_decay=config.weight_decay,
        )
        schedule = LambdaLR(optimizer, self.rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def rate(self, update: int) -> float:
        """Share of the peak rate at an update counted from 0: up a line, down a line."""
        warmup = min(self.optimizer_config.warmup_updates, self.updates)
        if update < warmup:
            return (update + 1) / (warmup + 1)
        return max(0.0, (self.updates - update) / max(1, self.updates - warmup))

    def _scale(self, name: str) -> float:
        for prefix, scale in self.learning_rate_scale.items():
            if name.startswith(prefix):
                return scale
        return 1.0
