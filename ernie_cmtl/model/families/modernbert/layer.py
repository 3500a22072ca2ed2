"""A layer of ModernBERT over packed rows; the last one is computed only where it is read."""

from collections.abc import Mapping
from typing import cast

from torch import Tensor
from transformers import ModernBertModel
from transformers.models.modernbert.modeling_modernbert import ModernBertEncoderLayer

from ernie_cmtl.model.kernels.packed_attention import PackedLayout, packed_attention
from ernie_cmtl.model.kernels.rotary import Rotation
from ernie_cmtl.model.read_places import ReadPlaces


class PackedLayer(ModernBertEncoderLayer):  # type: ignore[no-untyped-call]
    """The weights of transformers' own layer, around packed attention."""

    def forward(  # type: ignore[override]
        self,
        hidden_states: Tensor,
        *,
        packed_layout: PackedLayout,
        rotations: Mapping[str, Rotation],
        read: ReadPlaces | None = None,
    ) -> Tensor:
        """Return the states of all places, [M, L, hidden], or of those that are read, in their
        order, [1, N, hidden].

        rotations: type of a layer -> angles of all places.
        """
        # With more places to read than there are, all are computed once and read afterwards.
        early = read is not None and len(read.places) < hidden_states.shape[:-1].numel()
        attended = self._attend(hidden_states, packed_layout, rotations[self.attention_type])
        if read is not None and early:
            attended, hidden_states = read.of(attended), read.of(hidden_states)
        hidden_states = hidden_states + self.attn.out_drop(self.attn.Wo(attended))
        hidden_states = hidden_states + self.mlp(self.mlp_norm(hidden_states))
        return read.of(hidden_states) if read is not None and not early else hidden_states

    def _attend(self, states: Tensor, layout: PackedLayout, rotation: Rotation) -> Tensor:
        """Return what each place attends to, before the output matrix; [M, L, hidden] both."""
        attention, shape = self.attn, states.shape[:-1]
        fused = attention.Wqkv(self.attn_norm(states)).view(*shape, 3, -1, attention.head_dim)
        query, key, value = (part.transpose(1, 2) for part in fused.unbind(-3))
        # The stock class holds one more than it sees on each side.
        radius = None if attention.sliding_window is None else attention.sliding_window - 1
        attended, _ = packed_attention(
            attention,
            query,
            key,
            value,
            None,
            packed_layout=layout,
            rotation=rotation,
            radius=radius,
        )
        return cast(Tensor, attended.flatten(-2))


def replace_layers(encoder: ModernBertModel) -> None:
    """Give an encoder these layers; their weights stay."""
    for number, layer in enumerate(encoder.layers):
        packed = PackedLayer(encoder.config, number)
        packed.load_state_dict(layer.state_dict())
        encoder.layers[number] = packed
