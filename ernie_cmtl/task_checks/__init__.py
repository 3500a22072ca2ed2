"""Is a pretraining task sound: its contract, the spread of its labels, and what cheap baselines
make of it.
"""
