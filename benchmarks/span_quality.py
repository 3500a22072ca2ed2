"""How good the knowledge spans of a provider are: precision and recall against gold spans,
coverage, agreement of two providers.

    python benchmarks/span_quality.py --language en --provider capitalized_names --gold
    chunks.jsonl:chunk:NP names.jsonl:ner python benchmarks/span_quality.py --language zh --provider
    tagged_names 'gazetteer={"files": ["names.txt"]}' --text text.jsonl

Gold files hold a tokenised sentence a row: `tokens` and, under the key named, a tag for each: BIO
(all labels, or those named) or plain (runs of the tags named are the spans). Tokens are joined by
spaces. A provider sees a sentence in its document, the rows of the same `doc` or so many rows in a
row; scores are of the chosen sentences alone. Text files hold `text`, a document a row.
"""

import argparse
import json
import random
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
import sentencex

from ernie_cmtl.atomic_files import read_array
from ernie_cmtl.corpus.build.annotator import Annotator
from ernie_cmtl.corpus.layers import SpanProvider, find_layer
from ernie_cmtl.corpus.layers._mining import Lexicon
from ernie_cmtl.corpus.layers._ngrams import words_of
from ernie_cmtl.data.masking_units import span_places

Spans = set[tuple[int, int]]
BRACKETS = {"-LRB-": "(", "-RRB-": ")", "-LCB-": "{", "-RCB-": "}"}


@dataclass
class Document:
    """A text, the places of the chosen sentences in it, and the gold spans of those."""

    text: str
    chosen: list[tuple[int, int]] = field(default_factory=list)
    gold: Spans = field(default_factory=set)


def spans_of_tags(tags: list[str], labels: list[str]) -> list[tuple[int, int]]:
    """Return first token and one past the last of each span."""
    spans: list[tuple[int, int]] = []
    inside = ""
    for place, tag in enumerate([*tags, "O"]):
        if tag[:2] in ("B-", "I-"):
            begins, label = tag[0] == "B", tag[2:] if not labels or tag[2:] in labels else ""
        else:
            begins, label = False, "plain" if tag in labels else ""
        if inside and (begins or label != inside):
            spans[-1] = (spans[-1][0], place)
        if label and (begins or label != inside):
            spans.append((place, place))
        inside = label
    return spans


