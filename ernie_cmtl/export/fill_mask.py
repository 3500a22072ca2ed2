"""Show that an export works: stock classes of transformers fill the mask of a sentence."""

import argparse

import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer
from transformers.utils import logging

from ernie_cmtl.printable import printable

SENTENCES = {"en": "The {} of the function is a string.", "zh": "今天的天{}很好，人们去公园散步。"}


def fill_mask(path: str, sentence: str, count: int = 5) -> list[tuple[str, float]]:
    """Return the likeliest tokens for the `{}` of a sentence, with their probabilities."""
    tokenizer, model = (
        AutoTokenizer.from_pretrained(path),
        AutoModelForMaskedLM.from_pretrained(path),
    )
    inputs = tokenizer(sentence.format(tokenizer.mask_token), return_tensors="pt")
    place = int((inputs["input_ids"][0] == tokenizer.mask_token_id).nonzero()[0])
    with torch.no_grad():
        best = model(**inputs).logits[0, place].softmax(-1).topk(count)
    return list(
        zip(
            tokenizer.convert_ids_to_tokens(best.indices.tolist()),
            best.values.tolist(),
            strict=True,
        )
    )


def main() -> None:
    """Fill the mask of a sentence of a language, or of one's own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="folder of an export")
    parser.add_argument("--language", choices=tuple(SENTENCES), default="en")
    parser.add_argument("--sentence", help="with {} for the mask")
    arguments = parser.parse_args()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    sentence = arguments.sentence or SENTENCES[arguments.language]
    best = fill_mask(arguments.model, sentence)
    guesses = ", ".join(f"{token} {probability:.1%}" for token, probability in best)
    print(printable(f"{sentence.format('____')}  ->  {guesses}"))


if __name__ == "__main__":
    main()
