"""The step: what labels weigh, what stays still, and that modes agree in the mean."""

import pytest
import torch

from ernie_cmtl.config import RunConfig
from ernie_cmtl.model.tensor_batch import TensorBatch
from ernie_cmtl.records import Batch, Ledger, StepData
from ernie_cmtl.run.run import Run
from ernie_cmtl.training.distributed import Workers
from ernie_cmtl.training.trainer import Trainer
from tests.support.batches import batch_of


@pytest.fixture
def run(tiny_config: RunConfig) -> Run:
    encoder = tiny_config.encoder.model_copy(update={"dropout": 0.0})
    return Run(tiny_config.model_copy(update={"encoder": encoder}))


@pytest.fixture
def trainer(run: Run) -> Trainer:
    workers = Workers("fp32")
    return run.new_trainer(run.new_model(), workers)


def _batch(run: Run, *samples: tuple[int, int]) -> Batch:
    """Return one group holding samples (task, number), a row each."""
    return batch_of(run, [[sample] for sample in samples])


def _step(run: Run, shares: tuple[float, ...], *groups: Batch, step: int = 0) -> StepData:
    ledger = Ledger(step + 1, (0, 0, 0), (0, 0, 0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    return StepData(step, shares, groups, ledger, 1, 1)


def _gradient(trainer: Trainer, data: StepData) -> dict[str, torch.Tensor]:
    """Return the gradient of a step in double precision."""
    labels, _ = trainer._count_labels(data)
    model = trainer.model.double()
    model.zero_grad(set_to_none=True)
    for group in data.groups:
        loss, _ = model(
            TensorBatch.of(group, torch.device("cpu")), trainer._coefficients(labels, data)
        )
        loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_mixed_and_one_task_steps_have_the_same_mean_gradient(run: Run, trainer: Trainer) -> None:
    parts = [_batch(run, (task, 0), (task, 1)) for task in range(3)]
    mixed = _gradient(trainer, _step(run, (0.5, 0.25, 0.25), *parts))
    drawn = (0, 0, 1, 2)
    singles = [
        _gradient(trainer, _step(run, tuple(float(task == one) for task in range(3)), parts[one]))
        for one in drawn
    ]
    for name, gradient in mixed.items():
        mean = sum(single[name] for single in singles) / len(drawn)
        torch.testing.assert_close(gradient, mean, atol=1e-12, rtol=1e-9)
    assert float(mixed["encoder.encoder.layer.0.attention.self.query.weight"].abs().max()) > 0


def test_a_share_of_one_percent_gives_a_hundredth_of_the_gradient(
    run: Run, trainer: Trainer
) -> None:
    group = _batch(run, (1, 0))
    whole = _gradient(trainer, _step(run, (0.0, 1.0, 0.0), group))[
        "heads.capitalization/capital.dense.weight"
    ]
    little = _gradient(trainer, _step(run, (0.0, 0.01, 0.0), group))[
        "heads.capitalization/capital.dense.weight"
    ]
    torch.testing.assert_close(little, whole / 100, atol=0, rtol=1e-6)


def test_accumulated_groups_equal_one_group(run: Run, trainer: Trainer) -> None:
    samples = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]
    shares = (0.5, 0.3, 0.2)
    together = _gradient(trainer, _step(run, shares, _batch(run, *samples)))
    apart = _gradient(trainer, _step(run, shares, *(_batch(run, sample) for sample in samples)))
    for name, gradient in together.items():
        torch.testing.assert_close(gradient, apart[name], atol=1e-12, rtol=1e-9)


def test_the_loss_of_a_step_is_shares_times_means(run: Run, trainer: Trainer) -> None:
    shares = (0.5, 0.3, 0.2)
    result = trainer.step(
        _step(run, shares, _batch(run, (0, 0), (1, 0)), _batch(run, (2, 0), (0, 1)))
    )
    sums = result.statistics[:, :3]
    means = sums[..., 0].sum(0) / sums[..., 2].sum(0)
    assert float(result.loss) == pytest.approx(
        sum(s * float(m) for s, m in zip(shares, means, strict=True)), rel=1e-6
    )


def test_idle_heads_rows_and_pooler_are_bit_unchanged(run: Run, trainer: Trainer) -> None:
    # Every part gets momentum first: with it, a gradient of zero would still move a weight.
    for step in range(2):
        trainer.step(
            _step(run, (0.4, 0.3, 0.3), _batch(run, (0, step), (1, step), (2, step)), step=step)
        )
    idle = (
        "heads.sentence_reordering",
        "heads.capitalization",
        "encoder.pooler",
        "task_type_embeddings.rows.1",
        "rows.2",
        "rows.9",
    )

    def parts() -> dict[str, list[torch.Tensor]]:
        found = {}
        for name, parameter in trainer.model.named_parameters():
            state = trainer.optimizer.state.get(parameter, {})
            found[name] = [parameter.detach().clone(), *(value.clone() for value in state.values())]
        return found

    before = parts()
    for step in range(2, 5):
        trainer.step(_step(run, (1.0, 0.0, 0.0), _batch(run, (0, step), (0, step + 10)), step=step))
    after = parts()
    for name, values in before.items():
        same = all(torch.equal(a, b) for a, b in zip(values, after[name], strict=True))
        if any(part in name for part in idle):
            assert same, name
        elif "rows." not in name:
            assert not same, name
    moved = "encoder.embeddings.task_type_embeddings.rows.0"
    assert not torch.equal(before[moved][0], after[moved][0])


def test_a_step_without_any_label_moves_no_head_and_gives_no_nan(
    run: Run, trainer: Trainer
) -> None:
    result = trainer.step(_step(run, (1.0, 0.0, 0.0), batch_of(run, [[], []])))
    assert float(result.loss) == 0
    assert all(torch.isfinite(parameter).all() for parameter in trainer.model.parameters())
