"""The one LightningModule: any objective, AdamW, a schedule.

Randomness is a function of (seed, update), so that a resumed run draws what an uninterrupted
one would have drawn.
"""

from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, distributed
from torch.distributed.tensor import DTensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from .config import OptimizerConfig
from .data.batches import Batch
from .distributed import world_size
from .models.context import ContextNetwork
from .objectives import Loss, Objective
from .placement import Sharded, shard
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
        self.mixed = False
        """Whether products are computed in another precision than weights are kept in."""
        self.learning_rate_scale = learning_rate_scale or {}
        self._count = 0.0
        self._sums: dict[str, Tensor] = {}

    @property
    def drops_layers(self) -> bool:
        """Whether some updates leave layers, and so their weights, out."""
        return self.objective.leaves_weights_out or any(
            network.config.layerdrop > 0 and any(w.requires_grad for w in network.parameters())
            for network in self._networks()
        )

    def configure_model(self) -> None:
        """Deal the weights out to the processes where the recipe says so."""
        if isinstance(self.trainer.strategy, Sharded):
            assert self.device_mesh is not None
            shard(self.objective, self.device_mesh["data_parallel"])

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """One pass; gradients are divided by all that the update counts once they are summed."""
        torch.manual_seed(hash((self.seed, batch.step, batch.rows[0])) & 0x7FFF_FFFF)
        draws = Draws(self.seed, batch.step)
        # The same layers for all rows: processes that share the weights out wait for each other
        # at every layer, and a weight has a gradient on all of them or on none.
        shared_seed = int(draws.update().integers(2**31))
        for network in self._networks():
            network.layer_draws = torch.Generator().manual_seed(shared_seed)
        loss = self.objective(batch, draws)
        self._tally(loss)
        total: Tensor = loss.total
        return total

    def _tally(self, loss: Loss) -> None:
        """Add a pass to what is logged of its update."""
        self._count += loss.count
        sums = {"loss": loss.total.detach()}
        sums |= {name: mean * loss.count for name, mean in loss.parts.items()}
        for name, value in sums.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Make the summed gradients those of the mean over the whole update.

        Lightning divides each loss by the passes and averages gradients over the processes; both
        are undone here, because passes and processes may count different numbers of frames. What
        is logged are means over the whole update too.
        """
        # Made on the device: a copy to it would wait for all that it has still to do.
        count = torch.full((), self._count, device=self.device)
        sums = [value.to(self.device, torch.float32) for value in self._sums.values()]
        totals = torch.stack([count, *sums])
        if distributed.is_initialized():
            distributed.all_reduce(totals)
        count = totals[0].clamp_min(1.0)
        means = (totals[1:] / count).unbind()
        self.log_dict(dict(zip(self._sums, means, strict=True)), on_epoch=False, batch_size=1)
        self._count, self._sums = 0.0, {}
        scale = world_size() * self.trainer.accumulate_grad_batches / count
        for parameter in self.objective.parameters():
            gradient = parameter.grad
            if gradient is not None:
                local = gradient.to_local() if isinstance(gradient, DTensor) else gradient
                local.mul_(scale)

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
            # A third of the time of the plain loop on a CPU; Lightning does not clip it when mixed.
            fused=not self.mixed,
        )
        schedule = LambdaLR(optimizer, self.rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def rate(self, update: int) -> float:
        """Share of the peak rate at an update counted from 0."""
        return rate(self.optimizer_config, update, self.updates)

    def _networks(self) -> list[ContextNetwork]:
        return [part for part in self.objective.modules() if isinstance(part, ContextNetwork)]

    def _scale(self, name: str) -> float:
        for prefix, scale in self.learning_rate_scale.items():
            if name.startswith(prefix):
                return scale
        return 1.0
