"""Checkpoints of `transformers` that others made: one rule set for everything that opens one.

No code from a checkpoint runs and none is fetched. Sizes have bounds. Weights are safetensors that
fit the config.
"""
