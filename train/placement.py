"""Where a run's arithmetic takes place: one device, several with all weights each, or with a part.

States to resume from are laid out alike in all three: a run may go on with more processes or fewer.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from .config import DeviceConfig
from .distributed import local_world_size, rank, world_size
from .models.layers import TransformerLayer


def placement(config: DeviceConfig, *, drops_layers: bool) -> dict[str, Any]:
    """Arguments of Lightning's Trainer.

    Args:
        config: precision and strategy.
        drops_layers: some updates leave weights out, the same ones on every process.
    """
    precision = "bf16-mixed" if config.precision == "bf16" else "32-true"
    if world_size() == 1:
        # Named, or Lightning would look for SLURM and MPI and count their processes.
        environment = LightningEnvironment()
        return {
            "accelerator": "auto",
            "devices": 1,
            "precision": precision,
            "plugins": [environment],
        }
    strategy: DDPStrategy | Sharded
    if config.strategy == "fsdp":
        strategy = Sharded()
    else:
        # Only layerdrop and shallow subnets leave weights without a gradient. Looking for them
        # walks the graph once an update: no more than the noise of a step of twelve layers (160 ms
        # of CPU). Zeros added for them instead would let AdamW decay weights and spend moments.
        strategy = DDPStrategy(
            find_unused_parameters=drops_layers,
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
        )
    return {
        "accelerator": "cuda" if torch.cuda.is_available() else "cpu",
        "devices": local_world_size(),
        "num_nodes": world_size() // local_world_size(),
        "strategy": strategy,
        "precision": precision,
        "plugins": [TorchElasticEnvironment()],
    }


def shard(module: nn.Module, mesh: DeviceMesh) -> None:
    """Give each process a part of every weight: FSDP2, a group a transformer layer and the rest.

    What has no gradient is dealt out too, so that a moving average of sharded weights is sharded.
    """
    for layer in [part for part in module.modules() if isinstance(part, TransformerLayer)]:
        fully_shard(layer, mesh=mesh)
    fully_shard(module, mesh=mesh)


@torch.no_grad()
def whole(state: Any, *, keep: bool) -> Any:
    """Put sharded tensors together; every process must ask, in the same order.

    Args:
        state: tensors and other values in dicts and lists.
        keep: on the CPU; where False, what was sharded is dropped as soon as others have it.
    """
    if isinstance(state, Mapping):
        return {key: whole(value, keep=keep) for key, value in state.items()}
    if isinstance(state, list):
        return [whole(value, keep=keep) for value in state]
    if isinstance(state, DTensor):
        tensor = state.full_tensor()
        return tensor.cpu() if keep else None
    return state


class Sharded(ModelParallelStrategy):
    """FSDP2 whose states are those of one process: whole tensors, in one file.

    Lightning's own whole states number optimizer states by the model's weights, not by the
    optimizer's: read by another strategy, they would land at the wrong weights without a word.
    """

    def __init__(self) -> None:
        super().__init__(
            data_parallel_size=world_size(),
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
        )

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Lightning is to call `load_optimizer_state_dict`."""
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Weights, whole in the first process."""
        assert self.lightning_module is not None
        state: dict[str, Any] = whole(self.lightning_module.state_dict(), keep=rank() == 0)
        return state

    def optimizer_state(self, optimizer: Any) -> dict[str, Any]:
        """Moments, whole in the first process."""
        state: dict[str, Any] = whole(optimizer.state_dict(), keep=rank() == 0)
        return state

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a state where it lies: a process takes its parts of it and no more."""
        state: dict[str, Any] = torch.load(
            checkpoint_path, mmap=True, map_location="cpu", weights_only=True
        )
        return state

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Take this process's parts of the weights."""
        assert self.lightning_module is not None
        own, stored = self.lightning_module.state_dict(), checkpoint["state_dict"]
        parts = {
            name: _part(tensor, own[name]) if name in own else tensor
            for name, tensor in stored.items()
        }
        self.lightning_module.load_state_dict(parts, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take this process's parts of the moments."""
        stored = checkpoint["optimizer_states"]
        for optimizer, state in zip(self.optimizers, stored, strict=True):
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            numbers = [number for group in state["param_groups"] for number in group["params"]]
            moments = {
                number: {
                    name: _part(value, weight) if isinstance(value, Tensor) else value
                    for name, value in state["state"][number].items()
                }
                for number, weight in zip(numbers, weights, strict=True)
                if number in state["state"]
            }
            optimizer.load_state_dict({"state": moments, "param_groups": state["param_groups"]})


def _part(tensor: Tensor, like: Tensor) -> Tensor:
    """What this process holds of a whole tensor that belongs to a weight; counters stay whole."""
    if not isinstance(like, DTensor) or tensor.shape != like.shape:
        return tensor
    part: Tensor = distribute_tensor(
        tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None
    )
    return part
