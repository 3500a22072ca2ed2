"""Text -> tokens: tokenizer, words, scripts, titles."""
