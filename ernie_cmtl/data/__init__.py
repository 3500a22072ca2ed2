"""Corpus -> batches: which samples stand in which row of which step is computed from keys and
cursors, never stored.
"""
