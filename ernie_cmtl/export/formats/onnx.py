"""ONNX: for ONNX Runtime, text-embeddings-inference, transformers.js and OpenVINO."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity
from transformers import AutoModel, PreTrainedModel

from ernie_cmtl.errors import UserError
from ernie_cmtl.export.card import CardFacts
from ernie_cmtl.export.classifier import Classifier
from ernie_cmtl.export.pooling import Pooling, write_pooling
from ernie_cmtl.export.probe import Probe, check_close, largest
from ernie_cmtl.export.stock_models import stock_model
from ernie_cmtl.export.trained import TrainedModel
from ernie_cmtl.export.writer import ExportFormat, FormatOptions

_MODEL, _QUANTIZED = Path("onnx", "model.onnx"), Path("onnx", "model_quantized.onnx")
_SHAPES = ((64, 40), (17,))
_LEAST_COSINE = 0.99
_LARGEST_FILE = 1 << 30
"""Bytes of weights beyond which they stand in a file of their own: protobuf ends at twice that."""
_AXES = ("batch", "choices", "length")
_USAGE = """It is a graph for
ONNX Runtime, with any number of sequences of any length up to {longest}.

```python
from onnxruntime import InferenceSession
from transformers import AutoTokenizer

path = "."  # this folder
tokenizer, session = AutoTokenizer.from_pretrained(path), InferenceSession(f"{{path}}/{file}")
inputs = tokenizer(["The first sentence.", "Another one."], padding=True, return_tensors="np")
{output}, = session.run(None, dict(inputs))
```
{more}
The weights hold the view of one task, `{task}` (row {row} of the task embedding).
`export --task NAME` writes the view of another task."""


class OnnxOptions(FormatOptions):
    """What is written beside the graph."""

    int8: bool = False
    """Also write a graph with weights of 8 bits, a quarter of the size."""
    pooling: Pooling | None = None
    """Write it for servers that make vectors of sentences."""


class Onnx(ExportFormat):
    """The graph of the stock class, with the view of one task in the weights."""

    Options = OnnxOptions
    options: OnnxOptions
    takes_heads = True

    def prepare(self) -> None:
        """Look for the libraries.

        Raises:
            UserError: One is missing.
        """
        try:
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
            import onnxscript  # noqa: F401
        except ImportError as error:
            raise UserError(
                f"--format onnx needs an extra: pip install 'ernie-cmtl[export]' ({error})"
            ) from error

    def check(self, trained: TrainedModel) -> None:
        """Refuse a head that the encoder's stock class does not take, or a pooling for one."""
        if not trained.head:
            return
        if self.options.pooling:
            raise UserError(
                f"pooling={self.options.pooling} is of sentence vectors, and --head {trained.head} "
                "gives scores; leave one of them out"
            )
        Classifier(trained, trained.head).config()

    def write(self, folder: Path, trained: TrainedModel) -> None:
        """Write the graph, its config and tokenizer, and what the options ask for."""
        from onnxruntime.quantization import QuantType, quantize_dynamic

        part = _part(trained)
        model, inputs = part.model(), part.inputs(part.probes()[0])
        (folder / _MODEL).parent.mkdir()
        with _quiet():
            _write_graph(folder / _MODEL, model, inputs, part.output)
            if self.options.int8:
                quantize_dynamic(folder / _MODEL, folder / _QUANTIZED, weight_type=QuantType.QInt8)
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(folder)
        trained.save_tokenizer(folder)
        if self.options.pooling:
            write_pooling(folder, self.options.pooling)

    @torch.no_grad()
    def verify(self, folder: Path, trained: TrainedModel) -> dict[str, Any]:
        """Run the graph at two shapes; return the largest difference of a state or logit from the
        run's own, and the least cosine of the quantized graph to it.
        """
        part, run = _part(trained), _session(folder / _MODEL)
        quantized = _session(folder / _QUANTIZED) if self.options.int8 else None
        difference, cosine = 0.0, 1.0
        for probe in part.probes():
            inputs = part.inputs(probe)
            found = part.scores(run(inputs), probe)
            difference = max(difference, largest(found, part.scores_of_run(probe)))
            if quantized:
                again = part.scores(quantized(inputs), probe)
                close = cosine_similarity(again.flatten(), found.flatten(), dim=0)
                cosine = min(cosine, float(close))
        if cosine <= _LEAST_COSINE:
            raise UserError(
                f"int8=true: the quantized graph is too far from the model (cosine {cosine:.4f}, "
                f"accepted are more than {_LEAST_COSINE}); leave int8 out"
            )
        name = "logit" if trained.head else "hidden_state"
        return check_close({name: difference}) | ({"int8_cosine": cosine} if quantized else {})

    def facts(self, trained: TrainedModel) -> CardFacts:
        """Say how to run the graph."""
        more = f"\n`{_QUANTIZED.as_posix()}` has weights of 8 bits.\n" if self.options.int8 else ""
        if self.options.pooling:
            more += f"\nFor vectors of sentences, pool with `{self.options.pooling}`.\n"
        usage = _USAGE.format(
            longest=trained.model.family.config.maximum_positions,
            file=_MODEL.as_posix(),
            output=_part(trained).output,
            more=more,
            task=trained.task,
            row=trained.task_row,
        )
        classifier = Classifier(trained, trained.head) if trained.head else None
        pipeline = classifier.stock_class.pipeline if classifier else "feature-extraction"
        return CardFacts(usage, "onnx", pipeline)


