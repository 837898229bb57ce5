"""Teachers and models: encoders, objectives, targets, tasks and the data that feeds them.

Importing this package loads neither torch nor Lightning: its modules do, when they are used.
"""

from .errors import DataError, RecipeError, TrainError

__all__ = ["DataError", "RecipeError", "TrainError"]
