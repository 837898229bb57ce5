"""Corpora that can be had from their publishers: one file a corpus, found by its name.

A corpus has `LICENCE`, `PARTS` (name to `Archive`) and `cuts(root) -> Iterable[MonoCut]`, which
reads what the archives unpack to below `root`. `prepare.py` does the rest.
"""
