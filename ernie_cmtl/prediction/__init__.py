"""What a model says of rows without labels: a fine-tuned one answers, a bare encoder embeds."""
