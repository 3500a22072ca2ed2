"""Recipes are checked before anything is read, and those that ship fit their kinds."""

from pathlib import Path

import pytest

from ernie_cmtl.errors import UserError
from ernie_cmtl.finetuning.kinds import KINDS
from ernie_cmtl.finetuning.sets.recipe import Recipe
from ernie_cmtl.settings import load, validate
from tests.support.finetuning import SMALL

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "configs" / "finetune"
RECIPES = sorted(FOLDER.rglob("*.yaml"))
PAPER = {
    "cola": (3e-5, 3, 64),
    "sst2": (2e-5, 4, 256),
    "mrpc": (3e-5, 4, 32),
    "stsb": (5e-5, 3, 128),
    "qqp": (3e-5, 3, 256),
    "mnli": (3e-5, 3, 512),
    "qnli": (2e-5, 4, 256),
    "rte": (2e-5, 4, 4),
    "zh_chnsenticorp": (5e-5, 10, 24),
    "zh_cmrc2018": (3e-5, 2, 64),
}
"""Learning rate, epochs and batch of ERNIE 2.0 base, from its fine-tuning scripts."""


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_recipe_that_ships_loads_and_names_no_place_of_one_machine(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("# ")
    recipe = load(Recipe, path)
    kind = KINDS[recipe.kind]
    assert recipe.metric in (None, *kind.metrics)
    validate(kind.Options, recipe.options, (), str(path))
    for source in (recipe.data.train, recipe.data.dev, recipe.data.test):
        for name in (
            source if isinstance(source, tuple) else [source] if isinstance(source, str) else []
        ):
            assert name.startswith("datasets:") or name.startswith(f"{path.stem}/")
    if recipe.kind == "tokens":
        assert recipe.labels
        assert recipe.labels[0] == "O"


@pytest.mark.parametrize("name", PAPER)
def test_a_recipe_trains_as_the_paper_does(name: str) -> None:
    found = [load(Recipe, path).train for path in RECIPES if path.stem == name]
    assert found
    for train in found:
        assert (*train.learning_rates, train.epochs, train.batch_size) == PAPER[name]
        assert (train.warmup, train.weight_decay) == (
            (0.0, 0.01) if name.startswith("zh") else (0.1, 0.0)
        )


def test_the_document_names_every_recipe() -> None:
    text = (ROOT / "docs" / "finetuning.md").read_text(encoding="utf-8")
    assert not [path.stem for path in RECIPES if f"`{path.stem}`" not in text]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["epochs=3"], "unknown key 'epochs'; accepted: columns, data, init"),
        (["train.epoch=3"], "unknown key 'train.epoch'; did you mean 'epochs'"),
        (
            ["kind=sentiment"],
            "kind: Input should be 'classification', 'regression', 'ranking', 'tokens' or 'span'",
        ),
        (["data.dev=null"], "a recipe needs dev, test or both"),
        (["data.dev=1.5"], "data.dev"),
        (["data.dev=0.6", "data.test=0.5"], "leave no training rows"),
        (
            ["data.dev=null", "data.test=t.tsv", "train.learning_rates=[1e-4,2e-4]"],
            "several learning rates need data.dev",
        ),
        (["train.seeds=[1,1]"], "a value stands twice"),
        (["kind=ranking"], "the kind ranking needs columns.text_pair"),
        (["task_row=last"], "task_row"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match="recipe: ") as error:
        validate(Recipe, SMALL, words, "recipe")
    assert message in str(error.value)
