"""Three sequences of phones, side by side."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from compress import CompressError
from compress.pronunciation.columns import columns, paired

PHONES = st.lists(st.sampled_from("ABC"), max_size=6)
FEW = st.lists(st.sampled_from("AB"), max_size=4)


def told(canonical, perceived, recognized):
    """The columns as text, gaps as dots."""
    found = columns(paired(canonical.split(), perceived.split()), recognized.split())
    return [
        " ".join(row)
        for row in zip(
            *(
                [phone or "." for phone in (item.canonical, item.perceived, item.recognized)]
                for item in found
            ),
            strict=True,
        )
    ]


@pytest.mark.parametrize(
    ("canonical", "perceived", "recognized", "expected"),
    [
        ("TH IH NG K", "S IH NG K", "S IH NG K", ["TH IH NG K", "S IH NG K", "S IH NG K"]),
        ("TH IH NG K", "S IH NG K", "T IH NG", ["TH IH NG K", "S IH NG K", "T IH NG ."]),
        # put in before the first phone, and after the last one
        ("S T AA P", "EH S T AA P", "EH S T AA P", [". S T AA P", "EH S T AA P", "EH S T AA P"]),
        ("S T AA P", "S T AA P AH", "S T AA P", ["S T AA P .", "S T AA P AH", "S T AA P ."]),
        ("S T AA P", "S T AA P", "AH S T AA P", [". S T AA P", ". S T AA P", "AH S T AA P"]),
        # both put a sound in before the same phone, and it is not the same sound
        ("K AE", "AH K AE", "IH K AE", [". K AE", "AH K AE", "IH K AE"]),
        # in each other's place: two substitutions, as they are in `paired`
        ("AE S K", "AE K S", "AE S K", ["AE S K", "AE K S", "AE S K"]),
        ("AE S K", "AE S K", "AE K S", ["AE S K", "AE S K", "AE K S"]),
        # the K that was left out is the one that was not heard
        ("B UH K K EY S", "B UH K EY S", "B UH K EY S",
         ["B UH K K EY S", "B UH . K EY S", "B UH . K EY S"]),
        ("B UH K K EY S", "B UH K K EY S", "B UH K EY S",
         ["B UH K K EY S", "B UH K K EY S", "B UH . K EY S"]),
        ("B UH K K EY S", "B UH K EY S", "B UH K K EY S",
         ["B UH K K EY S", "B UH . K EY S", "B UH K K EY S"]),
        ("B UH K K EY S", "B UH K G EY S", "B UH G EY S",
         ["B UH K K EY S", "B UH K G EY S", "B UH . G EY S"]),
        ("K", "", "K", ["K", ".", "K"]),
        ("", "K", "", [".", "K", "."]),
        ("", "", "K", [".", ".", "K"]),
        ("K", "K", "", ["K", "K", "."]),
    ],
)  # fmt: skip
def test_hand_made_cases(canonical, perceived, recognized, expected):
    assert told(canonical, perceived, recognized) == expected


def test_nothing_has_no_columns():
    assert columns(paired([], []), []) == []


def test_annotated_places_are_kept():
    pairs = [("K", "K"), ("K", None), (None, "AH")]
    found = columns(pairs, ["K", "AH"])
    assert [(item.canonical, item.perceived) for item in found] == pairs
    assert [item.recognized for item in found] == ["K", None, "AH"]


def test_a_place_of_two_gaps_is_refused():
    with pytest.raises(CompressError, match="pair 1 has neither"):
        columns([("K", "K"), (None, None)], ["K"])


@given(PHONES, PHONES)
def test_pairs_are_the_fewest_edits(canonical, perceived):
    pairs = paired(canonical, perceived)
    assert sum(first != second for first, second in pairs) == Levenshtein.distance(
        canonical, perceived
    )
    assert [first for first, _ in pairs if first] == canonical
    assert [second for _, second in pairs if second] == perceived


def cheapest(pairs, recognized):
    """The least cost over every way to lay the phones heard beside the pairs."""
    if not pairs or not recognized:
        return 2 * len(recognized) + sum((a is not None) + (b is not None) for a, b in pairs)
    first, heard = pairs[0], recognized[0]
    return min(
        sum(phone != heard for phone in first) + cheapest(pairs[1:], recognized[1:]),
        sum(phone is not None for phone in first) + cheapest(pairs[1:], recognized),
        2 + cheapest(pairs, recognized[1:]),
    )


@given(FEW, FEW, FEW)
def test_columns_cost_no_more_than_the_best_of_all(canonical, perceived, recognized):
    pairs = paired(canonical, perceived)
    found = columns(pairs, recognized)
    cost = sum(
        (item.canonical != item.recognized) + (item.perceived != item.recognized) for item in found
    )
    assert cost == cheapest(pairs, recognized)
    assert [item.recognized for item in found if item.recognized] == recognized
    assert [
        (item.canonical, item.perceived) for item in found if item.canonical or item.perceived
    ] == pairs


def test_whoever_hears_all_as_it_was_said_agrees_in_every_column():
    words = [list(word) for size in range(5) for word in product("AB", repeat=size)]
    for canonical, perceived in product(words, words):
        pairs = paired(canonical, perceived)
        heard = columns(pairs, perceived)
        assert all(item.recognized == item.perceived for item in heard)
        accepting = columns(pairs, canonical)
        assert all(item.recognized == item.canonical for item in accepting)
