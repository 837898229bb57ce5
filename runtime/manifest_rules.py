"""What the parts of a manifest owe to one another; manifest.py asks this of every manifest."""

import difflib
import math
from typing import TYPE_CHECKING

from .faults import BundleFault, PronunciationFault, short

if TYPE_CHECKING:
    from .manifest import Decision, Manifest, State, Streaming, Tensor

KEYWORDS, PHONES = "keywords", "phones"
TASKS = (KEYWORDS, PHONES)
MAX_LABELS = 10_000
MAX_SCORES = 1_000_000
"""Most scores that smoothing keeps, 8 MB; and most that an answer of phones holds."""
MAX_STATES = 1024
MAX_STATE_BYTES = 64 << 20
"""Most bytes of all states together: a stream keeps them, and a device has many streams."""
MAX_PHRASES = 1000
MAX_PHRASE_PHONES = 100
"""Most phones of a phrase, about 10 s of speech; of all phrases' ways together a thousand times as
many are kept and scored, in 13 MB."""
_MAX_DIMENSIONS = 8
_FLOAT32_MAX = float.fromhex("0x1.fffffep+127")


def check_tensors(manifest: "Manifest") -> None:
    """The graph's face must be the task's: one waveform in, one row of posteriors out, or of phones
    a row for each frame of a hop.

    A graph with states is run on one hop of one stream, so that nothing about it is open.
    """
    streaming, labels = manifest.streaming, (len(manifest.labels),)
    if manifest.task == PHONES:
        frames = _frames(manifest)
        _check_face(manifest, "inputs", "pcm", (1,), (streaming.hop_samples,))
        _check_face(manifest, "outputs", "posteriors", (1,), (frames,), labels)
    elif streaming.has_states:
        _check_face(manifest, "inputs", "pcm", (1,), (streaming.hop_samples,))
        _check_face(manifest, "outputs", "posteriors", (1,), labels)
    else:
        lengths = ("samples", streaming.window_samples)
        _check_face(manifest, "inputs", "pcm", ("batch", 1), lengths)
        _check_face(manifest, "outputs", "posteriors", ("batch", 1), labels)


def _frames(manifest: "Manifest") -> int | str:
    """Of a hop, as stated where that may be, so that it is as wanted; or else what to write."""
    streaming, num_labels = manifest.streaming, len(manifest.labels)
    if not streaming.has_states:
        raise BundleFault(
            "streaming.form of a phone model must be 'incremental', as it tells every frame once; "
            f"got {streaming.form!r}. Export again."
        )
    stated = [size for tensor in manifest.outputs for size in tensor.shape[1:2]]
    for frames in stated:
        if (
            isinstance(frames, int)
            and 1 <= frames <= MAX_SCORES // num_labels
            and streaming.hop_samples % frames == 0
        ):
            return frames
    return f"a divisor of hop_samples {streaming.hop_samples}"


def _check_face(manifest: "Manifest", where: str, name: str, *sizes: tuple[str | int, ...]) -> None:
    """One tensor, each of whose dimensions may be written in the given ways."""
    tensors: tuple[Tensor, ...] = getattr(manifest, where)
    ok = (
        len(tensors) == 1
        and tensors[0].name == name
        and tensors[0].dtype == "float32"
        and len(tensors[0].shape) == len(sizes)
        and all(size in known for size, known in zip(tensors[0].shape, sizes, strict=True))
    )
    if not ok:
        got = short([f"{tensor.name}: {tensor.dtype} {tensor.shape}" for tensor in tensors])
        wanted = ", ".join(str(known[0]) for known in sizes)
        raise BundleFault(
            f"{where} of a {manifest.task.removesuffix('s')} model must be [{name}: float32 "
            f"({wanted})], got {got}"
        )


def check_states(manifest: "Manifest") -> None:
    """States are there where the form hands them on, and bounded like all that is received."""
    form, states = manifest.streaming.form, manifest.states
    if manifest.streaming.has_states is not bool(states) or len(states) > MAX_STATES:
        wanted = f"1 to {MAX_STATES:,} states" if manifest.streaming.has_states else "no states"
        raise BundleFault(
            f"states: a model of the form {form!r} has {wanted}, got {len(states):,}. "
            "Export again, or state the form that the graph was made for."
        )
    size_bytes = 0
    for state in states:
        _check_state(state)
        size_bytes += 4 * math.prod(state.shape)
    if size_bytes > MAX_STATE_BYTES:
        raise BundleFault(
            f"states must take at most {MAX_STATE_BYTES:,} bytes together, got {short(size_bytes)}"
        )
    # A graph has one name for one tensor, whether it goes in or comes out.
    taken = {tensor.name for tensor in (*manifest.inputs, *manifest.outputs)}
    for name in (name for state in states for name in (state.name, state.next_name)):
        if name in taken:
            raise BundleFault(
                f"states: {short(name)} would be two tensors of the graph; its inputs and outputs "
                f"are {', '.join(sorted(taken)[:4])}, and each state's name and the same + '_next'"
            )
        taken.add(name)


