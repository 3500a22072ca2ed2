"""Everything that needs a GPU, in one call of under eight minutes: the tests that need one, and the
measurements.

    python benchmarks/gpu.py --output DIR [--rehearse]

Each part is a process of its own with a time limit, and writes one small file into DIR; what fails
or takes too long is named in `summary.json`, and the parts after it still run. The text is the
source of Python's standard library, so nothing is downloaded. --rehearse goes through the same
parts on a CPU, with tiny sizes and without the tests.
"""

import argparse
import inspect
import json
import os
import platform
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TINY = [
    "encoder.layers=1",
    "encoder.hidden_size=64",
    "encoder.attention_heads=2",
    "data.rows=4",
    "data.rows_per_group=2",
]
SECONDS = 450
"""For all parts together."""
SIDES = ["masking", "seven tasks", "Trainer, bf16"]


@dataclass(frozen=True)
class Part:
    """One command, whose output is a file."""

    file: str
    words: Sequence[str]
    seconds: float
    """Most that it may take."""


def parts(corpus: Path, rehearse: bool) -> list[Part]:
    """Return what is run, the quickest first."""
    config = "configs/bench/h200_base.yaml"
    bench = [
        "launch.py",
        "bench",
        config,
        "--corpus",
        str(corpus),
        "--json",
        "training.compile=true",
    ]
    trainer = [
        "benchmarks/vs_hf_trainer.py",
        "--corpus",
        str(corpus),
        "--length",
        "512",
        "--rounds",
        "1",
        "--sides",
        *SIDES,
    ]
    if rehearse:
        bench = [
            *bench[:-1],
            "training.compile=false",
            "training.precision=fp32",
            "data.loader_workers=0",
            *TINY,
        ]
    count = ["--steps", "2", "--warmup", "1"] if rehearse else ["--steps", "20", "--warmup", "8"]
    setup = (
        ["--setup", "cpu", "--steps", "1"] if rehearse else ["--setup", "gpu_base", "--steps", "10"]
    )
    tests = (
        []
        if rehearse
        else [Part("tests.txt", ["-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider"], 150)]
    )
    return [
        Part("attention.json", [__file__, "--part", "attention"], 60),
        Part("losses.json", [__file__, "--part", "losses", "--corpus", str(corpus)], 90),
        *tests,
        Part("bench.json", [*bench, *count], 120),
        Part("trainer.md", [*trainer, *setup], 300 if rehearse else 200),
    ]


def prepare(folder: Path, rehearse: bool) -> Path:
    """Make a corpus of the source text of the standard library."""
    sources = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[: 40 if rehearse else 200]
    rows = (
        json.dumps({"text": source.read_text(encoding="utf-8", errors="replace")}) + "\n"
        for source in sources
    )
    (folder / "text.jsonl").write_text("".join(rows), encoding="utf-8")
    size = "2000" if rehearse else "30522"
    words = [
        "launch.py",
        "prepare",
        "--input",
        folder / "text.jsonl",
        "--output",
        folder / "corpus",
        "--language",
        "en",
    ]
    subprocess.run(
        [sys.executable, *map(str, words), "--vocabulary-size", size],
        cwd=ROOT,
        env=os.environ | _ends_with_this_process(),
        check=True,
        capture_output=True,
    )
    return folder / "corpus"


