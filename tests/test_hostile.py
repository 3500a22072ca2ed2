"""Files made by somebody who means harm: nothing in them runs, each is refused with a reason,
nothing outside is touched.
"""

import hashlib
import json
import os
import pickle
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import BertConfig, BertForPreTraining, BertTokenizer

from ernie_cmtl.config import RunConfig, load_run_config
from ernie_cmtl.corpus.build.pipeline import build
from ernie_cmtl.corpus.build.request import added_to
from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.corpus.tokens.tokenizer import load_tokenizer
from ernie_cmtl.errors import UserError
from ernie_cmtl.model.init_from import checkpoint_weights, pretrained_config
from ernie_cmtl.run.observer import Observer
from ernie_cmtl.run.open import open_run, read_config, saved_config
from ernie_cmtl.run.run import Run
from ernie_cmtl.verbs.pretrain import pretrain
from tests.support.corpora import make_corpus, quiet, sample_texts, small_config, write_jsonl
from tests.support.runs import finished_run, tiny_settings

LETTERS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]


@dataclass(frozen=True)
class Trap:
    """A folder in which things are planted, and the file that a thing makes if it is run."""

    folder: Path
    canary: Path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.canary}",)

    @property
    def code(self) -> str:
        return f"import os\nos.system('touch {self.canary}')\nclass T: pass\n"

    def pickle(self, name: str) -> None:
        (self.folder / name).write_bytes(pickle.dumps(self))

    def module(self, name: str) -> None:
        (self.folder / f"{name}.py").write_text(self.code, encoding="utf-8")

    def edit(self, name: str, **changes: Any) -> None:
        path = self.folder / name
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), encoding="utf-8")


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trap:
    folder = tmp_path / "trap"
    folder.mkdir()
    # Code that lies in the working directory can be imported: the easiest of all targets.
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    return Trap(folder, tmp_path / "canary")


def test_the_trap_works(trap: Trap) -> None:
    pickle.loads(pickle.dumps(trap))
    assert trap.canary.exists()
    trap.canary.unlink()
    exec(trap.code)
    assert trap.canary.exists()


def refuses(trap: Trap, call: Callable[[], object], errors: Any = UserError) -> str:
    """Return why a call refuses what was planted, after checking that nothing of it ran."""
    with pytest.raises(errors) as caught:
        call()
    assert not trap.canary.exists()
    assert len(str(caught.value)) > 10
    return str(caught.value)


# Checkpoints of other people, to start from


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    BertTokenizer(vocab={letter: number for number, letter in enumerate(LETTERS)}).save_pretrained(
        folder
    )
    BertForPreTraining(BertConfig(vocab_size=len(LETTERS), **sizes)).save_pretrained(folder)
    return folder


def load_all(folder: Path) -> None:
    load_tokenizer(folder)
    pretrained_config(str(folder), "learned")
    checkpoint_weights(str(folder), "learned")


