"""A whole line, made once."""

import pytest
import yaml

from tests.support.command_line import DOCUMENTS, RUN, Line, result_of
from tests.support.corpora import sample_texts, write_jsonl


@pytest.fixture(scope="session")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    folder = tmp_path_factory.mktemp("line")
    texts = sample_texts("en", DOCUMENTS)
    write_jsonl(folder / "text.jsonl", [*texts, texts[3], "   "])
    prepared = result_of(
        *(
            "prepare",
            "--input",
            folder / "text.jsonl",
            "--output",
            folder / "corpus",
            "--language",
            "en",
        ),
        *("--vocabulary-size", "1200", "--processes", "1", "layers.collocations.minimum_count=4"),
    )
    settings = RUN | {"run": str(folder / "run"), "corpus": str(folder / "corpus")}
    (folder / "run.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    pretrained = result_of("pretrain", folder / "run.yaml")
    evaluated = result_of("evaluate", folder / "run")
    exported = result_of("export", folder / "run", "--output", folder / "model")
    return Line(folder, prepared, pretrained, evaluated, exported)
