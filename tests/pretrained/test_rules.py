"""The rules for checkpoints of other people hold for each verb that opens one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM

from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.corpus.tokens.tokenizer import load_tokenizer
from ernie_cmtl.errors import UserError
from ernie_cmtl.evaluation.masked_lm import load_masked_lm
from ernie_cmtl.finetuning.models import load_tokenizer as load_tokenizer_to_tune
from ernie_cmtl.model.init_from import checkpoint_weights
from ernie_cmtl.pretrained.tokenizer import LARGEST_ID
from tests.support.tuning import model_to_tune

MODELS: dict[str, Callable[[Path], Any]] = {
    "init_from": lambda folder: checkpoint_weights(str(folder), "learned"),
    "evaluate": lambda folder: load_masked_lm(str(folder)).model,
    "finetune": model_to_tune,
}
TOKENIZERS: dict[str, Callable[[Path], Any]] = {
    "prepare": load_tokenizer,
    "evaluate": lambda folder: load_masked_lm(str(folder)).tokenizer,
    "finetune": lambda folder: load_tokenizer_to_tune(str(folder)),
}


def edit(name: str, **changes: Any) -> Callable[[Path], None]:
    """Return what changes keys of a file; None removes one."""

    def change(folder: Path) -> None:
        found = json.loads((folder / name).read_text("utf-8")) | changes
        kept = {key: value for key, value in found.items() if value is not None}
        (folder / name).write_text(json.dumps(kept), encoding="utf-8")

    return change


def quantized(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("query.weight"))
    weights[name] = weights[name].to(torch.float8_e4m3fn)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def index_of(*names: str) -> Callable[[Path], None]:
    """Return what puts an index in the place of the weights."""

    def change(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "part-1.safetensors")
        table = {"metadata": {}, "weight_map": dict(enumerate(names))}
        (folder / "model.safetensors.index.json").write_text(json.dumps(table), encoding="utf-8")

    return change


def with_id(number: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        settings = json.loads((folder / "tokenizer.json").read_text("utf-8"))
        settings["model"]["vocab"]["zzz"] = number
        (folder / "tokenizer.json").write_text(json.dumps(settings), encoding="utf-8")

    return change


@pytest.fixture(scope="module")
def whole(english: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert") / "whole"
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(vocab_size=english.vocabulary.size, intermediate_size=32, **sizes)
    BertForMaskedLM(config).save_pretrained(folder)
    english.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def checkpoint(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "checkpoint"))


REFUSED_MODELS: dict[str, tuple[Callable[[Path], None], str]] = {
    "too many layers": (
        edit("config.json", num_hidden_layers=10**7),
        r"its config has num_hidden_layers 10000000; accepted are 0 to 1,000",
    ),
    "a negative size": (edit("config.json", vocab_size=-1), "its config has vocab_size -1"),
    "classes without names": (
        edit("config.json", architectures=[["BertForMaskedLM"]]),
        r"its config has architectures \[\['BertForMaskedLM'\]\]; accepted is a list of names",
    ),
    "a config of a larger model": (
        edit("config.json", vocab_size=9 * 10**6, hidden_size=4096),
        r"the config describes 3[\d,]+ weights, and the files hold \d\d,\d\d\d",
    ),
    "another size": (edit("config.json", intermediate_size=64), "holds no safetensors weights"),
    "an unknown kind": (edit("config.json", model_type="evil"), "evil"),
    "no kind": (edit("config.json", model_type=None), "None"),
    "quantized weights": (quantized, r"query.weight is of the type F8_E4M3; accepted are"),
    "an index that names a pickle": (index_of("x.bin"), r"index.json names 'x.bin'"),
    "an index that names another folder": (
        index_of("../x.safetensors"),
        r"index.json names '../x.safetensors'",
    ),
    "an index without its part": (index_of("part-2.safetensors"), "it lacks part-2.safetensors"),
    "no weights": (
        lambda folder: (folder / "model.safetensors").unlink(),
        "it has no model.safetensors",
    ),
}


@pytest.mark.parametrize("verb", MODELS)
@pytest.mark.parametrize("name", REFUSED_MODELS)
def test_each_verb_refuses_such_a_model(checkpoint: Path, name: str, verb: str) -> None:
    change, message = REFUSED_MODELS[name]
    change(checkpoint)
    with pytest.raises(UserError, match=message) as caught:
        MODELS[verb](checkpoint)
    assert str(checkpoint) in str(caught.value)


STRIPPED: dict[str, Callable[[Path], None]] = {
    "classes of its own": edit(
        "config.json",
        auto_map={"AutoConfig": "evil.T", "AutoModelForMaskedLM": "evil.T"},
    ),
    "kernels of the Hub": edit("config.json", _attn_implementation="evil/T"),
    "kernels by another key": edit("config.json", attn_implementation="evil/T"),
    "a quantizer": edit("config.json", quantization_config={"quant_method": "gptq"}),
    "another config": edit("config.json", configuration_files=["config.9.json"]),
}


@pytest.mark.parametrize("verb", MODELS)
@pytest.mark.parametrize("name", STRIPPED)
def test_each_verb_passes_over_what_could_name_code(
    whole: Path, checkpoint: Path, name: str, verb: str
) -> None:
    STRIPPED[name](checkpoint)
    found, expected = MODELS[verb](checkpoint), MODELS[verb](whole)
    if verb == "init_from":
        (found, _), (expected, _) = found, expected
    else:
        assert "evil" not in found.config.to_json_string()
        found, expected = found.state_dict(), expected.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in found)


REFUSED_TOKENIZERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "settings of brackets": (
        lambda folder: (folder / "tokenizer_config.json").write_bytes(b"[" * 200_000),
        "cannot load a tokenizer",
    ),
    "an id of a billion": (with_id(10**9), "has token ids from 0 to 1000000000; accepted are"),
    "an id above the bound": (with_id(LARGEST_ID + 1), "accepted are 0 to 10,000,000"),
    "a length that is a word": (
        edit("tokenizer_config.json", model_max_length="long"),
        "model_max_length 'long'; accepted are numbers above 0",
    ),
    "no vocabulary": (
        lambda folder: (folder / "tokenizer.json").unlink(),
        "cannot load a tokenizer",
    ),
}


@pytest.mark.parametrize("verb", TOKENIZERS)
@pytest.mark.parametrize("name", REFUSED_TOKENIZERS)
def test_each_verb_refuses_such_a_tokenizer(checkpoint: Path, name: str, verb: str) -> None:
    change, message = REFUSED_TOKENIZERS[name]
    change(checkpoint)
    with pytest.raises(UserError, match=message) as caught:
        TOKENIZERS[verb](checkpoint)
    assert str(checkpoint) in str(caught.value)


@pytest.mark.parametrize("verb", TOKENIZERS)
def test_no_verb_keeps_what_a_tokenizer_says_of_code(checkpoint: Path, verb: str) -> None:
    edit(
        "tokenizer_config.json",
        chat_template="{{ evil }}",
        auto_map={"AutoTokenizer": ["evil.T", "evil.T"]},
    )(checkpoint)
    tokenizer = TOKENIZERS[verb](checkpoint)
    assert tokenizer.chat_template is None
    assert "auto_map" not in tokenizer.init_kwargs
