"""A share of the labels: nested, by speaker, the same share of each label."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.data.cuts import recording_cut, sorted_cuts
from train.data.label_share import (
    LabelShare,
    labelled,
    of_labelled_speakers,
    speaker_of,
    unlabelled,
)
from train.data.source import open_source
from train.errors import DataError


def corpus(speakers, seed):
    """Each speaker says some of four words up to three times; some clips are nobody's."""
    rng = random.Random(seed)
    clips = [
        (word, f"s{speaker}", number)
        for speaker in range(speakers)
        for word in ("yes", "no", "up", "go")
        for number in range(rng.randrange(4))
    ]
    clips += [("hiss", "", number) for number in range(rng.randrange(1, 20))]
    return sorted_cuts(
        recording_cut(
            f"{word}/{speaker}_{number}",
            "/clip.wav",
            duration_s=1.0,
            partition="train",
            label=word,
            speaker=speaker,
        )
        for word, speaker, number in clips
    )


def counts(cuts):
    found = {}
    for cut in cuts:
        found[cut.supervisions[0].text] = found.get(cut.supervisions[0].text, 0) + 1
    return found


speakers_of = st.integers(1, 30)
shares = st.floats(0.01, 1.0)
seeds = st.integers(0, 50)


@given(speakers=speakers_of, share=shares, seed=seeds)
def test_each_label_has_its_share_and_one_clip_at_least(speakers, share, seed):
    cuts = corpus(speakers, seed)
    chosen = counts(labelled(cuts, LabelShare(share=share, seed=seed)))
    for label, total in counts(cuts).items():
        assert chosen[label] == max(1, round(share * total))


@given(speakers=speakers_of, first=shares, second=shares, seed=seeds)
def test_a_larger_share_holds_a_smaller_one_and_a_seed_chooses_the_same(
    speakers, first, second, seed
):
    cuts = corpus(speakers, 3)
    small, large = (
        set(labelled(cuts, LabelShare(share=share, seed=seed)).ids)
        for share in sorted((first, second))
    )
    assert small <= large
    again = labelled(corpus(speakers, 3), LabelShare(share=max(first, second), seed=seed))
    assert set(again.ids) == large


@given(speakers=speakers_of, share=shares, seed=seeds)
def test_no_speaker_is_on_both_sides(speakers, share, seed):
    cuts = corpus(speakers, seed)
    asked = LabelShare(share=share, seed=seed)
    told = labelled(cuts, asked)
    try:
        untold = unlabelled(cuts, asked)
    except DataError:
        return
    assert not {speaker_of(cut) for cut in told} & {speaker_of(cut) for cut in untold}
    left = set(cuts.ids) - set(told.ids) - set(untold.ids)
    assert {cut.supervisions[0].speaker for cut in cuts if cut.id in left} <= {
        cut.supervisions[0].speaker for cut in told
    }


@given(speakers=speakers_of, first=shares, second=shares, seed=seeds)
def test_of_sentences_whole_speakers_are_labelled_and_more_of_them_hold_fewer(
    speakers, first, second, seed
):
    cuts = corpus(speakers, 3)
    everybody = {speaker_of(cut) for cut in cuts}
    small, large = (
        {speaker_of(cut) for cut in of_labelled_speakers(cuts, LabelShare(share=share, seed=seed))}
        for share in sorted((first, second))
    )
    assert small <= large
    assert len(small) == max(1, round(min(first, second) * len(everybody)))
    told = of_labelled_speakers(
        corpus(speakers, 3), LabelShare(share=max(first, second), seed=seed)
    )
    assert list(told.ids) == [cut.id for cut in cuts if speaker_of(cut) in large]


def test_speakers_are_labelled_in_the_order_of_clips_shares():
    cuts = corpus(40, 1)
    first = {speaker_of(cut) for cut in of_labelled_speakers(cuts, LabelShare(share=0.1, seed=2))}
    of_a_word = cuts.filter(lambda cut: cut.supervisions[0].text == "yes").to_eager()
    (clip,) = labelled(of_a_word, LabelShare(share=0.01, seed=2))
    assert speaker_of(clip) in first


def test_few_speakers_have_the_labels():
    cuts = corpus(200, 1)
    told = {cut.supervisions[0].speaker for cut in labelled(cuts, LabelShare(share=0.05))}
    assert len(told) < 0.15 * 200


def test_all_labels_are_all_clips_and_leave_nothing():
    cuts = corpus(5, 0)
    assert list(labelled(cuts, LabelShare()).ids) == list(cuts.ids)
    with pytest.raises(DataError, match="nothing is left to pretrain on; lower"):
        unlabelled(cuts, LabelShare())


def test_seeds_choose_others():
    cuts = corpus(40, 1)
    first, second = (set(labelled(cuts, LabelShare(share=0.1, seed=seed)).ids) for seed in (0, 1))
    assert first != second


def test_pretraining_leaves_the_speakers_with_labels_out(request):
    corpus = request.getfixturevalue("corpus")
    without = LabelShare(share=0.3)
    whole = open_source(corpus, min_seconds=0.1)
    told = {speaker_of(cut) for cut in labelled(whole.cuts, without)}
    heard = {speaker_of(cut) for cut in open_source(corpus, min_seconds=0.1, without=without).cuts}
    assert heard
    assert told
    assert heard | told == {speaker_of(cut) for cut in whole.cuts}
    assert not heard & told


@pytest.mark.parametrize("values", [{"share": 0.0}, {"share": 1.1}, {"seed": -1}, {"shares": 1}])
def test_what_cannot_be_is_refused(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        LabelShare(**values)
