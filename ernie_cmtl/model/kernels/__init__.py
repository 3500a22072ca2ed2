"""Functions that need an own forward and backward pass: attention over packed rows, cross entropy
in pieces, dropout.
"""
