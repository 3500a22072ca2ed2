"""Encoder families: one file or folder each; its name is the setting `encoder.architecture`."""
