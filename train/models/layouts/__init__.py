"""How other toolkits name the tensors of this encoder family: one file a layout, found by its name.

A layout has `recognizes(keys, config) -> bool`, `TABLE` (its names and ours), `FIELDS` (paths in
the file's own config, the first that is there wins, and the value of ours that each tells) and
`MUST` (paths whose value, where it is written down, must be what our encoder is built for).
`importing.py` asks each in the alphabet's order; no two take the same file.
"""
