"""Fine-tuning on labelled sets: one encoder, one recipe, several seeds and learning rates, scores
with their spread.
"""
