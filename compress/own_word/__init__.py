"""A spotter of a word that was typed, not recorded: speech from text, near misses, training.

`phrase` checks the text; `articulation` says how far two pronunciations are apart and `near_misses`
makes some that are near; `talkers` say things; `corpus`, `talk` and `hearing` write what is
trained on; `steps` goes the whole way, and `enrolment` the short one, from takes without training.
"""
