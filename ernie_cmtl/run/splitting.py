"""Groups of tasks that are split while a run trains (sharing mode `related`): when, by what, and
how the decisions are kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from pydantic import BaseModel, ConfigDict

from ernie_cmtl.data.streams import SampleStream
from ernie_cmtl.errors import UserError
from ernie_cmtl.evaluation.related_parts import related_parts
from ernie_cmtl.evaluation.relatedness import cosines, task_gradients
from ernie_cmtl.foreign_files import checked
from ernie_cmtl.model.multitask import MultiTaskModel
from ernie_cmtl.model.sharing import TRUNK, Grouping, SharingTable
from ernie_cmtl.records import Ledger
from ernie_cmtl.run.run import Run
from ernie_cmtl.training.distributed import Workers


class _Decisions(BaseModel):
    """How they are written in a checkpoint."""

    model_config = ConfigDict(extra="forbid")

    decisions: list[Grouping] = []


def split_is_due(run: Run, table: SharingTable, step: int) -> bool:
    """Tell whether groups may split before a step: at the start of a stage, and at fixed steps."""
    splitting = table.splitting
    if not splitting or not 0 < step < run.table.steps:
        return False
    made = any(decision.step == step for decision in table.decisions)
    return not made and (step % splitting.every == 0 or step in run.table.ends)


def split_groups(
    run: Run,
    model: MultiTaskModel,
    streams: Sequence[SampleStream],
    ledger: Ledger,
    workers: Workers,
) -> dict[str, Any]:
    """Split the groups whose tasks disagree, from the next step on; return what the log says of it.

    streams: held-out samples of the tasks. Tasks that have not been trained yet stay where they
    are: nothing is known of them.
    """
    table, step = model.sharing, ledger.step
    assert table.splitting, "only a mode that splits groups gets here"
    names = list(run.table.tasks)
    groups = dict(zip(names, table.groups_at(step), strict=True))
    trained = {name for name, tokens in zip(names, ledger.tokens, strict=True) if tokens}
    reliability: dict[str, float | None] = {}
    cosine: dict[str, dict[str, float | None]] = {}
    for group in dict.fromkeys(groups.values()):
        members = [name for name in names if groups[name] == group and name in trained]
        if len(members) < 2:
            continue
        layers = model.family.private_layers_of(group)
        parameters = [parameter for layer in layers for parameter in layer.parameters()]
        compared = [(s, parameters) for s in streams if s.instance.name in members]
        samples, pad_id = table.splitting.samples, run.corpus.vocabulary.pad_id
        found = cosines(task_gradients(model, compared, samples, run.config.data, pad_id, workers))
        reliability |= found["reliability"]
        cosine |= found["cosine"]
        for part in related_parts(members, found["cosine"], table.splitting.threshold)[1:]:
            groups |= dict.fromkeys(part, part[0])
    decision = Grouping(step, tuple(groups.values()))
    model.sharing = replace(table, decisions=(*table.decisions, decision))
    return {
        "groups": {name: group or "trunk" for name, group in groups.items()},
        "reliability": reliability,
        "cosine": cosine,
    }


def sharing_state(table: SharingTable) -> dict[str, Any]:
    """Return the decisions of a table, as JSON holds them."""
    return {"decisions": [asdict(decision) for decision in table.decisions]}


def with_decisions(table: SharingTable, state: Mapping[str, Any]) -> SharingTable:
    """Return a table with the decisions that a checkpoint holds.

    Raises:
        UserError: They are no decisions of this table.
    """
    found = checked(dict(state), _Decisions, "the sharing of layers in a checkpoint").decisions
    accepted = {TRUNK, *table.branches}
    for decision in found:
        if not accepted.issuperset(decision.groups) or len(decision.groups) > len(table.groups):
            raise UserError(
                f"the sharing of layers in a checkpoint names groups {list(decision.groups)} at "
                f"step {decision.step}, which the run does not have; take another checkpoint"
            )
    return replace(table, decisions=tuple(found))
