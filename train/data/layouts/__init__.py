"""How corpora lie on disk: one file a layout, found by its name.

A layout has `recognizes(root) -> bool` and `read(root) -> CutSet`. `corpus.py` tries them in the
alphabet's order and `folder`, which takes anything, last.
"""
