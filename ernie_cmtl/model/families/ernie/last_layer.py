"""The last layer of an encoder, computed only at the places that are read."""

from typing import Any, cast

from torch import Tensor
from transformers import ErnieModel
from transformers.models.ernie.modeling_ernie import ErnieLayer

from ernie_cmtl.model.read_places import ReadPlaces


class LastLayer(ErnieLayer):  # type: ignore[no-untyped-call]
    """transformers' own layer; of what follows attention, a place needs nothing of the others."""

    def forward(
        self,
        hidden_states: Tensor,
        *arguments: Any,
        read: ReadPlaces | None = None,
        **keywords: Any,
    ) -> Tensor:
        """Return the states of all places, [M, L, hidden], or of those that are read, in their
        order, [1, N, hidden].
        """
        if read is None or len(read.places) >= hidden_states.shape[:-1].numel():
            states: Tensor = super().forward(hidden_states, *arguments, **keywords)
            return states if read is None else read.of(states)
        # Packed attention reads its layout and no mask, which is all that the arguments hold.
        attended = self.attention.self(hidden_states, **keywords)[0]
        output = self.attention.output(read.of(attended), read.of(hidden_states))
        return cast(Tensor, self.feed_forward_chunk(output))  # type: ignore[no-untyped-call]


def replace_last_layer(encoder: ErnieModel) -> None:
    """Give an encoder a last layer that can be told which places are read; its weights stay."""
    layers = encoder.encoder.layer
    last = LastLayer(encoder.config, len(layers) - 1)  # type: ignore[no-untyped-call]
    last.load_state_dict(layers[-1].state_dict())
    layers[-1] = last
