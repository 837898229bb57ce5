"""What a front end computes, without torch: flavours of log-mel and MFCC, running normalization.

The flavours disagree in window, framing, spectrum, mel scale, logarithm and DCT. Each of these is
a field here, so that a checkpoint or manifest holds the whole answer as JSON.
"""

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict
from pydantic.dataclasses import dataclass

from ..nearest import nearest

SAMPLE_RATE = 16_000
WINDOW_SAMPLES, HOP_SAMPLES = 400, 160
"""Kaldi's, 25 and 10 ms."""

_CHECKED = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class FrontEndConfig:
    """A spectrogram of a waveform at 16 kHz; the defaults are Kaldi's log-mel filter bank."""

    window: Literal["povey", "hann"] = "povey"
    """Kaldi's, symmetric, or a periodic Hann window."""
    window_samples: int = WINDOW_SAMPLES
    """Samples that a frame looks at."""
    hop_samples: int = HOP_SAMPLES
    """Samples from frame to frame."""
    fft_size: int = 512
    """Spacing of the spectrum's bins, 16,000 / fft_size Hz; even, no shorter than the window."""
    framing: Literal["window", "fft", "centred"] = "window"
    """`window`: the first window begins at sample 0 and the last ends within the waveform.
    `fft`: the same of fft_size samples with the window in their middle (librosa, center=False).
    `centred`: those lie around every hop-th sample, zeros beyond the ends (librosa, center=True):
    frame 0 then looks half a window ahead, which a stream has to wait for."""
    remove_mean: bool = True
    """Each frame loses its mean first."""
    preemphasis: float = 0.97
    """Share of the sample before that is taken off each sample of a frame, in [0, 1)."""
    spectrum: Literal["power", "magnitude"] = "power"
    """What the mel filters sum: |X|² or |X|."""
    num_mels: int = 40
    """Mel filters."""
    mel_scale: Literal["htk", "slaney"] = "htk"
    """1127 ln(1 + f / 700), or linear up to 1 kHz and logarithmic from there."""
    triangles: Literal["mel", "hertz"] = "mel"
    """The scale on which the filters' slopes are straight."""
    equal_area: bool = False
    """Filters of equal area instead of equal height (librosa's norm="slaney")."""
    lowest_hz: float = 20.0
    """Where the first filter begins."""
    highest_hz: float = 8_000.0
    """Where the last one ends; at most 8,000."""
    floor: float = 2.0**-23
    """Smallest energy that the logarithm meets; Kaldi's is float32's epsilon."""
    floor_added: bool = False
    """The logarithm is of energy + floor, not of the larger of the two."""
    decibels: bool = False
    """10 log10 instead of the natural logarithm; for power spectra."""
    top_db: float | None = None
    """What lies more than this below a row's largest value is raised to there. That looks at the
    whole row, so a frame depends on its future: only models that see whole windows may have it."""
    num_cepstra: int = 0
    """First coefficients of the DCT over mels, the zeroth among them; 0: none, log-mels."""
    dct: Literal["orthonormal", "uniform"] = "orthonormal"
    """`uniform` scales the zeroth coefficient by √(2/num_mels) as the others (TensorFlow, HTK)."""
    lifter: float = 0.0
    """Kaldi's liftering, 1 + L/2 sin(πn/L); 0: none."""
    num_deltas: int = 0
    """Orders of differences over five frames, behind the features; 1 looks 2 frames ahead."""

    def __post_init__(self) -> None:
        if self.window_samples < 2 or min(self.hop_samples, self.num_mels) < 1:
            raise ValueError(
                "window_samples must be 2 or more, hop_samples and num_mels 1 or more, got "
                f"{self.window_samples}, {self.hop_samples}, {self.num_mels}"
            )
        if self.fft_size % 2 or self.fft_size < self.window_samples:
            raise ValueError(
                f"fft_size must be even and at least window_samples {self.window_samples}, "
                f"got {self.fft_size}"
            )
        if not 0 <= self.lowest_hz < self.highest_hz <= SAMPLE_RATE / 2:
            raise ValueError(
                f"0 <= lowest_hz < highest_hz <= {SAMPLE_RATE // 2} must hold, got "
                f"{self.lowest_hz:g} and {self.highest_hz:g}"
            )
        if not 0 <= self.preemphasis < 1:
            raise ValueError(f"preemphasis must lie in [0, 1), got {self.preemphasis}")
        if self.floor <= 0:
            raise ValueError(f"floor must be positive, for a logarithm, got {self.floor}")
        if self.decibels and self.spectrum != "power":
            raise ValueError("decibels are of a power: set spectrum = 'power'")
        if self.top_db is not None and not (self.decibels and self.top_db > 0):
            raise ValueError(
                f"top_db must be positive and goes with decibels = true, got {self.top_db:g} with "
                f"decibels = {str(self.decibels).lower()}"
            )
        if not 0 <= self.num_cepstra <= self.num_mels:
            raise ValueError(
                f"num_cepstra must lie in [0, num_mels = {self.num_mels}], got {self.num_cepstra}"
            )
        if self.lifter < 0 or self.num_deltas < 0:
            raise ValueError(
                f"lifter and num_deltas must be 0 or more, got {self.lifter:g}, {self.num_deltas}"
            )

    @property
    def output_dim(self) -> int:
        """Numbers of a frame."""
        return (self.num_cepstra or self.num_mels) * (1 + self.num_deltas)

    @property
    def frames_stand_alone(self) -> bool:
        """Whether a frame is a function of its own samples: a stream can then make each one once.

        Otherwise the edges of what is looked at, or what comes later, change frames: only a model
        that runs over whole windows again gives the same in a stream.
        """
        return self.framing != "centred" and self.top_db is None and not self.num_deltas

    @property
    def frame_samples(self) -> int:
        """Samples from a frame's first to its last, those outside the window included."""
        return self.window_samples if self.framing == "window" else self.fft_size

    @property
    def margins(self) -> tuple[int, int]:
        """Zeros to add before and after a waveform; where negative, samples to leave out."""
        if self.framing == "window":
            return 0, 0
        surplus = self.fft_size - self.window_samples
        around = self.fft_size // 2 if self.framing == "centred" else 0
        return around - surplus // 2, around - (surplus - surplus // 2)

    def num_frames(self, num_samples: int) -> int:
        """Frames that a waveform of `num_samples` gives."""
        surplus = num_samples + sum(self.margins) - self.window_samples
        return max(0, surplus // self.hop_samples + 1)

    def to_json(self) -> dict[str, Any]:
        """JSON values from which `FrontEndConfig(**values)` makes this again."""
        return dataclasses.asdict(self)


_LIBROSA = FrontEndConfig(
    window="hann",
    framing="centred",
    remove_mean=False,
    preemphasis=0.0,
    mel_scale="slaney",
    triangles="hertz",
    equal_area=True,
    lowest_hz=0.0,
    floor=1e-10,
    decibels=True,
    top_db=80.0,
)
_TENSORFLOW = FrontEndConfig(
    window="hann",
    window_samples=480,
    remove_mean=False,
    preemphasis=0.0,
    spectrum="magnitude",
    num_mels=80,
    highest_hz=7_600.0,
    floor=1e-12,
    dct="uniform",
)

PRESETS = {
    # Kaldi's fbank: 25 ms Povey window each 10 ms, snip_edges, no dither.
    "kaldi-logmel": FrontEndConfig(),
    # HuBERT's first targets: Kaldi's MFCC with its lifter and no energy, and two delta orders.
    "kaldi-mfcc": FrontEndConfig(num_mels=23, num_cepstra=13, lifter=22.0, num_deltas=2),
    # power_to_db(melspectrogram(...)) with librosa's defaults, at Kaldi's window and hop.
    "librosa-logmel": _LIBROSA,
    # data2vec-KWS and Torch-KWT. Some of their configs leave fmin at 0; the published one has 20.
    "librosa-mfcc": dataclasses.replace(
        _LIBROSA,
        window_samples=480,
        fft_size=480,
        framing="fft",
        num_mels=80,
        lowest_hz=20.0,
        highest_hz=7_600.0,
        num_cepstra=40,
    ),
    # ARM's Keyword Transformer before its DCT.
    "tensorflow-logmel": _TENSORFLOW,
    # ARM's Keyword Transformer (kws_streaming's mfcc_tf with kwt1/flags.json): 30 ms each 10 ms.
    "tensorflow-mfcc": dataclasses.replace(_TENSORFLOW, num_cepstra=40),
    # MLPerf Tiny's keyword spotting: 30 ms each 20 ms. It divides each clip by its largest sample
    # first, which no stream can; do that to the clips where its numbers are to be met.
    "mlperf-tiny-mfcc": dataclasses.replace(
        _TENSORFLOW,
        hop_samples=320,
        num_mels=40,
        highest_hz=4_000.0,
        floor=1e-6,
        floor_added=True,
        num_cepstra=10,
    ),
}
"""By name; change one with `dataclasses.replace`."""


def preset(name: str) -> FrontEndConfig:
    """A front end by its name.

    Raises:
        ValueError: there is none of this name.
    """
    if name not in PRESETS:
        raise ValueError(f"there is no front end {name!r}; {nearest(name, PRESETS)}")
    return PRESETS[name]


def _named(value: object) -> object:
    return preset(value) if isinstance(value, str) else value


NamedFrontEnd = Annotated[FrontEndConfig, BeforeValidator(_named)]
"""A field of a model's sizes that people may fill with a preset's name. What is kept and saved is
the front end itself, so that no later change of a preset changes a checkpoint."""


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class RunningNormConfig:
    """Normalization of a waveform by what a stream has heard so far.

    No paper's: it stands in for the normalization of whole utterances, which a stream cannot have.
    """

    memory_samples: int = 65_536
    """The past weighs e times less this long ago, 4.1 s. A power of two makes a step's decay
    exact in float32."""
    prior_samples: int = 8_000
    """A stream begins as if it had heard this much sound of `prior_rms`, so that its first
    samples are not blown up."""
    prior_rms: float = 0.05
    """Loudness, in [-1, 1]'s unit, that is taken for usual."""
    eps: float = 1e-5
    """Added to the variance, as where whole utterances are normalized."""

    def __post_init__(self) -> None:
        if self.memory_samples < 2:
            raise ValueError(f"memory_samples must be 2 or more, got {self.memory_samples}")
        if not 1 <= self.prior_samples <= self.memory_samples:
            raise ValueError(
                f"prior_samples must lie in [1, memory_samples = {self.memory_samples}], got "
                f"{self.prior_samples}"
            )
        if self.prior_rms < 0 or self.eps <= 0:
            raise ValueError(
                f"prior_rms must be 0 or more and eps positive, got {self.prior_rms}, {self.eps}"
            )

    def to_json(self) -> dict[str, Any]:
        """JSON values from which `RunningNormConfig(**values)` makes this again."""
        return dataclasses.asdict(self)