@dataclass(frozen=True)
class _Encoder:
    """The encoder alone, with what `Classifier` answers for a head."""

    trained: TrainedModel
    output: ClassVar[str] = "last_hidden_state"

    def model(self) -> PreTrainedModel:
        """Return the stock class."""
        return stock_model(AutoModel, self.trained.without_tasks())

    def probes(self) -> list[Probe]:
        """Return sequences of two shapes."""
        return [Probe.of(self.trained, lengths) for lengths in _SHAPES]

    def inputs(self, probe: Probe) -> dict[str, Tensor]:
        """Return what the class takes."""
        return probe.inputs

    def scores(self, states: Tensor, probe: Probe) -> Tensor:
        """Return the states at tokens."""
        return probe.at_tokens(states)

    def scores_of_run(self, probe: Probe) -> Tensor:
        """Return the states of the run."""
        return probe.states_of_run(self.trained)


def _part(trained: TrainedModel) -> Classifier | _Encoder:
    return Classifier(trained, trained.head) if trained.head else _Encoder(trained)


class _OneOutput(nn.Module):
    """A stock class with tensors as inputs and one of its outputs."""

    def __init__(self, model: PreTrainedModel, output: str) -> None:
        super().__init__()
        self.model, self.output = model, output

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Any:
        """Return the output."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        return self.model(**inputs)[self.output]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries from telling of optional parts and of their own old names."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _write_graph(
    path: Path, model: PreTrainedModel, inputs: dict[str, Tensor], output: str
) -> None:
    shapes = {
        name: dict(enumerate(_AXES if value.ndim == 3 else _AXES[::2]))
        for name, value in inputs.items()
    }
    size = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    torch.onnx.export(
        _OneOutput(model, output).train(False),
        (),
        path,
        kwargs=inputs,
        input_names=list(inputs),
        output_names=[output],
        dynamic_shapes=shapes,
        dynamo=True,
        external_data=size > _LARGEST_FILE,
        verbose=False,
    )


def _session(path: Path) -> Callable[[dict[str, Tensor]], Tensor]:
    from onnxruntime import InferenceSession

    session = InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(inputs: dict[str, Tensor]) -> Tensor:
        arrays = {name: np.asarray(value.numpy()) for name, value in inputs.items()}
        return torch.from_numpy(session.run(None, arrays)[0])

    return run