def run_part(part: Part, output: Path, left: float) -> dict[str, Any]:
    """Run a part, keep what it prints, and return how it ended; left: seconds for all that is still
    to run.
    """
    start, limit = time.perf_counter(), min(part.seconds, left)
    if limit < 1:
        return {"ended": "not run: no time was left", "seconds": 0.0}
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'benchmarks'}",
        "HF_HUB_OFFLINE": "1",
    }
    environment |= _ends_with_this_process()
    try:
        words = [sys.executable, *map(str, part.words)]
        done = subprocess.run(
            words,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
        text, errors, ended = done.stdout, done.stderr, f"exit code {done.returncode}"
    except subprocess.TimeoutExpired as late:
        text, errors, ended = _text(late.stdout), _text(late.stderr), f"stopped after {limit:.0f} s"
    (output / part.file).write_text(text if text.strip() else errors[-4000:], encoding="utf-8")
    found = {"ended": ended, "seconds": round(time.perf_counter() - start, 1)}
    return found if ended == "exit code 0" else found | {"errors": errors[-1500:]}


def _ends_with_this_process() -> dict[str, str]:
    from ernie_cmtl.parent_process import ends_with_this_process

    return ends_with_this_process()


def _text(stream: str | bytes | None) -> str:
    return stream.decode(errors="replace") if isinstance(stream, bytes) else stream or ""


def losses(corpus: Path) -> dict[str, Any]:
    """Train 50 steps of a small encoder on the CPU in fp32 and on this device in fp32 and bf16,
    without dropout.
    """
    import torch

    from ernie_cmtl.config import load_run_config
    from ernie_cmtl.run.run import Run
    from ernie_cmtl.training.distributed import Workers

    small = [
        "encoder.layers=2",
        "encoder.hidden_size=128",
        "encoder.attention_heads=2",
        "encoder.dropout=0.0",
    ]
    shape = [
        "data.rows=8",
        "data.rows_per_group=4",
        "data.row_length=128",
        "data.loader_workers=0",
        "training.compile=false",
    ]
    config = load_run_config(
        ROOT / "configs/bench/h200_base.yaml", [f"corpus={corpus}", *small, *shape]
    )

    def trained(precision: Any) -> list[float]:
        run = Run(config)
        trainer = run.new_trainer(run.new_model(), Workers(precision))
        return [
            float(result.loss)
            for result in trainer.run(run.steps_from(run.first_ledger(), 50, 0, 1))
        ]

    found = {precision: trained(precision) for precision in ("fp32", "bf16")}
    if torch.cuda.is_available():
        words = [sys.executable, __file__, "--part", "losses", "--corpus", str(corpus)]
        hidden = os.environ | {"CUDA_VISIBLE_DEVICES": ""} | _ends_with_this_process()
        done = subprocess.run(
            words, cwd=ROOT, env=hidden, capture_output=True, text=True, check=True
        )
        found["fp32 on the CPU"] = json.loads(done.stdout)["losses"]["fp32"]
        exact = found["fp32 on the CPU"]
        worst = {
            name: max(abs(a / b - 1) for a, b in zip(row, exact, strict=True))
            for name, row in found.items()
        }
        return {"largest_relative_difference_from_the_cpu": worst, "losses": found}
    return {"losses": found}


def attention() -> dict[str, Any]:
    """Say what the variable-length kernel takes here, and whether a window gives what a mask
    gives.
    """
    import torch

    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError as error:
        return {"torch": torch.__version__, "varlen_attn": f"none: {error}"}
    parameters = list(inspect.signature(varlen_attn).parameters)
    found: dict[str, Any] = {"torch": torch.__version__, "parameters": parameters}
    if not torch.cuda.is_available() or "window_size" not in parameters:
        return found
    torch.manual_seed(0)
    tokens, heads, size, reach = 512, 12, 64, 64
    query, key, value = torch.randn(
        3, tokens, heads, size, device="cuda", dtype=torch.bfloat16
    ).unbind(0)
    bounds = torch.tensor([0, tokens], device="cuda", dtype=torch.int32)
    got = varlen_attn(query, key, value, bounds, bounds, tokens, tokens, window_size=(reach, reach))
    places = torch.arange(tokens, device="cuda")
    near = (places[:, None] - places[None, :]).abs() <= reach
    rows = [states.float().transpose(0, 1)[None] for states in (query, key, value)]
    expected = torch.nn.functional.scaled_dot_product_attention(*rows, attn_mask=near)[0].transpose(
        0, 1
    )
    return found | {"largest_difference_with_a_window": float((got.float() - expected).abs().max())}


def about_this_machine() -> dict[str, Any]:
    import torch
    import transformers

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    versions = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }
    return {"device": device, "cuda": torch.version.cuda, **versions}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--part", choices=["attention", "losses"], help=argparse.SUPPRESS)
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    # Nothing needs to be installed.
    sys.path.insert(0, str(ROOT))
    if given.part:
        from ernie_cmtl.parent_process import stop_with_parent

        stop_with_parent()
        print(json.dumps(attention() if given.part == "attention" else losses(given.corpus)))
        return 0
    machine = about_this_machine()
    if machine["cuda"] is None and not given.rehearse:
        print("no CUDA device: nothing is run; --rehearse goes through the parts on a CPU")
        return 0
    given.output.mkdir(parents=True, exist_ok=True)
    end = time.perf_counter() + SECONDS
    summary: dict[str, Any] = {"machine": machine}
    with tempfile.TemporaryDirectory() as folder:
        corpus = prepare(Path(folder), given.rehearse)
        for part in parts(corpus, given.rehearse):
            summary[part.file] = run_part(part, given.output, end - time.perf_counter())
            print(
                part.file,
                summary[part.file]["ended"],
                f"{summary[part.file]['seconds']} s",
                flush=True,
            )
            (given.output / "summary.json").write_text(
                json.dumps(summary, indent=1), encoding="utf-8"
            )
    return int(
        any(part["ended"] != "exit code 0" for name, part in summary.items() if name != "machine")
    )


if __name__ == "__main__":
    sys.exit(main())
