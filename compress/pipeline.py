"""The whole way on one machine, from speech to keyword events; what is there is reused."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import runtime
from runtime.keyword import Event
from runtime.listen import listen, wav_blocks
from train.data.audio import PackedAudio
from train.data.corpus import read_corpus, usable
from train.data.cuts import SILENCE, UNKNOWN
from train.data.recordings import Spoken, join_recordings, make_test_recording, read_truth
from train.data.synthetic import FILLERS, KEYWORDS, make_keyword_corpus
from train.finetune import finetune
from train.keywords_recipe import KeywordsRecipe
from train.objectives.hubert import Recipe as HubertRecipe
from train.pretrain import pretrain
from train.recipe import Recipe, load_recipe

from .cost.params import params
from .distill.stages import DistillRecipe, distill
from .exporting import DecisionFlags, export_run
from .folders import recipe_folder
from .forms import FormFlags
from .search.config import SearchConfig
from .search.winner import Places, search
from .spaces import get_space
from .subnet import Subnet
from .telling import step

TARGET_PARAMS = 500_000
"""Budget of the demonstration: 40 % of the largest subnet of its space."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much the demonstration does; what is set here overrides recipes, as --set does."""

    clips_per_keyword: int = 400
    clips_unknown: int = 600
    clips_silence: int = 200
    teacher: tuple[str, ...] = ()
    """Overrides of hubert-tiny."""
    supernet: tuple[str, ...] = ()
    """Overrides of lighthubert-tiny."""
    keywords: tuple[str, ...] = ()
    """Overrides of keywords-tiny."""
    target_params: int = TARGET_PARAMS
    num_trials: int = 24
    population: int = 8
    num_clips: int = 64


def run_demo(
    out: Path,
    *,
    data: Path | None,
    seed: int,
    tell: Callable[[str], None],
    effort: Effort | None = None,
) -> None:
    """Make speech, a teacher, a supernet, a winner, a bundle; stream a recording through it.

    Args:
        out: each step gets a folder in it; finished steps are reused, interrupted ones go on.
        data: labelled recordings; None: synthetic speech of espeak-ng.
        seed: of every step.
        tell: takes each line of the result: events, then what was made.
        effort: None: what the README says.

    Raises:
        TrainError, CompressError, ExportError, RuntimeFault: a step cannot be done.
    """
    began = time.monotonic()
    effort = effort or Effort()

    def recipe(name: str, schema: type[Recipe], package: str, *overrides: str) -> Recipe:
        return load_recipe(name, schema, recipe_folder(package), [*overrides, f"seed={seed}"])

    corpus = data or out / "speech"
    with step("1/7", "speech"):
        if data is None and not corpus.is_dir():
            make_keyword_corpus(
                corpus,
                clips_per_keyword=effort.clips_per_keyword,
                clips_unknown=effort.clips_unknown,
                clips_silence=effort.clips_silence,
                seed=seed,
                progress=True,
            )
        _log.info("%s: %d recordings", corpus, len(read_corpus(corpus)))
    with step("2/7", "a HuBERT teacher, two rounds"):
        hubert = recipe("hubert-tiny", HubertRecipe, "train", *effort.teacher)
        teacher = pretrain(hubert, corpus, out / "teacher", resume=True)
    with step("3/7", "distillation into a once-for-all supernet, two stages"):
        distilled = recipe("lighthubert-tiny", DistillRecipe, "compress", *effort.supernet)
        distill(distilled, teacher, corpus, out / "supernet", resume=True)
    with step("4/7", f"search for the best subnet of at most {effort.target_params:,} parameters"):
        config = SearchConfig(
            target_params=effort.target_params,
            num_trials=effort.num_trials,
            population=effort.population,
            num_clips=effort.num_clips,
            seed=seed,
        )
        places = Places(supernet=out / "supernet", data=corpus, out=out / "search")
        winner = search(config, places, resume=True)
    with step("5/7", "keywords on the winner"):
        keywords = recipe("keywords-tiny", KeywordsRecipe, "train", *effort.keywords)
        finetune(keywords, corpus, winner.model, out / "keywords", random_init=False, resume=True)
    with step("6/7", "a bundle"):
        bundle = out / "keywords.bundle"
        if not bundle.is_dir():
            licence = "synthetic speech by espeak-ng" if data is None else "that of the recordings"
            export_run(
                out / "keywords",
                bundle,
                name="demo",
                flags=DecisionFlags(),
                form=FormFlags(),
                licence=licence,
            )
    with step("7/7", "a stream it has never heard"):
        recording = out / "recording.wav"
        truth = _recording(recording, corpus, bundle, synthetic=data is None, seed=seed)
        heard = _stream(bundle, recording, truth, tell)
    tell(_summary(out, bundle, recording, heard, time.monotonic() - began))


