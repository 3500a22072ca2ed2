"""BERT's own layout, which nearly every server and converter reads."""

from ernie_cmtl.errors import UserError
from ernie_cmtl.export.formats.hf import HuggingFace
from ernie_cmtl.export.trained import TrainedModel
from ernie_cmtl.model.stock_classes import StockClasses, StockWeights

_KIND = "bert"


class Bert(HuggingFace):
    """BertModel and BertForMaskedLM with the row of one task in the segment embeddings."""

    def folds_task(self, family: StockClasses) -> bool:
        """BERT takes no task."""
        return True

    def stock(self, trained: TrainedModel) -> StockWeights:
        """Return the encoder as BERT."""
        return trained.without_tasks()

    def check(self, trained: TrainedModel) -> None:
        """Refuse an encoder that computes something else than BERT does."""
        config = self.stock(trained).config
        if config.model_type != _KIND:
            own = trained.model.family.config
            raise UserError(
                f"--format bert: no BERT class computes this encoder (encoder.architecture "
                f"{own.architecture!r}, encoder.positions {own.positions!r}); it leaves as "
                f"{', '.join(config.architectures or [config.model_type])}: use --format hf, "
                "sentence-transformers or onnx"
            )
        super().check(trained)