def header(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


def only_pickled_weights(trap: Trap) -> None:
    (trap.folder / "model.safetensors").unlink()
    trap.pickle("pytorch_model.bin")


def weights_named_elsewhere(name: str) -> Callable[[Trap], None]:
    def plant(trap: Trap) -> None:
        (trap.folder / "model.safetensors").unlink()
        (trap.folder / name).parent.mkdir(exist_ok=True)
        trap.pickle(name)
        index = {"metadata": {}, "weight_map": {"bert.pooler.dense.bias": name}}
        (trap.folder / "model.safetensors.index.json").write_text(
            json.dumps(index), encoding="utf-8"
        )

    return plant


def own_model_class(trap: Trap) -> None:
    trap.module("evil")
    trap.edit(
        "config.json",
        model_type="evil",
        auto_map={"AutoConfig": "evil.T", "AutoModelForPreTraining": "evil.T"},
    )


def own_tokenizer_class(trap: Trap) -> None:
    own_model_class(trap)
    trap.edit(
        "tokenizer_config.json",
        tokenizer_class="T",
        auto_map={"AutoTokenizer": ["evil.T", "evil.T"]},
    )


def overwrite(name: str, data: bytes) -> Callable[[Trap], object]:
    return lambda trap: (trap.folder / name).write_bytes(data)


def edit(name: str, **changes: Any) -> Callable[[Trap], None]:
    return lambda trap: trap.edit(name, **changes)


WEIGHTS = "model.safetensors"
BEYOND = b'{"bert.pooler.dense.bias":{"dtype":"F32","shape":[16],"data_offsets":[0,64000000]}}'
REFUSED_CHECKPOINTS: dict[str, Callable[[Trap], object]] = {
    "only pickled weights": only_pickled_weights,
    "a pickle named as safetensors": lambda trap: trap.pickle(WEIGHTS),
    "an index that names a pickle": weights_named_elsewhere("evil.bin"),
    "an index that names a pickle elsewhere": weights_named_elsewhere("../evil.bin"),
    "a header of four exabytes": overwrite(WEIGHTS, header(b"{}", 1 << 62)),
    "a header of ten megabytes of nothing": overwrite(WEIGHTS, header(b" " * (10 << 20))),
    "tensors beyond the end of the file": overwrite(WEIGHTS, header(BEYOND)),
    "a pickled config": lambda trap: trap.pickle("config.json"),
    "a pickled tokenizer": lambda trap: trap.pickle("tokenizer.json"),
    "a pickled tokenizer config": lambda trap: trap.pickle("tokenizer_config.json"),
    "a model class of its own": own_model_class,
    "a tokenizer class of its own": own_tokenizer_class,
    "a config of brackets": overwrite("config.json", b"[" * 200_000),
    "a config that is a list": overwrite("config.json", b"[1]"),
    "a size that is a word": edit("config.json", hidden_size="big"),
    "a billion layers": edit("config.json", num_hidden_layers=10**9),
    "a hidden size of a billion": edit("config.json", hidden_size=10**9),
    "a type that is a function": edit("config.json", dtype="os.system"),
    "a tokenizer of other types": overwrite(
        "tokenizer.json", b'{"version": "1.0", "model": {"type": "WordPiece", "vocab": 5}}'
    ),
}


@pytest.mark.parametrize("name", REFUSED_CHECKPOINTS)
def test_a_hostile_checkpoint_to_start_from_is_refused(
    trap: Trap, bert: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(bert, trap.folder, dirs_exist_ok=True)
    REFUSED_CHECKPOINTS[name](trap)
    # Not even with the unpickler that torch calls safe.
    monkeypatch.setattr("torch.load", lambda *_, **__: trap.canary.touch())
    message = refuses(trap, lambda: load_all(trap.folder))
    assert str(trap.folder) in message
    assert "\n" not in message


def own_code_of_known_kind(trap: Trap) -> None:
    trap.module("evil")
    classes = ("AutoConfig", "AutoModel", "AutoModelForPreTraining", "AutoModelForMaskedLM")
    trap.edit("config.json", auto_map=dict.fromkeys(classes, "evil.T"))
    trap.edit("tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", "evil.T"]})


STRIPPED: dict[str, Callable[[Trap], object]] = {
    "classes of its own": own_code_of_known_kind,
    "kernels of the Hub": edit(
        "config.json", attn_implementation="evil/T", _attn_implementation_internal="evil/T"
    ),
    "a quantizer": edit(
        "config.json", quantization_config={"quant_method": "bitsandbytes", "evil": True}
    ),
    "an adapter": lambda trap: (trap.folder / "adapter_config.json").write_text(
        '{"base_model_name_or_path": "evil/T"}'
    ),
    "a chat template": edit(
        "tokenizer_config.json", chat_template="{{ ''.__class__.__mro__ }} evil"
    ),
    "keys that nobody knows": edit(
        "config.json", evil="os.system", custom_pipelines={"evil": {"impl": "evil.T"}}
    ),
}


