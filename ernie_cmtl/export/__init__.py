"""Trained run -> model files for other programs."""
