"""sentence-transformers: a folder that turns sentences into vectors, written by that library."""

import json
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import EvalResult
from transformers import AutoModel, AutoModelForMaskedLM

from ernie_cmtl.corpus.read.tables import read_rows
from ernie_cmtl.errors import UserError
from ernie_cmtl.evaluation.masked_lm import DEVICE, MaskedLanguageModel
from ernie_cmtl.evaluation.similarity import ScoredPair, judge_similarity, scored_pairs
from ernie_cmtl.export.card import CardFacts
from ernie_cmtl.export.pooling import Pooling, write_pooling
from ernie_cmtl.export.probe import Probe, check_close, largest
from ernie_cmtl.export.stock_models import stock_model
from ernie_cmtl.export.trained import TrainedModel
from ernie_cmtl.export.writer import ExportFormat, FormatOptions
from ernie_cmtl.model.pooling import pooled
from ernie_cmtl.pretrained.weights import quiet_loading
from ernie_cmtl.temporary_folder import temporary_folder

_LIBRARY = "sentence-transformers"
_SETTINGS = "sentence_bert_config.json"
_LENGTHS = (64, 40, 7)
_USAGE = """It turns a
sentence into one vector, with the library sentence-transformers {version} or newer.

```python
from sentence_transformers import SentenceTransformer

path = "."  # this folder, or its name on the Hub
model = SentenceTransformer(path)
embeddings = model.encode(["The first sentence.", "Another one."])
print(model.similarity(embeddings, embeddings))
```

Pooling: `{pooling}`, {reason}. The encoder was not trained to place sentences that mean the same
side by side; fine-tune it with that library for search.

The weights hold the view of one task, `{task}` (row {row} of the task embedding).
`export --task NAME` writes the view of another task."""


class SentenceTransformersOptions(FormatOptions):
    """How sentences become vectors."""

    pooling: Pooling | None = None
    """mean: of all tokens; cls: the first token. None: the better one on `sts`, else mean."""
    sts: Path | None = None
    """Table with sentence1, sentence2 and score, as for `evaluate --sts`: the pooling whose cosines
    rank its pairs better is taken.
    """


class SentenceTransformers(ExportFormat):
    """Its Transformer and Pooling modules, with the view of one task in the weights."""

    Options = SentenceTransformersOptions
    options: SentenceTransformersOptions

    def prepare(self) -> None:
        """Look for the library and read the pairs.

        Raises:
            UserError: The library is missing, or the table is not what it should be.
        """
        try:
            import sentence_transformers.sentence_transformer.modules  # noqa: F401
        except ImportError as error:
            raise UserError(
                f"--format {_LIBRARY} needs an extra: pip install 'ernie-cmtl[export]' ({error})"
            ) from error
        self.pooling: Pooling = self.options.pooling or "mean"
        self.measured: dict[str, Any] = {}
        path = self.options.sts
        self._pairs: list[ScoredPair] = scored_pairs(read_rows(path, None), path) if path else []

    def write(self, folder: Path, trained: TrainedModel) -> None:
        """Choose the pooling, and let the library write both modules."""
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer import modules

        self._choose(trained)
        encoder = stock_model(AutoModel, trained.without_tasks())
        size = trained.model.family.hidden_size
        with temporary_folder() as temporary, quiet_loading():
            encoder.save_pretrained(temporary)
            trained.save_tokenizer(temporary)
            parts: list[Any] = [
                modules.Transformer(str(temporary)),
                modules.Pooling(size, self.pooling),
            ]
            made = SentenceTransformer(modules=parts, device="cpu")
            made.save(str(folder), create_model_card=False)
        write_pooling(folder, self.pooling)
        # text-embeddings-inference looks for the longest input here.
        settings = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
        settings["max_seq_length"] = trained.model.family.config.maximum_positions
        (folder / _SETTINGS).write_text(json.dumps(settings, indent=1), encoding="utf-8")

    def _choose(self, trained: TrainedModel) -> None:
        """Measure each pooling on the pairs, and take the better one if none was asked for."""
        if not self._pairs:
            return
        stock: Any = stock_model(AutoModelForMaskedLM, trained.without_tasks())
        trained.tokenizer.model_max_length = trained.model.family.config.maximum_positions
        judged = MaskedLanguageModel("the run", stock.to(DEVICE), trained.tokenizer)
        found = judge_similarity(judged, self._pairs)
        self.measured = {name: found[name]["spearman"] for name in ("mean", "cls")}
        if self.options.pooling is None:
            self.pooling = "cls" if self.measured["cls"] > self.measured["mean"] else "mean"

    @torch.no_grad()
    def verify(self, folder: Path, trained: TrainedModel) -> dict[str, Any]:
        """Load it as its users do; return the largest difference of an embedding from the run's own
        pooled states.
        """
        from sentence_transformers import SentenceTransformer

        with quiet_loading():
            loaded = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
        probe = Probe.of(trained, _LENGTHS)
        states = probe.padded(probe.states_of_run(trained))
        expected = pooled(states, probe.inside, self.pooling)
        found = loaded.train(False)(dict(probe.inputs))["sentence_embedding"]
        return check_close({"embedding": largest(found, expected)})

    def about(self) -> dict[str, Any]:
        """Name the pooling, and what each one was worth."""
        said: dict[str, Any] = {"pooling": self.pooling}
        return said | ({"pooling_spearman": self.measured} if self.measured else {})

    def facts(self, trained: TrainedModel) -> CardFacts:
        """Say how to embed sentences, and how the pooling was chosen."""
        import sentence_transformers

        usage = _USAGE.format(
            version=sentence_transformers.__version__.partition(".")[0],
            pooling=self.pooling,
            reason=self._reason(),
            task=trained.task,
            row=trained.task_row,
        )
        tags = (_LIBRARY, "feature-extraction", "sentence-similarity")
        return CardFacts(usage, _LIBRARY, "sentence-similarity", tags, self._results())

    def _reason(self) -> str:
        scores = ", ".join(f"{name} {value:.3f}" for name, value in self.measured.items())
        measured = f"Spearman correlation on {len(self._pairs)} pairs: {scores}"
        if self.options.pooling:
            return f"as asked for ({measured})" if scores else "as asked for; it was not measured"
        return (
            f"chosen by measured similarity ({measured})"
            if scores
            else "taken without a measurement (`sts=FILE` measures both)"
        )

    def _results(self) -> list[EvalResult]:
        if not (self.measured and self.options.sts):
            return []
        return [
            EvalResult(
                task_type="sentence-similarity",
                dataset_type=self.options.sts.stem,
                dataset_name=self.options.sts.name,
                metric_type="spearman_cosine",
                metric_value=round(self.measured[self.pooling], 4),
            )
        ]