@pytest.mark.parametrize("name", STRIPPED)
def test_what_could_name_code_is_left_behind(
    trap: Trap, bert: Path, tmp_path: Path, name: str
) -> None:
    """The rest of such a checkpoint is used; neither config nor tokenizer hand on what was
    planted.
    """
    shutil.copytree(bert, trap.folder, dirs_exist_ok=True)
    STRIPPED[name](trap)
    load_all(trap.folder)
    load_tokenizer(trap.folder).save_pretrained(str(tmp_path / "saved"))
    pretrained_config(str(trap.folder), "learned").save_pretrained(str(tmp_path / "saved"))
    assert not trap.canary.exists()
    for path in (tmp_path / "saved").iterdir():
        assert "evil" not in path.read_text("utf-8")
        assert "auto_map" not in path.read_text("utf-8")


# Corpora of other people: their manifest is in order, hashes and all


def plant_array(data: Callable[[Trap], bytes]) -> Callable[[Trap], None]:
    def plant(trap: Trap) -> None:
        path = trap.folder / "shards" / "00000" / "token_ids.npy"
        path.write_bytes(data(trap))
        shards = json.loads((trap.folder / "manifest.json").read_text("utf-8"))["shards"]
        shards[0]["hashes"]["token_ids"] = hashlib.sha256(path.read_bytes()).hexdigest()
        trap.edit("manifest.json", shards=shards)

    return plant


def array_header(text: str) -> bytes:
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text.encode()


def objects(trap: Trap) -> bytes:
    np.save(trap.folder / "objects.npy", np.array([trap, trap], dtype=object), allow_pickle=True)
    return (trap.folder / "objects.npy").read_bytes()


def call_in_header(trap: Trap) -> bytes:
    return array_header(
        f"{{'descr': __import__('os').system('touch {trap.canary}'), "
        "'fortran_order': False, 'shape': (1,)}"
    )


def edit_shard(**changes: Any) -> Callable[[Trap], None]:
    def plant(trap: Trap) -> None:
        shards = json.loads((trap.folder / "manifest.json").read_text("utf-8"))["shards"]
        trap.edit("manifest.json", shards=[shards[0] | changes, *shards[1:]])

    return plant


HUGE = f"{{'descr': '<i8', 'fortran_order': False, 'shape': ({10**17},)}}"
CORPORA: dict[str, Callable[[Trap], object]] = {
    "an array of objects": plant_array(objects),
    "a pickle named as array": plant_array(pickle.dumps),
    "an array of an exabyte": plant_array(lambda _: array_header(HUGE)),
    "an array with a header of a megabyte": plant_array(
        lambda _: array_header(HUGE + " " * (1 << 20))
    ),
    "a call in the header of an array": plant_array(call_in_header),
    "a shard outside": edit_shard(name="../../victim"),
    "a shard without a name": edit_shard(name=""),
    "an array outside": edit_shard(hashes={"../../../victim/mine": "0"}),
    "a file outside": edit("manifest.json", files={"../victim/mine.npy": "0"}),
    "an absolute file": edit("manifest.json", files={"/etc/passwd": "0"}),
    "a layer outside": edit("manifest.json", layers=["../../../victim/mine"]),
    "rows outside": edit(
        "manifest.json", labelled={"../victim": {"columns": {}, "rows": {}, "hashes": {}}}
    ),
    "a manifest of brackets": overwrite("manifest.json", b"[" * 200_000),
    "a pickled manifest": lambda trap: trap.pickle("manifest.json"),
}


@pytest.mark.parametrize("name", CORPORA)
def test_a_hostile_corpus_is_refused_and_nothing_outside_is_touched(
    trap: Trap, english: Corpus, tmp_path: Path, name: str
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "mine.npy").write_bytes(b"years of work")
    shutil.copytree(english.folder, trap.folder, dirs_exist_ok=True)
    CORPORA[name](trap)
    refuses(trap, lambda: Corpus(trap.folder).split("train"))
    more = write_jsonl(tmp_path / "more.jsonl", sample_texts("en", 8))
    if "array" not in name or "outside" in name:
        refuses(
            trap,
            lambda: build(
                added_to([str(more)], trap.folder, small_config("en")), 1, quiet, restart=True
            ),
        )
    assert (victim / "mine.npy").read_bytes() == b"years of work"
    assert [path.name for path in victim.iterdir()] == ["mine.npy"]


