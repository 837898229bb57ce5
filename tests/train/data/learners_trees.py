"""Corpora of learners' English in their official layouts, small."""

from pathlib import Path

INTERVAL = """        intervals [{number}]:
            xmin = {start}
            xmax = {end}
            text = "{label}"
"""
GRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = {end}
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = {end}
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = {end}
            text = "{text}"
    item [2]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = {end}
        intervals: size = {size}
"""


def text_grid(text, labels):
    """A TextGrid in the long format, a tenth of a second for each phone."""
    intervals = "".join(
        INTERVAL.format(number=number + 1, start=number / 10, end=(number + 1) / 10, label=label)
        for number, label in enumerate(labels)
    )
    return GRID.format(text=text, size=len(labels), end=len(labels) / 10) + intervals


def write_l2_recording(root, write_tone, name, text, labels=None):
    """A recording "SPEAKER/NAME" of L2-ARCTIC with its transcript; labels annotate its phones."""
    speaker, stem = name.split("/")
    write_tone(f"{root}/{speaker}/wav/{stem}.wav", seconds=0.1, rate=44_100)
    transcript = Path(root) / speaker / "transcript" / f"{stem}.txt"
    transcript.parent.mkdir(exist_ok=True)
    transcript.write_text(text)
    if labels is not None:
        grid = Path(root) / speaker / "annotation" / f"{stem}.TextGrid"
        grid.parent.mkdir(exist_ok=True)
        grid.write_text(text_grid(text, labels))


def write_l2_arctic(root, write_tone):
    """A speaker of each partition, each with a recording that is annotated and one that is not."""
    root = write_tone(f"{root}/suitcase_corpus/wav/aba.wav").parents[2]
    for speaker in ("ABA", "TLV"):
        write_l2_recording(root, write_tone, f"{speaker}/arctic_a0001", "Think", ["TH,S,s", "IH1"])
        write_l2_recording(root, write_tone, f"{speaker}/arctic_a0002", "Lord")
    return root


def write_speechocean762(root, write_tone):
    """A speaker of each partition, as the publisher lays them out."""
    phones = ""
    for partition, name in (("train", "000010011"), ("test", "000030012")):
        place = f"WAVE/SPEAKER{name[:5]}/{name}.WAV"
        root = write_tone(f"{root}/{place}", seconds=0.5).parents[2]
        folder = root / partition
        folder.mkdir()
        (folder / "wav.scp").write_text(f"{name}\t{place}\n")
        (folder / "text").write_text(f"{name}\tWE CALL\n")
        (folder / "utt2spk").write_text(f"{name}\t{name[:5]}\n")
        phones += f"{name}.0\tW_B IY0_E\n{name}.1\tK_B AO0_I L_E\n"
    (root / "resource").mkdir()
    (root / "resource/text-phone").write_text(phones)
    return root
