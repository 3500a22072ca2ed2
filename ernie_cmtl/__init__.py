"""Continual multi-task pretraining of BERT-size encoders from raw text, after ERNIE 2.0."""

__version__ = "0.1.0"
