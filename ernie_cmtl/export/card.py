"""The model card of an export: its metadata as the Hub reads them, and its text."""

from dataclasses import dataclass, field
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from ernie_cmtl.export.trained import TrainedModel
from ernie_cmtl.records import MASKED_TOKEN

_CARD = """---
{metadata}
---

# {name}

An encoder of {layers} layers x {hidden}, pretrained by continual multi-task learning with
`ernie_cmtl`: {steps} steps over the stages {stages}.{view}{usage}

| row | task | held-out loss{measured} |
|---|---|---|
{rows}
"""
_VIEW = """

Tasks of this run have layers of their own. The export holds the view `{view}`, the layers of
{tasks}; `export --view NAME` writes another one.

"""
_TAG = "continual-multi-task-pretraining"


@dataclass(frozen=True)
class CardFacts:
    """What a format says of itself on the card."""

    usage: str
    """The paragraphs that say how to load the model, in Markdown."""
    library: str = "transformers"
    pipeline: str | None = None
    """Task of the Hub, such as fill-mask."""
    tags: tuple[str, ...] = ()
    results: list[EvalResult] = field(default_factory=list)
    """Measured for this export."""


def card(name: str, trained: TrainedModel, facts: CardFacts) -> str:
    """Return the card of an export; name: of its folder."""
    about, config = trained.about, trained.model.family.config
    step = about["losses_at_step"]
    view, users = trained.view, trained.tasks_of_view
    return _CARD.format(
        metadata=_metadata(name, trained, facts),
        name=name,
        layers=config.layers,
        hidden=config.hidden_size,
        steps=about["steps"],
        stages=", ".join(about["stages"]),
        view=_VIEW.format(view=view, tasks=", ".join(users))
        if len(users) < len(about["tasks"]) or view != "trunk"
        else " ",
        usage=facts.usage,
        measured="" if step in (None, about["steps"]) else f" at step {step}",
        rows="\n".join(_row(about, task, row) for task, row in about["tasks"].items()),
    )


def _row(about: dict[str, Any], task: str, row: int) -> str:
    losses = ", ".join(
        f"{key}: {loss:.3f}" for key, loss in about["losses"].items() if key.startswith(f"{task}/")
    )
    return f"| {row} | {task} | {losses or '-'} |"


def _metadata(name: str, trained: TrainedModel, facts: CardFacts) -> str:
    """Return the YAML that the Hub reads."""
    origin = trained.provenance
    data = ModelCardData(
        language=origin.language,
        license=origin.license,
        library_name=facts.library,
        pipeline_tag=facts.pipeline,
        tags=[trained.model.family.config.architecture, _TAG, *facts.tags],
        datasets=list(origin.datasets) or None,
        base_model=origin.base_model,
        model_name=name,
        eval_results=[*_heldout(trained.about), *facts.results] or None,
    )
    return str(data.to_yaml())


def _heldout(about: dict[str, Any]) -> list[EvalResult]:
    """Return the losses of masked tokens on held-out text: a task that the Hub knows; those of
    other tasks stand in the table of the card.
    """
    return [
        EvalResult(
            task_type="fill-mask",
            task_name=head,
            dataset_type="held-out",
            dataset_name="held-out documents of the pretraining corpus",
            metric_type="loss",
            metric_value=round(loss, 4),
        )
        for head, loss in about["losses"].items()
        if head.endswith(f"/{MASKED_TOKEN}")
    ]