def rows_of(path: str) -> list[dict]:
    with Path(path).open(encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def gold_documents(source: str, context: int, count: int, seed: int) -> list[Document]:
    """Read FILE:KEY[:LABEL,LABEL] and choose sentences; documents without any are left out."""
    path, key, *labels = source.split(":")
    rows = rows_of(path)
    chosen = set(random.Random(seed).sample(range(len(rows)), count))
    documents = []
    for _, group in groupby(
        range(len(rows)), lambda number: rows[number].get("doc", number // context)
    ):
        document = Document("")
        for number in group:
            tokens = [
                BRACKETS.get(token, token).replace("\\/", "/") for token in rows[number]["tokens"]
            ]
            start = len(document.text)
            document.text += " ".join(tokens) + "\n"
            if number in chosen:
                places = [
                    start + sum(len(token) + 1 for token in tokens[:place])
                    for place in range(len(tokens) + 1)
                ]
                spans = spans_of_tags(rows[number][key], labels[0].split(",") if labels else [])
                document.gold |= {(places[first], places[stop] - 1) for first, stop in spans}
                document.chosen.append((start, len(document.text)))
        documents.append(document)
    return [document for document in documents if document.chosen]


def text_documents(path: str, language: str, count: int, seed: int) -> list[Document]:
    """Choose one sentence of each of some documents."""
    rng = random.Random(seed)
    rows = [row["text"] for row in rows_of(path)]
    documents = []
    for text in rng.sample(rows, count):
        sentences = [
            b
            for b in sentencex.get_sentence_boundaries(language, text)
            if not b["is_paragraph_break"]
        ]
        sentence = rng.choice(sentences)
        documents.append(Document(text, [(sentence["start_index"], sentence["end_index"])]))
    return documents


class FittedCollocations:
    """The collocations of a corpus, looked for in any text with the corpus's own tokenizer."""

    def __init__(self, corpus: Path, language: str) -> None:
        self.annotator = Annotator.load(corpus / "tokenizer", language)
        self.lexicon = Lexicon(
            np.asarray(read_array(corpus / "fitted" / "collocations" / "lexicon.npy"))
        )
        self.wordlike = np.asarray(read_array(corpus / "fitted" / "collocations" / "wordlike.npy"))

    def spans(self, text: str) -> list[tuple[int, int]]:
        annotated = self.annotator.annotate([text])[0]
        words = words_of(
            annotated.token_ids,
            annotated.layers["word_starts"],
            annotated.sentence_offsets,
            self.wordlike,
        )
        offsets = self.annotator.tokenizer.encode(text, add_special_tokens=False).offsets
        places = span_places(self.lexicon.spans(words, len(offsets)))
        return [
            (offsets[start][0], offsets[stop - 1][1]) for start, stop in zip(*places, strict=True)
        ]


def found_in(document: Document, provider: SpanProvider) -> Spans:
    """Return the spans of a provider in the chosen sentences."""
    spans = provider.spans(document.text)
    return {
        (a, b) for a, b in spans if any(first <= a and b <= stop for first, stop in document.chosen)
    }


def covered(document: Document, spans: Spans) -> tuple[int, int]:
    """Return the characters in spans and all, white space left out."""
    inside = sum(not c.isspace() for a, b in spans for c in document.text[a:b])
    return inside, sum(not c.isspace() for a, b in document.chosen for c in document.text[a:b])


def share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def row(name: str, source: str, documents: list[Document], provider: SpanProvider) -> str:
    """Return a line of the table."""
    found = [found_in(document, provider) for document in documents]
    total, gold = sum(map(len, found)), sum(len(document.gold) for document in documents)
    pairs = list(zip(documents, found, strict=True))
    exact = sum(len(document.gold & spans) for document, spans in pairs)
    inside = sum(
        any(c <= a and b <= d for c, d in document.gold)
        for document, spans in pairs
        for a, b in spans
    )
    characters = [covered(document, spans) for document, spans in pairs]
    coverage = share(sum(part for part, _ in characters), sum(whole for _, whole in characters))
    scores = [share(exact, total), share(inside, total), share(exact, gold)] if gold else ["-"] * 3
    return f"| {name} | {source} | {total} | " + " | ".join(scores) + f" | {coverage} |"


def agreement(first: list[Spans], second: list[Spans]) -> str:
    """Return how many of the first's spans the second has too, exactly, and touches."""
    pairs = [(span, others) for spans, others in zip(first, second, strict=True) for span in spans]
    same = sum(span in others for span, others in pairs)
    touched = sum(any(a < d and c < b for c, d in others) for (a, b), others in pairs)
    return f"{len(pairs)} | {share(same, len(pairs))} | {share(touched, len(pairs))}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--language", choices=("en", "zh"), required=True)
    parser.add_argument(
        "--provider", nargs="+", required=True, help="NAME or NAME={options as JSON}"
    )
    parser.add_argument("--gold", nargs="*", default=[], help="FILE:KEY[:LABEL,LABEL]")
    parser.add_argument("--text", nargs="*", default=[])
    parser.add_argument("--sentences", type=int, default=200)
    parser.add_argument(
        "--context", type=int, default=40, help="rows of a document where the file names none"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="judge the collocations of this corpus too")
    parser.add_argument(
        "--show", type=int, default=0, help="so many spans of each provider, to look at"
    )
    arguments = parser.parse_args()
    providers = {}
    for text in arguments.provider:
        name, _, options = text.partition("=")
        kind = find_layer(name)
        providers[name] = kind(
            kind.Options.model_validate_json(options or "{}"), arguments.language
        )
    if arguments.corpus:
        providers["collocations"] = FittedCollocations(arguments.corpus, arguments.language)
    sets = {
        Path(path).parent.name: text_documents(
            path, arguments.language, arguments.sentences, arguments.seed
        )
        for path in arguments.text
    }
    for source in arguments.gold:
        name = Path(source.partition(":")[0]).parent.name + ":" + source.partition(":")[2]
        sets[name] = gold_documents(source, arguments.context, arguments.sentences, arguments.seed)
    print(
        "| provider | text | spans | exact | inside a gold span | recall | coverage "
        "|\n|---|---|---:|---:|---:|---:|---:|"
    )
    for source, documents in sets.items():
        for name, provider in providers.items():
            print(row(name, source, documents, provider))
    if len(providers) > 1:
        print(
            "\n| spans of | also of | text | spans | the same | touched "
            "|\n|---|---|---|---:|---:|---:|"
        )
    for source, documents in sets.items():
        found = {
            name: [found_in(document, provider) for document in documents]
            for name, provider in providers.items()
        }
        for first in found:
            for second in found.keys() - {first}:
                print(
                    f"| {first} | {second} | {source} | {agreement(found[first], found[second])} |"
                )
        for name, spans in found.items() if arguments.show else ():
            shown = [
                (d.text, a, b, (a, b) in d.gold)
                for d, inner in zip(documents, spans, strict=True)
                for a, b in sorted(inner)
            ]
            for text, a, b, gold in random.Random(arguments.seed).sample(
                shown, min(arguments.show, len(shown))
            ):
                print(
                    name,
                    "gold" if gold else "-",
                    f"{text[max(0, a - 30) : a]}[{text[a:b]}]{text[b : b + 30]}".replace("\n", "/"),
                    sep="\t",
                )


if __name__ == "__main__":
    main()
