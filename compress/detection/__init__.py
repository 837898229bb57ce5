"""How well a bundle spots its words: misses over false alarms per hour, and what they rest on.

Answers of a model over time are a `Trace`; `sweep` decides on it at many thresholds at once,
exactly as the runtime does at each; `matching` holds events to the words that were said; `det`
makes curves of both; `intervals` says how far a count can be trusted.
"""