# Text of other people


def archive(name: str) -> Callable[[Trap], str]:
    """An archive whose member would land beside the folder that it is unpacked in."""

    def plant(trap: Trap) -> str:
        path, content = trap.folder / name, trap.folder / "content"
        content.write_text("slipped", encoding="utf-8")
        if name.endswith(".zip"):
            with zipfile.ZipFile(path, "w") as opened:
                opened.write(content, "../slipped.txt")
        else:
            with tarfile.open(path, "w:gz") as packed:
                packed.add(content, "../slipped.txt")
        return str(path)

    return plant


def pickled(name: str) -> Callable[[Trap], str]:
    def plant(trap: Trap) -> str:
        trap.pickle(name)
        return str(trap.folder / name)

    return plant


def pipe(trap: Trap) -> str:
    os.mkfifo(trap.folder / "pipe.txt")
    return str(trap.folder / "pipe.txt")


def device(trap: Trap) -> str:
    (trap.folder / "endless.txt").symlink_to("/dev/zero")
    return str(trap.folder)


def loading_script(trap: Trap) -> str:
    trap.module(trap.folder.name)
    return f"datasets:{trap.folder}"


def pickled_dataset(trap: Trap) -> str:
    trap.pickle("data.pkl")
    return f"datasets:{trap.folder}"


def saved_dataset(trap: Trap) -> str:
    trap.pickle("state.json")
    trap.pickle("data-00000-of-00001.arrow")
    return f"datasets:{trap.folder}"


INPUTS: dict[str, Callable[[Trap], str]] = {
    "an archive that slips": archive("a.tar.gz"),
    "a zip that slips": archive("a.zip"),
    "a zip named as text": archive("a.jsonl.gz"),
    "a pickle": pickled("a.pkl"),
    **{
        f"a pickle named {name}": pickled(name)
        for name in ("a.txt", "a.jsonl", "a.parquet", "a.jsonl.gz", "a.jsonl.zst")
    },
    "a pipe that nobody writes to": pipe,
    "a link to a device": device,
    "a loading script": loading_script,
    "a dataset of pickles": pickled_dataset,
    "a pickled dataset": saved_dataset,
}


@pytest.mark.parametrize("name", INPUTS)
def test_hostile_text_is_refused(trap: Trap, tmp_path: Path, name: str) -> None:
    word = INPUTS[name](trap)
    refuses(trap, lambda: make_corpus([word], tmp_path / "corpus"))
    assert not list(tmp_path.rglob("slipped.txt"))


SETTINGS: dict[str, Callable[[Trap], dict[str, Any]]] = {
    "pickled rows": lambda trap: {"labelled": {"rows": {"file": pickled("rows.parquet")(trap)}}},
    "pickled lines of rows": lambda trap: {
        "labelled": {"rows": {"file": pickled("rows.tsv")(trap)}}
    },
    "a pickled list of names": lambda trap: {
        "layers": {"gazetteer": {"files": [pickled("names.txt")(trap)]}}
    },
    "a layer that is a function": lambda _: {"layers": {"os.system": {}}},
    "a layer that is a module": lambda trap: {
        "layers": {"evil" if trap.module("evil") is None else "": {}}
    },
    "a tokenizer that is a pickle": lambda trap: {
        "tokenizer": {"name_or_path": pickled("tokenizer.json")(trap)}
    },
}


@pytest.mark.parametrize("name", SETTINGS)
def test_hostile_files_and_names_in_settings_of_a_corpus_are_refused(
    trap: Trap, tmp_path: Path, name: str
) -> None:
    text = write_jsonl(tmp_path / "text.jsonl", sample_texts("en", 8))
    refuses(trap, lambda: make_corpus([str(text)], tmp_path / "corpus", **SETTINGS[name](trap)))


