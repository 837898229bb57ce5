"""What a spotter is asked for, and whose a folder is."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from runtime.atomic import replacing_file
from train.data.corpus import read_corpus
from train.data.rooms import read_surroundings

from .. import CallError
from ..detection.calibrating import Target

RECIPE = "spotter-tcn"
LEAST_CLIPS = 100

_ASKED = "asked.json"


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Everything that a spotter is made of."""

    text: str
    language: str = "en"
    piper_voices: tuple[Path, ...] = ()
    recordings: Path | None = None
    """The user's takes."""
    model: Path | None = None
    """To start from; None: the model of phones that ships, where the recipe's body is its."""
    enroll: bool = False
    """Make a last layer for `model` and train nothing."""
    negatives: tuple[Path, ...] = ()
    """Speech without the keyword; none: synthetic talk."""
    noise: Path | None = None
    """Recorded noises and rooms; None: made ones."""
    false_alarms_per_hour: float = 0.5
    recipe: str = RECIPE
    overrides: tuple[str, ...] = ()
    """Of the recipe, as --set has them."""
    clips: int = 1_500
    """Of the keyword; there are twice as many near misses."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.clips < LEAST_CLIPS:
            raise CallError(
                f"--clips must be {LEAST_CLIPS} or more, a tenth of which is for the test, got "
                f"{self.clips}"
            )
        _ = self.target  # its own rules

    @property
    def target(self) -> Target:
        """Of the threshold. Hours that are too few for the rate let no alarm of them through."""
        return Target(
            false_alarms_per_hour=self.false_alarms_per_hour, allow_short=True, seed=self.seed
        )

    @property
    def near_misses(self) -> int:
        """Clips of them."""
        return 2 * self.clips

    @property
    def talk_minutes(self) -> float:
        """Of synthetic talk without the keyword, in proportion to the clips: 40 for 1,500."""
        return self.clips * 40.0 / 1_500.0

    @property
    def notes(self) -> dict[str, str]:
        """What a reader of the figures has to know, by what it is about."""
        notes = {}
        if not self.enroll:
            notes["misses"] = (
                "those of synthetic voices say little of people's; --recordings adds takes of your "
                "own, and leaves some out to test on"
            )
        if not self.negatives:
            notes["false_alarms"] = (
                "counted in synthetic talk, so they mean little; give recorded speech without the "
                "keyword by --negatives, some hours of it"
            )
        return notes


def check_audio(ask: Ask) -> None:
    """Read what the folders of audio hold, so that what is wrong with them is told at once.

    Raises:
        DataError: one cannot be used.
    """
    for folder in ask.negatives:
        read_corpus(folder)
    if ask.noise is not None:
        read_surroundings(ask.noise)


def claim(ask: Ask, out: Path, *, resume: bool) -> None:
    """Begin a folder, or go on in one that was begun for the same.

    Raises:
        CallError: it holds something else, or --resume is missing.
        OSError: it cannot be written.
    """
    path = out / _ASKED
    record = json.loads(json.dumps(asdict(ask), default=str))
    if not path.is_file():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise CallError(f"{out} is there and holds no spotter of ours; choose another --out")
        with replacing_file(path) as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        return
    if not resume:
        raise CallError(f"{out} was begun already; go on by --resume or choose another --out")
    try:
        begun = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as fault:
        raise CallError(f"{path} is damaged ({fault}); choose another --out") from None
    for key, value in record.items():
        if begun.get(key) != value:
            raise CallError(
                f"{out} was begun with {key} {begun.get(key)!r}, and {value!r} is asked for; "
                "resume it as it was or choose another --out"
            )
