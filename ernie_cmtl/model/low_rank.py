"""Low-rank parts that groups of tasks have beside the shared matrices: y = x W + x A_g B_g (LoRA,
Hu et al. 2022, trained together with W).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ernie_cmtl.randomness import derive_key


class LowRankParts(nn.Module):
    """The parts of every matrix of some layers, which stay as they are: each gets what the parts
    add by a hook. So the encoder keeps its names, and its own weights are the trunk's view.
    """

    def __init__(
        self,
        layers: Mapping[int, nn.Module],
        groups: Sequence[str],
        rank: int,
        deviation: float,
        seed: int,
    ) -> None:
        """layers: number -> layer; deviation: of the first factor, the second one is zero; seed:
        the weights depend on it alone.
        """
        super().__init__()
        self.groups, self.rank = tuple(groups), rank
        self._masks: dict[int, Tensor] = {}
        self._hooks: list[RemovableHandle] = []
        self._names: dict[str, tuple[int, str]] = {}
        self.down, self.up = nn.ModuleDict(), nn.ModuleDict()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_key(seed, "low rank") >> 1)
            for number, layer in layers.items():
                for name, module in layer.named_modules():
                    if isinstance(module, nn.Linear):
                        # No name of a module may have a dot.
                        key = f"{number}_{name.replace('.', '_')}"
                        self._names[key] = (number, name)
                        self._add(key, module, deviation)

    def _add(self, key: str, linear: nn.Linear, deviation: float) -> None:
        inner, outer = linear.in_features, linear.out_features
        self.down[key] = nn.ParameterDict(
            {name: deviation * torch.randn(self.rank, inner) for name in self.groups}
        )
        self.up[key] = nn.ParameterDict(
            {name: torch.zeros(outer, self.rank) for name in self.groups}
        )

        def add(_: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
            return output + self._part(key, arguments[0]).to(output.dtype)

        self._hooks.append(linear.register_forward_hook(add))

    def see(self, groups: Tensor, read: Tensor | None) -> None:
        """Take note of the group of each place of a batch, counted from 1, 0 for the trunk; int64
        [places]. read: places that the last layer computes alone.
        """
        owner = torch.arange(1, len(self.groups) + 1, device=groups.device)
        owner = owner.repeat_interleave(self.rank)
        self._masks = {} if read is None else {len(read): groups[read][:, None] == owner}
        # Where as many places are read as there are, the last layer computes all of them in order.
        self._masks[len(groups)] = groups[:, None] == owner

    def _part(self, key: str, states: Tensor) -> Tensor:
        """Return what is added to the states behind a matrix: each place gets its group's part."""
        mask = self._masks[states.shape[:-1].numel()]
        down = torch.cat(list(cast(nn.ParameterDict, self.down[key]).values()))
        up = torch.cat(list(cast(nn.ParameterDict, self.up[key]).values()), 1)
        inner = nn.functional.linear(states, down)
        return nn.functional.linear(inner * mask.view(*states.shape[:-1], -1), up)

    def of(self, group: str) -> Iterator[nn.Parameter]:
        """Yield the parameters of a group."""
        for parts in (self.down, self.up):
            for part in parts.values():
                yield cast(nn.ParameterDict, part)[group]

    @torch.no_grad()
    def leave(self, layers: Sequence[nn.Module], group: str | None) -> None:
        """Add nothing any more; the parts of a group, if one is named, go into the matrices
        themselves.
        """
        for hook in self._hooks:
            hook.remove()
        if group is None:
            return
        for key, (number, name) in self._names.items():
            down, up = (cast(nn.ParameterDict, parts[key]) for parts in (self.down, self.up))
            cast(nn.Linear, layers[number].get_submodule(name)).weight += up[group] @ down[group]
