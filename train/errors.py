"""What can go wrong in training, as one family that the command line prints in a line."""


class TrainError(Exception):
    """A fault a user can act on: the message names the value, the rule and the way out."""


class DataError(TrainError):
    """A corpus or a recording cannot be used as it is."""


class RecipeError(TrainError):
    """A recipe or a flag asks for something that does not exist or does not fit."""


class CollapseError(TrainError):
    """A model predicts the same for every frame: going on would waste the rest of the run."""


class LayoutError(TrainError):
    """A checkpoint of another toolkit cannot be read, or ours cannot be written for it."""
