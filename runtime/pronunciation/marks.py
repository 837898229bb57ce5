"""How a judged phone is shown, in whatever picture: its kind, and its words without colours."""

import math

from ..faults import one_line
from .judgement import Phone, Status

DOUBTFUL_GOP = math.log(0.5)
"""A phone without a grade that is told as correct with less than this, half of all there may have
been, is shown as doubtful: between right and wrong."""


def kind_of(phone: Phone) -> Status:
    """What a phone is shown as."""
    graded = phone.score is not None
    weak = phone.gop is not None and phone.gop < DOUBTFUL_GOP
    if phone.status == "correct" and weak and not graded:
        return "doubtful"
    return phone.status


def mark_of(phone: Phone) -> str:
    """A phone that reads without colours: `AE` right, `AE?` doubtful, `AE>EH` said as EH, `-K` left
    out, `+L` put in. Names come from a bundle, and are made safe to print."""
    asked, heard = one_line(phone.phone or ""), one_line(phone.heard or "")
    return {
        "correct": asked,
        "doubtful": f"{asked}?",
        "substituted": f"{asked}>{heard}",
        "deleted": f"-{asked}",
        "inserted": f"+{heard}",
    }[kind_of(phone)]
