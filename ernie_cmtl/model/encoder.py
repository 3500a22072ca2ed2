"""What the rest of the code may ask of an encoder, whatever its family."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from ernie_cmtl.head_kinds.vocabulary import VocabularyHead
from ernie_cmtl.model.branches import new_branches, run_slices
from ernie_cmtl.model.encoder_config import EncoderConfig, Positions
from ernie_cmtl.model.read_places import EncodedBatch, ReadPlaces
from ernie_cmtl.model.recomputation import recompute
from ernie_cmtl.model.stock_classes import StockClasses
from ernie_cmtl.model.task_embedding import TASK_ROWS
from ernie_cmtl.model.tensor_batch import TensorBatch, TensorPlaces
from ernie_cmtl.plugins import Plugins
from ernie_cmtl.records import Vocabulary

Between = Callable[[TensorBatch, Tensor, int], Tensor]


class LayerWeights(NamedTuple):
    """How many weights of a layer's matrices one place is multiplied with."""

    attention: int
    """Up to the attention itself: these are needed at all places."""
    after_attention: int
    """In the last layer, these are needed only at the places that are read."""


class EncoderFamily(StockClasses):
    """An encoder of one family: its module, and all that the rest of the code may ask of it.

    A family is a file or folder of `model/families`, or a plug-in; `encoder.architecture` names it.
    """

    norms: ClassVar[tuple[type[nn.Module], ...]] = (nn.LayerNorm, nn.RMSNorm)
    """Kinds of modules whose weights are not decayed."""
    positions: ClassVar[tuple[Positions, ...]] = ("learned",)
    """Kinds of positions that it may have, the usual one first."""
    settings: ClassVar[tuple[str, ...]] = ()
    """Settings out of `EncoderConfig.OF_SOME_FAMILIES` that it has."""

    module: nn.Module
    """Holds all weights, under the names that checkpoints have."""
    config: EncoderConfig
    """With its real sizes."""
    vocabulary_size: int
    branches: Mapping[str, nn.ModuleList] = MappingProxyType({})
    """Layers in the place of the last ones, for groups of tasks."""
    private_layers: int = 0
    """So many layers each branch has."""

    @abstractmethod
    def __init__(self, config: EncoderConfig, vocabulary: Vocabulary, seed: int) -> None:
        """Make a freshly initialised encoder for packed batches; the same seed gives the same
        weights.
        """

    # --- sizes, before anything is made ---

    @classmethod
    def settled(cls, config: EncoderConfig) -> EncoderConfig:
        """Return the settings with the family's usual positions where none are set.

        Raises:
            UserError: A setting is not one of the family's, or does not go with another one.
        """
        return config.settled(cls.positions, cls.settings)

    @classmethod
    @abstractmethod
    def sized(cls, config: EncoderConfig) -> EncoderConfig:
        """Return the settings with the sizes that the encoder really has: those of the checkpoint
        that it starts from, or its own with the family's defaults.

        Raises:
            UserError: The checkpoint cannot be read or is of another kind.
        """

    @classmethod
    @abstractmethod
    def weights_of_layer(cls, config: EncoderConfig) -> LayerWeights:
        """Return the weights of a layer's matrices; config: sized."""

    @classmethod
    def most_tasks(cls, config: EncoderConfig) -> int | None:
        """Return the most tasks of a run, each with a row of the task embedding; None means any
        number, as without a task embedding.
        """
        return None if config.task_embedding == "off" else TASK_ROWS

    # --- parts ---

    @property
    def hidden_size(self) -> int:
        """Width of the states."""
        return self.config.hidden_size

    @property
    def dropout(self) -> float:
        """Rate of the dropout before a head."""
        return self.config.dropout

    @property
    @abstractmethod
    def layers(self) -> Sequence[nn.Module]:
        """The layers in order: each is compiled and cut into shards by itself."""

    @property
    def all_layers(self) -> list[nn.Module]:
        """The layers of the encoder and of all branches."""
        return [*self.layers, *(layer for branch in self.branches.values() for layer in branch)]

    @property
    def last_layers(self) -> list[nn.Module]:
        """The layers that may be told which places are read."""
        return [self.layers[-1], *(branch[-1] for branch in self.branches.values())]

    def private_layers_of(self, group: str) -> list[nn.Module]:
        """Return the layers that a group of tasks has for itself; the trunk's name is empty."""
        last = self.layers[len(self.layers) - self.private_layers :]
        return list(self.branches[group] if group else last)

    def branch_off(self, private_layers: int, names: Sequence[str]) -> None:
        """Give the encoder branches: copies of its last layers under these names."""
        self.private_layers = private_layers
        self.branches = new_branches(self.layers, private_layers, names)

    @property
    @abstractmethod
    def word_embeddings(self) -> Tensor:
        """The table that the vocabulary head is tied to; [vocabulary, hidden]."""

    @property
    @abstractmethod
    def sequence_transform(self) -> nn.Module:
        """What sequence heads share: between the states of [CLS] and their own layers."""

    def meet(self, head: VocabularyHead) -> None:
        """Take note of the head for masked tokens, where sequence heads share a part of it."""

    @abstractmethod
    def vocabulary_transform(self) -> nn.Module:
        """Make the part of the vocabulary head before the word embeddings; [N, hidden] -> [N,
        hidden].
        """

    @property
    def matrices(self) -> list[nn.Parameter]:
        """Weights that Muon updates: the matrices of the layers."""
        return [
            parameter
            for layer in self.all_layers
            for parameter in layer.parameters()
            if parameter.ndim == 2
        ]

    # --- what it computes ---

    @abstractmethod
    def embed(self, batch: TensorBatch) -> Tensor:
        """Return what the first layer takes; [M, L, hidden]."""

    @abstractmethod
    def layer_inputs(self, places: TensorPlaces) -> dict[str, Any]:
        """Return what every layer takes beside the states, as keywords; the last layer also takes
        `read`: the places that are read, or None.
        """

    def encode(
        self,
        batch: TensorBatch,
        read: ReadPlaces | None,
        inner: bool,
        between: Between | None = None,
    ) -> EncodedBatch:
        """Run the encoder; read: where the last layer is read, None for all places; inner: return
        what heads below the last layer read too; between: takes the batch, the states after a layer
        and its number, and returns what the next layer takes.
        """
        states, inputs = self.embed(batch), self.layer_inputs(batch)
        shared = len(self.layers) - (self.private_layers if batch.slices else 0)
        seen: list[Tensor] = []
        for number, layer in enumerate(self.layers[: min(shared, len(self.layers) - 1)], 1):
            # Not kept for nobody: without gradients, a layer's states need not outlive the next.
            seen += [states] if inner else []
            states = layer(states, **inputs)
            if between:
                states = between(batch, states, number)
        if not batch.slices:
            seen += [states] if inner else []
            states = self.as_read(self.layers[-1](states, **inputs, read=read))
            unread = 0.0 * self.sequence_states(states[:, 0]).sum()
            return EncodedBatch(states, seen, unread)
        trunk = self.layers[len(self.layers) - self.private_layers :]
        layers: list[Iterable[nn.Module]] = [trunk, *self.branches.values()]
        last, lower = run_slices(states, batch, layers, self.layer_inputs, read, inner)
        # A slice that nobody reads stays in the graph.
        first = self.sequence_states(self.as_read(last.whole[:, 0]))
        unread = 0.0 * (first.sum() + last.whole.sum())
        return EncodedBatch(self.as_read(last.read), [*seen, *lower], unread)

    def as_read(self, states: Tensor) -> Tensor:
        """Return what heads read of the states behind any layer, such as their norm; [...,
        hidden] both.
        """
        return states

    @abstractmethod
    def sequence_states(self, states: Tensor) -> Tensor:
        """Put states of [CLS] places through the sequence transform; [..., hidden] both."""

    def recompute_activations(self) -> None:
        """Keep only the input of each layer for the backward pass and compute the rest again: less
        memory, more time.

        Raises:
            UserError: The family cannot.
        """
        recompute(self.module, self.layers[0], self.all_layers, self.config.architecture)

    def compile_layers(self, backend: str | Callable[..., Any] = "inductor") -> None:
        """Compile what the layers do beside attention, once: shapes stay the same, but for the
        places where the last is read.
        """
        for layer in self.all_layers:
            # Slices have another number of places in each step.
            sliced = self.branches and layer not in self.layers[: -self.private_layers]
            layer.compile(backend=backend, dynamic=bool(sliced) or layer in self.last_layers)


ENCODERS = Plugins(
    EncoderFamily,  # type: ignore[type-abstract]
    "encoder architecture",
    package="ernie_cmtl.model.families",
    group="ernie_cmtl.encoders",
)


def encoder_family(name: str) -> type[EncoderFamily]:
    """Return the family of a name.

    Raises:
        UserError: There is no such family; the message lists those that exist.
    """
    return ENCODERS.find(name)


def build_encoder(config: EncoderConfig, vocabulary: Vocabulary, seed: int) -> EncoderFamily:
    """Make a freshly initialised encoder of the family that the settings name."""
    return encoder_family(config.architecture)(config, vocabulary, seed)