def _recording(
    path: Path, corpus: Path, bundle: Path, *, synthetic: bool, seed: int
) -> list[Spoken]:
    """A recording of voices that no step trained on, and what is said in it."""
    if path.is_file():
        return read_truth(path)
    if synthetic:
        return make_test_recording(path, words=KEYWORDS * 2, fillers=FILLERS[:5], seed=seed)
    recordings = read_corpus(corpus)
    cuts = usable(recordings, partition="test", min_seconds=0.3)
    labels = runtime.load(bundle).manifest.labels
    chosen = [label for label in labels if label not in (SILENCE, UNKNOWN)]
    chosen += [UNKNOWN] * 4 if UNKNOWN in labels else []
    packed = PackedAudio.of(recordings, progress=True)
    return join_recordings(packed, cuts, path, labels=chosen, seed=seed)


def _stream(bundle: Path, recording: Path, truth: list[Spoken], tell: Callable[[str], None]) -> str:
    """Tell each event as it comes; returns how many were right."""
    model = runtime.load(bundle)
    keywords = set(model.manifest.keyword_decision.keywords)
    spoken = [word for word in truth if word.label in keywords]
    missed = list(spoken)
    false_alarms = 0
    for event in listen(model, wav_blocks(recording, model.sample_rate)):
        said = next((word for word in missed if _fits(event, word)), None)
        if said is None:
            false_alarms += 1
        else:
            missed.remove(said)
        verdict = "false alarm" if said is None else f"said at {said.start_s:.2f} s"
        tell(f"{event.end_s:6.2f} s  {event.label:<10} {event.score:.2f}   {verdict}")
    for word in missed:
        tell(f"{word.start_s:6.2f} s  {word.label:<10} missed")
    return (
        f"{len(spoken) - len(missed)} of {len(spoken)} keywords heard, "
        f"{false_alarms} false alarm(s), in {truth[-1].end_s:.0f} s of speech"
    )


def _fits(event: Event, word: Spoken) -> bool:
    """The event names the word and lies over it."""
    overlaps = event.start_s < word.end_s and word.start_s < event.end_s
    return event.label == word.label and overlaps


def _summary(out: Path, bundle: Path, recording: Path, heard: str, seconds: float) -> str:
    """What was made, and what to try next."""
    test = json.loads((out / "keywords" / "scores.json").read_text(encoding="utf-8"))["test"]
    winner = Subnet.from_json((out / "search" / "winner.json").read_text(encoding="utf-8"))
    num_params = params(get_space(winner.space), winner)
    size_kb = (bundle / "model.onnx").stat().st_size / 1000
    return f"""
Done in {seconds:.0f} s.
  teacher    {out / "teacher"}
  supernet   {out / "supernet"}
  winner     {out / "search"}  ({num_params:,} parameters)
  keywords   {out / "keywords"}  ({test["accuracy"]:.1%} of {test["clips"]} clips, new voices)
  bundle     {bundle}  ({size_kb:,.0f} kB)
  stream     {heard}
Next (after `source .venv/bin/activate`):
  compress listen {bundle} --wav {recording}
  compress listen {bundle}   # your microphone; needs the extra `microphone` and libportaudio2
  compress doctor {bundle}
  compress recipes"""