def _check_state(state: "State") -> None:
    check_names("states", (state.name,))
    shape = state.shape
    if not 1 <= len(shape) <= _MAX_DIMENSIONS or shape[0] != 1 or min(shape) < 1:
        raise BundleFault(
            f"states: the shape of {state.name!r} must be 1 to {_MAX_DIMENSIONS} sizes of 1 or "
            f"more, the batch of 1 first, got {short(list(shape))}"
        )
    if state.dtype != "float32":
        raise BundleFault(f"states: {state.name!r} must be float32, got {short(state.dtype)}")
    if not -_FLOAT32_MAX <= state.initial <= _FLOAT32_MAX:  # NaN does not either
        raise BundleFault(
            f"states: the initial value of {state.name!r} must be a finite float32, got "
            f"{short(state.initial)}"
        )


def check_decision(manifest: "Manifest") -> None:
    """Keywords are labels, and what the decision looks back on is bounded; phones have none."""
    decision = manifest.decision
    if manifest.task == PHONES:
        if decision is not None:
            raise BundleFault("decision is of keywords, and a phone model has none; leave it out")
        return
    if decision is None:
        raise BundleFault("decision is missing: it says when a keyword model's posteriors count")
    known = set(manifest.labels)
    strangers = [word for word in decision.keywords if word not in known]
    if strangers:
        raise BundleFault(
            f"decision.keywords {short(strangers)} are not among the labels "
            f"{short(list(manifest.labels))}"
        )
    _check_look_back(decision, manifest.streaming)


def _check_look_back(decision: "Decision", streaming: "Streaming") -> None:
    num_scores = decision.smoothing_windows * len(decision.keywords)
    if num_scores > MAX_SCORES:
        raise BundleFault(
            f"decision.smoothing_windows times keywords must be at most {MAX_SCORES:,} scores to "
            f"keep, got {num_scores:,}"
        )
    span_samples = (decision.patience - 1) * streaming.hop_samples
    if span_samples >= streaming.window_samples:
        raise BundleFault(
            f"decision.patience {decision.patience} spans {span_samples} samples, and "
            f"the windows that agree must overlap: keep (patience - 1) * hop_samples under "
            f"window_samples {streaming.window_samples}"
        )


def check_phrases(manifest: "Manifest") -> None:
    """Phrases are of a phone model, in phones that it tells, and bounded: each is scored in every
    frame."""
    phrases = manifest.phrases
    if phrases is None:
        return
    if manifest.task != PHONES:
        raise BundleFault(f"phrases are for a phone model, and this one tells {manifest.task}")
    ways = phrases.pronunciations
    check_names("phrases.pronunciations", tuple(ways))
    within("phrases.pronunciations: how many keywords", len(ways), 1, MAX_PHRASES)
    if set(ways) != set(phrases.decision.keywords):
        raise BundleFault(
            f"phrases.decision.keywords {short(list(phrases.decision.keywords))} must be those "
            f"that have pronunciations, {short(list(ways))}"
        )
    _check_look_back(phrases.decision, manifest.streaming)
    # Not for a bundle of keywords: what judges phones need not be loaded there.
    from .pronunciation.phone_columns import columns_of

    try:
        columns = columns_of(manifest.labels)
        for word, said in ways.items():
            if not said:
                raise BundleFault(f"the keyword {short(word)} has no phones: leave it out")
            for phones in said:
                columns.find(phones, f"the keyword {short(word)}")
                within(f"phones of the keyword {short(word)}", len(phones), 1, MAX_PHRASE_PHONES)
    except PronunciationFault as fault:
        raise BundleFault(str(fault)) from fault
    longest = max(len(phones) for said in ways.values() for phones in said)
    num_states = longest * sum(map(len, ways.values()))
    if num_states > 1000 * MAX_PHRASE_PHONES:
        raise BundleFault(
            f"phrases: pronunciations times the longest one's phones must be at most "
            f"{1000 * MAX_PHRASE_PHONES:,}, got {num_states:,}; give fewer keywords"
        )


def check_task(task: str) -> None:
    """Raises BundleFault where a model does what this runtime does not know."""
    if task not in TASKS:
        raise unknown("task", task, TASKS)


def check_names(where: str, names: tuple[str, ...]) -> None:
    """Names are printed one event a line, so they hold no line breaks or control characters."""
    if not 1 <= len(names) <= MAX_LABELS:
        raise BundleFault(f"{where} must hold 1 to {MAX_LABELS:,} names, got {len(names):,}")
    for name in names:
        if not name.strip() or not name.isprintable() or len(name) > 200:
            raise BundleFault(
                f"{where}: {name[:200]!r} must be 1 to 200 printable characters and not blank"
            )
    if len(set(names)) != len(names):
        raise BundleFault(f"{where} must differ from one another, got {short(list(names))}")


def within(where: str, value: int, least: int, most: int) -> None:
    """Raises BundleFault unless least <= value <= most."""
    if not least <= value <= most:
        raise BundleFault(f"{where} must lie in [{least}, {most}], got {short(value)}")


def unknown(where: str, value: str, known: tuple[str, ...]) -> BundleFault:
    """The fault of a name that is none of those that this runtime knows."""
    near = difflib.get_close_matches(value[:100], known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return BundleFault(
        f"{where} {value[:100]!r} is not known to this runtime, which knows {list(known)}.{hint} "
        "A newer runtime may read this bundle."
    )
