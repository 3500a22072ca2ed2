"""Settings as people write them: every mistake is named together with what would be accepted."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from ernie_cmtl.config import RunConfig, load_run_config
from ernie_cmtl.errors import UserError, choices
from ernie_cmtl.settings import differences, dump, validate
from ernie_cmtl.task_registry import find_task
from tests.support.imports import FILES

MINIMAL: dict[str, Any] = {
    "run": "runs/a",
    "corpus": "corpora/b",
    "stages": [{"name": "only", "budgets": {"capitalization": 5}}],
}


class Oven(BaseModel):
    model_config = ConfigDict(extra="forbid")

    temperature: int = 180
    timer: float | None = None


class Kitchen(BaseModel):
    model_config = ConfigDict(extra="forbid")

    oven: Oven = Oven()
    spare: Oven | None = None
    shelves: list[Oven] = []
    labelled: dict[str, Oven] = {}
    name: str = "home"


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(MINIMAL | changes, sort_keys=False), encoding="utf-8")
    return path


def message_of(path: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_run_config(path, overrides)
    return str(caught.value)


def refusal(given_settings: dict[str, Any], *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        validate(Kitchen, given_settings, overrides, "kitchen.yaml")
    return str(caught.value)


def test_an_unknown_key_at_the_top_is_named_with_the_closest_and_all_accepted_keys() -> None:
    expected = (
        "kitchen.yaml: unknown key 'ovn'; did you mean 'oven'? accepted: labelled, name, oven, "
        "shelves, spare"
    )
    assert refusal({"ovn": {}}) == expected


@pytest.mark.parametrize(
    ("given_settings", "place"),
    [
        ({"oven": {"temperatur": 3}}, "oven.temperatur"),
        ({"spare": {"temperatur": 3}}, "spare.temperatur"),
        ({"shelves": [{}, {"temperatur": 3}]}, "shelves.1.temperatur"),
        ({"labelled": {"old": {"temperatur": 3}}}, "labelled.old.temperatur"),
    ],
)
def test_an_unknown_nested_key_is_named_with_its_place_and_the_keys_of_that_place(
    given_settings: dict[str, Any], place: str
) -> None:
    expected = (
        f"kitchen.yaml: unknown key '{place}'; did you mean 'temperature'? accepted: temperature, "
        "timer"
    )
    assert refusal(given_settings) == expected


def test_a_key_like_no_other_gets_no_guess() -> None:
    assert (
        refusal({"oven": {"zzz": 3}})
        == "kitchen.yaml: unknown key 'oven.zzz'; accepted: temperature, timer"
    )


def test_all_mistakes_are_named_at_once() -> None:
    message = refusal({"oven": {"temperature": "hot", "zzz": 1}, "nam": "x"})
    assert all(
        part in message for part in ("oven.temperature", "'hot'", "'oven.zzz'", "'nam'", "'name'")
    )


@pytest.mark.parametrize("override", ["oven", "temperature 3", "--oven.temperature=3", "-x=3"])
def test_a_malformed_override_is_shown(override: str) -> None:
    assert repr(override) in refusal({}, "name=ok", override)


def test_overrides_reach_nested_keys_and_leave_their_neighbours() -> None:
    found = validate(
        Kitchen,
        {"oven": {"temperature": 10, "timer": 2.5}},
        ["oven.temperature=99", "spare.timer=1"],
        "here",
    )
    assert (found.oven, found.spare) == (Oven(temperature=99, timer=2.5), Oven(timer=1.0))


def test_the_last_of_two_overrides_wins() -> None:
    assert validate(Kitchen, {}, ["name=first", "name=second"], "here").name == "second"


def test_an_override_that_is_no_yaml_is_an_error_of_the_user() -> None:
    assert "kitchen.yaml" in refusal({}, "oven.temperature=[1")


def test_an_override_into_a_list_works_or_is_an_error_of_the_user(tmp_path: Path) -> None:
    """A person who types `stages.0.name=other` must not see a traceback."""
    path = write(tmp_path)
    try:
        found = load_run_config(path, ["stages.0.name=other"])
    except UserError as error:
        assert "stages" in str(error)  # noqa: PT017
    else:
        assert [stage.name for stage in found.stages] == ["other"]


def test_a_run_names_the_bad_nested_key_and_all_accepted_ones(tmp_path: Path) -> None:
    message = message_of(write(tmp_path, data={"row_lenght": 64}))
    assert "unknown key 'data.row_lenght'; did you mean 'row_length'?" in message
    assert all(key in message for key in ("row_length", "rows", "rows_per_group", "loader_workers"))
    assert str(tmp_path / "run.yaml") in message


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("data.rows=many", ("data.rows", "'many'", "integer")),
        ("data.rows=", ("data.rows", "None")),
        ("seed=-1", ("seed", "-1")),
        ("mode=mixd", ("mode", "'mixd'", "'mixed'", "'one_task'")),
        (
            "training.trackers=[tensorboard,wandbb]",
            ("training.trackers", "'wandbb'", "mlflow", "tensorboard", "wandb"),
        ),
        ("training.precision=fp8", ("training.precision", "'fp8'", "'bf16'")),
        ("optimizer.learning_rate=0", ("optimizer.learning_rate", "0")),
        ("encoder=3", ("encoder", "3")),
        ("data.rows_per_group=5", ("rows_per_group 5", "rows 32", "16")),
        ("encoder.attention_heads=7", ("hidden_size 768", "attention_heads 7")),
    ],
)
def test_a_value_of_the_wrong_kind_is_shown_with_its_key(
    tmp_path: Path, override: str, parts: tuple[str, ...]
) -> None:
    message = message_of(write(tmp_path), override)
    assert all(part in message for part in parts), message


def test_every_missing_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("run: here\n", encoding="utf-8")
    message = message_of(path)
    assert "'corpus' is missing" in message
    assert "'stages' is missing" in message
    assert "'run' is missing" not in message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "absent.yaml") in message_of(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"run: [1, 2", id="open bracket"),
        pytest.param(b"run: a\n\tcorpus: b", id="tab"),
        pytest.param(b"\xff\xfe\x00", id="no text"),
        pytest.param(b"- a\n- b\n", id="list"),
        pytest.param(b"42\n", id="number"),
        pytest.param(b"just words\n", id="words"),
        pytest.param(b"", id="empty"),
        pytest.param(b"run: !!python/object/apply:os.getcwd []", id="python object"),
    ],
)
def test_a_file_that_holds_no_mapping_of_settings_is_an_error_of_the_user(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    assert str(path) in message_of(path)


@pytest.mark.parametrize("twice", ["seed: 1\nseed: 2\n", "data: {rows: 32, rows: 64}\n"])
def test_a_key_that_stands_twice_is_refused(tmp_path: Path, twice: str) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text(encoding="utf-8") + twice, encoding="utf-8")
    assert "duplicate key" in message_of(path)


def test_stages_of_the_same_name_are_refused(tmp_path: Path) -> None:
    stages = [
        {"name": name, "budgets": {"capitalization": 1}}
        for name in ("first", "again", "other", "again")
    ]
    message = message_of(write(tmp_path, stages=stages))
    assert "again" in message
    assert "first" not in message


def test_a_task_without_a_budget_is_refused_with_those_that_have_one(tmp_path: Path) -> None:
    message = message_of(write(tmp_path, tasks={"capitalization": {}, "sentence_reordering": {}}))
    assert "without a budget in any stage: sentence_reordering;" in message
    assert "budgets are given to capitalization; correct" in message


@pytest.mark.parametrize("name", ["has space", "a.b", "1st", ""])
def test_an_instance_name_that_could_not_be_a_prefix_is_refused(tmp_path: Path, name: str) -> None:
    stages = [{"name": "only", "budgets": {name: 1}}]
    assert repr(name) in message_of(
        write(tmp_path, stages=stages, tasks={name: {"type": "capitalization"}})
    )


@pytest.mark.parametrize(
    "budgets", [{}, {"capitalization": 0}, {"capitalization": -2}, {"capitalization": 1.5}]
)
def test_a_budget_is_a_positive_whole_number(tmp_path: Path, budgets: dict[str, Any]) -> None:
    assert "stages.0.budgets" in message_of(
        write(tmp_path, stages=[{"name": "only", "budgets": budgets}])
    )


def test_samples_may_not_be_longer_than_the_encoder_has_positions(tmp_path: Path) -> None:
    few = ["encoder.maximum_positions=128"]
    message = message_of(write(tmp_path), "data.row_length=129", *few)
    assert "samples of 129 tokens" in message
    assert "maximum_positions 128" in message
    assert load_run_config(write(tmp_path), ["data.row_length=128", *few]).data.longest == 128
    # A row may hold several.
    assert (
        load_run_config(
            write(tmp_path), ["data.row_length=1024", "data.maximum_length=128", *few]
        ).data.longest
        == 128
    )


def test_a_sample_may_not_be_longer_than_a_row(tmp_path: Path) -> None:
    assert "maximum_length 65 is more than row_length 64" in message_of(
        write(tmp_path), "data.row_length=64", "data.maximum_length=65"
    )


@pytest.mark.parametrize(
    ("shape", "parts"),
    [
        ({"row_length": 513}, ("samples of 513 tokens", "maximum_positions 512")),
        ({"maximum_length": 129}, ("stage 'later'", "maximum_length 129", "row_length 128")),
        ({"rows": 12}, ("stage 'later'", "rows_per_group 32", "rows 12", "[1, 2, 3, 4, 6, 12]")),
        ({"rows_per_group": 5}, ("stage 'later'", "rows_per_group 5", "rows 32")),
        ({"row_length": 3}, ("stages.1.row_length", "3")),
        ({"row_lenght": 64}, ("'stages.1.row_lenght'", "row_length")),
    ],
)
def test_a_stage_whose_rows_do_not_fit_is_named(
    tmp_path: Path, shape: dict[str, int], parts: tuple[str, ...]
) -> None:
    stages = [{"name": name, "budgets": {"capitalization": 1}} for name in ("first", "later")]
    message = message_of(write(tmp_path, stages=[stages[0], stages[1] | shape]))
    assert all(part in message for part in parts), message


def test_a_stage_says_its_rows_or_has_those_of_the_run(tmp_path: Path) -> None:
    stages = [{"name": name, "budgets": {"capitalization": 1}} for name in ("first", "later")]
    stages[1] |= {"row_length": 512, "rows": 8, "rows_per_group": 4}
    first, later = load_run_config(
        write(tmp_path, stages=stages), ["data.loader_workers=3"]
    ).stage_data
    assert (first.row_length, first.rows, first.rows_per_group, first.loader_workers) == (
        128,
        32,
        32,
        3,
    )
    assert (later.row_length, later.rows, later.rows_per_group, later.loader_workers) == (
        512,
        8,
        4,
        3,
    )


def test_overrides_of_a_run_reach_task_options(tmp_path: Path) -> None:
    found = load_run_config(
        write(tmp_path, tasks={"capitalization": {"maximum_length": 32}}),
        ["tasks.capitalization.rate=0.5"],
    )
    assert found.tasks["capitalization"].options == {"maximum_length": 32, "rate": 0.5}


def test_a_dumped_run_config_loads_back_equal(tmp_path: Path) -> None:
    changes = {
        "tasks": {
            "caps": {"type": "capitalization", "maximum_length": 64},
            "知识": {"type": "knowledge_masking", "rate": 0.2},
        },
        "stages": [
            {"name": "a", "budgets": {"caps": 3}},
            {"name": "b", "budgets": {"知识": 2, "caps": 7}},
        ],
        "mode": "one_task",
        "encoder": {"init_from": "models/бert"},
    }
    first = load_run_config(
        write(tmp_path, **changes),
        ["optimizer.learning_rate=3e-05", "training.trackers=[tensorboard,wandb]"],
    )
    again = tmp_path / "again.yaml"
    again.write_text(dump(first), encoding="utf-8")
    assert load_run_config(again) == first
    assert list(load_run_config(again).stages[1].budgets) == ["知识", "caps"]


@pytest.mark.parametrize(
    "word",
    [
        "null",
        "true",
        "on",
        "~",
        "12",
        "1e5",
        "0x1f",
        "1_0",
        "12:30:45",
        "2026-01-02",
        "007",
        "nan",
        "a: b",
        "# c",
        "- d",
        " e ",
    ],
)
def test_a_folder_whose_name_looks_like_something_else_survives_the_dump(
    tmp_path: Path, word: str
) -> None:
    first = RunConfig.model_validate(MINIMAL | {"run": word})
    again = tmp_path / "again.yaml"
    again.write_text(dump(first), encoding="utf-8")
    assert load_run_config(again) == first


@given(
    rate=st.floats(min_value=1e-12, max_value=1e6, exclude_min=True),
    decay=st.floats(min_value=0, max_value=1),
    seed=st.integers(min_value=0, max_value=1 << 70),
    budgets=st.dictionaries(
        st.sampled_from(["a", "b_2", "Ç"]), st.integers(min_value=1, max_value=1 << 40), min_size=1
    ),
)
@settings(max_examples=40, deadline=None)
def test_numbers_survive_the_dump_exactly(
    tmp_path_factory: pytest.TempPathFactory,
    rate: float,
    decay: float,
    seed: int,
    budgets: dict[str, int],
) -> None:
    optimizer = {"learning_rate": rate, "weight_decay": decay}
    changes = {
        "seed": seed,
        "optimizer": optimizer,
        "stages": [{"name": "only", "budgets": budgets}],
    }
    first = RunConfig.model_validate(MINIMAL | changes)
    path = tmp_path_factory.mktemp("dump") / "run.yaml"
    path.write_text(dump(first), encoding="utf-8")
    assert load_run_config(path) == first


def test_differences_name_each_key_with_both_values() -> None:
    before = {"a": 1, "b": {"c": [1, {"d": 2}], "same": None}, "gone": False}
    after = {"a": 1, "b": {"c": [1, {"d": 3}, 4], "same": None}, "new": {"e": 5}}
    assert differences(before, before) == {}
    assert differences(before, after) == {
        "b.c.1.d": (2, 3),
        "b.c.2": (None, 4),
        "gone": (False, None),
        "new": (None, {"e": 5}),
    }
    assert differences({"a": {"b": 1}}, {"a": [1]}) == {"a": ({"b": 1}, [1])}


def test_an_empty_mapping_empties_and_later_overrides_fill_it_again(tmp_path: Path) -> None:
    path = write(tmp_path, tasks={"capitalization": {"loss_weight": 2.0}})
    assert load_run_config(path).tasks["capitalization"].loss_weight == 2
    assert load_run_config(path, ["tasks={}"]).tasks == {}
    again = load_run_config(path, ["tasks={}", "tasks.capitalization.loss_weight=3"])
    assert again.tasks["capitalization"].loss_weight == 3
    assert load_run_config(path, ["tasks={}", "seed=5"]).seed == 5
    assert load_run_config(path, ["data.rows=8", "data={}"]).data == RunConfig(**MINIMAL).data
    message = message_of(path, "stages=absent", "tasks={}")
    assert "stages" in message


@pytest.mark.parametrize(
    ("changes", "name", "meant"),
    [
        (
            {
                "stages": [{"name": "a", "budgets": {"capitalisation": 5}}],
                "tasks": {"capitalization": {}},
            },
            "capitalization",
            "capitalisation",
        ),
        ({"tasks": {"capitalisation": {}}}, "capitalisation", "capitalization"),
    ],
)
def test_a_misspelt_task_is_told_with_the_name_that_looks_like_it(
    tmp_path: Path, changes: dict[str, Any], name: str, meant: str
) -> None:
    message = message_of(write(tmp_path, **changes))
    assert f"tasks without a budget in any stage: {name}; did you mean '{meant}'?" in message
    assert f"budgets are given to {meant}" in message


def test_names_that_look_alike_are_found_in_one_place() -> None:
    assert choices("ovn", ["oven", "stove"]) == "did you mean 'oven'? accepted: oven, stove"
    assert choices("x", [], "it has") == "it has none"
    with pytest.raises(UserError, match="did you mean 'sentence_reordering'"):
        find_task("sentence_reordring")
    users = [name for name, path in FILES.items() if "get_close_matches" in path.read_text("utf-8")]
    assert users == ["ernie_cmtl.errors"]
