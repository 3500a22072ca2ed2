"""Batch -> losses."""