@pytest.mark.parametrize("name", ["../rows", "/rows", "a/b", "a\0b", ""])
def test_rows_and_instances_cannot_be_named_by_paths(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="letters, digits and underscores"):
        small_config("en", labelled={name: {"file": "rows.tsv"}})
    stages = [{"name": "one", "budgets": {name: 2}}]
    with pytest.raises(ValueError, match="letters, digits and underscores"):
        RunConfig.model_validate(
            {"run": tmp_path, "corpus": tmp_path, "stages": stages, "tasks": {name: {"type": "x"}}}
        )


# Configurations of other people

TAGS = {
    "a call": "!!python/object/apply:os.system ['touch {}']",
    "a new object": "!!python/object/new:os.system ['touch {}']",
    "an object": "!!python/object:subprocess.Popen {{args: [touch, '{}']}}",
    "a name": "!!python/name:os.system",
    "a module": "!!python/module:evil",
    "a tag of its own": "!evil x",
}


@pytest.mark.parametrize("name", TAGS)
def test_tags_in_a_configuration_are_refused(trap: Trap, name: str) -> None:
    trap.module("evil")
    path = trap.folder / "run.yaml"
    path.write_text(f"seed: {TAGS[name].format(trap.canary)}\n", encoding="utf-8")
    assert str(path) in refuses(trap, lambda: load_run_config(path))
    path.rename(trap.folder / "config.yaml")
    refuses(trap, lambda: saved_config(trap.folder))


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{after}: &{after} [{','.join([f'*{before}'] * 9)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)
DOCUMENTS: dict[str, bytes] = {
    "a bomb of aliases": BOMB.encode(),
    "a key that stands twice": b"seed: 1\nseed: 2\n",
    "brackets": b"[" * 200_000,
    "lists in lists": b"- " * 100_000,
    "mappings in mappings": b"seed: " + b"{a: " * 60 + b"1" + b"}" * 60,
    "a list": b"- 1\n",
    "bytes": b"\x80\x04\x95",
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_configuration_that_is_none_is_refused(trap: Trap, name: str) -> None:
    path = trap.folder / "run.yaml"
    path.write_bytes(DOCUMENTS[name])
    assert str(path) in refuses(trap, lambda: load_run_config(path))


@pytest.mark.parametrize(
    "kind",
    [
        "os.system",
        "evil",
        "evil.T",
        "evil:T",
        "../evil",
        "pretrain_tasks.knowledge_masking",
        "__init__",
    ],
)
def test_a_task_is_found_by_its_name_and_not_by_a_path(
    trap: Trap, english: Corpus, tmp_path: Path, kind: str
) -> None:
    trap.module("evil")
    settings = tiny_settings(english, tmp_path / "run") | {
        "tasks": {"knowledge_masking": {"type": kind}}
    }
    message = refuses(trap, lambda: Run(RunConfig.model_validate(settings)).instances)
    assert f"no task named {kind!r}" in message


# Checkpoints of a run


@pytest.fixture(scope="module")
def finished(english: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(english, tmp_path_factory.mktemp("finished") / "run")


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("content", ["pickle", "huge header"])
def test_a_hostile_checkpoint_of_a_run_is_refused(
    trap: Trap, finished: Path, file: str, content: str
) -> None:
    run = trap.folder / "run"
    shutil.copytree(finished, run)
    planted = run / "checkpoints" / "step-2" / file
    planted.write_bytes(pickle.dumps(trap) if content == "pickle" else header(b"{}", 1 << 62))
    config = read_config(run / "config.yaml")
    refuses(trap, lambda: pretrain(config, Observer()))
    if file != "optimizer.safetensors":
        refuses(trap, lambda: open_run(run))


def test_pickles_beside_a_checkpoint_are_not_looked_at(trap: Trap, finished: Path) -> None:
    run = trap.folder / "run"
    shutil.copytree(finished, run)
    for name in (
        "pytorch_model.bin",
        "optimizer.pt",
        "scheduler.pt",
        "rng_state.pth",
        "training_args.bin",
        ".metadata",
    ):
        (run / "checkpoints" / "step-2" / name).write_bytes(pickle.dumps(trap))
    assert open_run(run)[2].step == 2
    assert not trap.canary.exists()
