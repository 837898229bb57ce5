"""How well pronunciation is judged: against what was said, and against experts' scores.

`columns` lays canonical, perceived and recognized phones beside each other; `verdicts` counts what
they say of a detector; `error_rate` compares what was recognized with what was said; `agreement`
holds scores to those of experts, with intervals.
"""
