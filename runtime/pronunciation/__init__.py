"""How a text was pronounced, from the posteriors of a CTC phone model, in numpy alone.

sentence = check(log_posteriors, model.labels, [("call", ["K", "AO", "L"])], frame_s)
print(sentence_text(sentence, colours=True))
"""

from .checking import check
from .grading import MOST, grader_of
from .judgement import Phone, Sentence, Word
from .sentence_svg import sentence_svg
from .sentence_text import sentence_text, wants_colours

__all__ = [
    "MOST",
    "Phone",
    "Sentence",
    "Word",
    "check",
    "grader_of",
    "sentence_svg",
    "sentence_text",
    "wants_colours",
]
