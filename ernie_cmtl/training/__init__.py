"""Batches -> weights: the step, its workers, its checkpoints."""
