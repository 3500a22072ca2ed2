"""Which task the next step serves, and how much of it: pure functions of a table, a seed and a
step.
"""
