"""Verbs of the command line that stand apart: one file a verb, without torch until it runs."""
