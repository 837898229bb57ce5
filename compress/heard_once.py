"""What a front end gives, computed once for the models of a space: theirs are all alike."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from train.tasks.augmenting import front_ends


@contextmanager
def heard_once(model: nn.Module, features: list[Tensor]) -> Iterator[None]:
    """Inside, a model's front end gives what is in `features`, or puts there what it gives.

    Args:
        model: hears one batch, always the same one.
        features: empty for the first model, and what it left for those after it. Hooks that were
            put on the first one's front end before, such as stripes, have done their work on it.
    """
    (front_end,) = front_ends(model)
    if features:
        # A module calls what it finds under this name; its class has the other one.
        vars(front_end)["forward"] = lambda waveform: features[0]
        try:
            yield
        finally:
            del vars(front_end)["forward"]
        return
    handle = front_end.register_forward_hook(lambda _module, _inputs, made: features.append(made))
    try:
        yield
    finally:
        handle.remove()
