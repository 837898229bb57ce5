"""Structured pruning: whole channels, heads and units go, and a smaller dense model is left."""
