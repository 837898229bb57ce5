"""How training clips are varied: they move, are in a room, meet noise, and lose stripes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass as plain_dataclass
from dataclasses import field

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from ..config import STRICT
from ..data.audio import PackedAudio
from ..data.augment import change_speed, fit_length, gain, in_room, mix_noise, shift, stretch_of
from ..data.rooms import Surroundings
from ..data.spec_augment import SpecAugmentConfig, stripes
from ..models.frontend import SAMPLE_RATE, FrontEnd


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AugmentConfig:
    """How training clips are varied, so that a stream of windows holds no surprise."""

    max_speed_change: float = 0.0
    """A clip is played faster or slower by up to this share, in [0, 1); ARM takes 0.15."""
    max_shift_ms: int = 100
    """A clip moves by up to this either way; the gap is silence."""
    room_prob: float = 0.3
    """Share of clips heard in a room, where rooms are given, in [0, 1]."""
    noise_prob: float = 0.5
    """Share of clips mixed with a stretch of noise, in [0, 1]."""
    lowest_snr_db: float = 5.0
    """Loudest noise, against the clip's own power."""
    highest_snr_db: float = 25.0
    """Faintest noise."""
    max_gain_db: float = 6.0
    """A clip grows louder or fainter by up to this."""
    max_lead_ms: int = 0
    """Up to this much is heard before the window, as long for all rows of an update: for causal
    bodies, which otherwise would only ever know the first second of a stream."""
    lead_prob: float = 0.75
    """Share of rows whose lead is the end of another clip, in [0, 1]; that of the rest is silence,
    with what noise the row is mixed with."""
    stripes: SpecAugmentConfig = SpecAugmentConfig()
    """What is hidden of the features; nothing unless it is asked for."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.noise_prob <= 1.0 or self.max_shift_ms < 0 or self.max_gain_db < 0:
            raise ValueError(
                "noise_prob must lie in [0, 1], max_shift_ms and max_gain_db be 0 or more; got "
                f"{self.noise_prob}, {self.max_shift_ms}, {self.max_gain_db}"
            )
        if not 0.0 <= self.room_prob <= 1.0 or not 0.0 <= self.max_speed_change < 1.0:
            raise ValueError(
                "room_prob must lie in [0, 1] and max_speed_change in [0, 1), got "
                f"{self.room_prob}, {self.max_speed_change}"
            )
        if not 0.0 <= self.lead_prob <= 1.0 or self.max_lead_ms < 0:
            raise ValueError(
                "lead_prob must lie in [0, 1] and max_lead_ms be 0 or more, got "
                f"{self.lead_prob}, {self.max_lead_ms}"
            )
        if self.lowest_snr_db > self.highest_snr_db:
            raise ValueError(
                f"lowest_snr_db {self.lowest_snr_db} is above highest_snr_db {self.highest_snr_db}"
            )


@plain_dataclass(frozen=True)
class ClipPool:
    """Clips to draw from, read when drawn."""

    packed: PackedAudio
    """Where their audio is."""
    ids: tuple[str, ...]
    """Which; one or more."""

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """One of them, (samples,) in [-1, 1]."""
        return self.packed.waveform(self.ids[rng.integers(len(self.ids))])


@plain_dataclass(frozen=True)
class Variation:
    """All that clips are varied with."""

    config: AugmentConfig
    """How much."""
    around: Surroundings = field(default_factory=Surroundings)
    """Noises and rooms; without any, clips are mixed with none."""
    leads: ClipPool | None = None
    """What is heard before a window; None: silence."""

    def vary(
        self, clip: NDArray[np.float32], lead_samples: int, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Another take of a clip: (samples,) to (lead_samples + samples,)."""
        config = self.config
        if config.max_speed_change:
            speed = 1.0 + rng.uniform(-config.max_speed_change, config.max_speed_change)
            clip = fit_length(change_speed(clip, speed), len(clip))
        clip = shift(clip, config.max_shift_ms * SAMPLE_RATE // 1000, rng)
        if lead_samples:
            clip = np.concatenate([self._lead(lead_samples, rng), clip])
        noises, rooms = self.around.noises, self.around.rooms
        if rooms and rng.random() < config.room_prob:
            clip = in_room(clip, rooms[rng.integers(len(rooms))])
        if noises and rng.random() < config.noise_prob:
            noise = stretch_of(noises[rng.integers(len(noises))], len(clip), rng)
            clip = mix_noise(clip, noise, rng.uniform(config.lowest_snr_db, config.highest_snr_db))
        return gain(clip, rng.uniform(-config.max_gain_db, config.max_gain_db))

    def _lead(self, num_samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
        lead = np.zeros(num_samples, dtype=np.float32)
        if self.leads is not None and rng.random() < self.config.lead_prob:
            heard = self.leads.draw(rng)[-num_samples:]
            lead[num_samples - len(heard) :] = heard
        return lead


def front_ends(body: nn.Module) -> list[FrontEnd]:
    """Where a body makes its features; none in an encoder that hears the waveform itself."""
    return [module for module in body.modules() if isinstance(module, FrontEnd)]


@contextmanager
def striped(
    body: nn.Module, config: SpecAugmentConfig, rngs: Sequence[np.random.Generator]
) -> Iterator[None]:
    """Inside, stripes of the features that a body makes are hidden by each feature's mean.

    The papers put zeros there, which MFCCs hardly leave and log-mels never are.

    Args:
        body: whose front end's features lose stripes.
        config: how many.
        rngs: one for each row of what the body will hear.
    """

    def hide(_module: nn.Module, _inputs: object, features: Tensor) -> Tensor:
        _, frames, dim = features.shape
        hidden = np.stack([stripes(frames, dim, config, rng) for rng in rngs])
        mean = features.mean(1, keepdim=True)
        return torch.where(torch.from_numpy(hidden).to(features.device), mean, features)

    handles = [module.register_forward_hook(hide) for module in front_ends(body) if config.masks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
