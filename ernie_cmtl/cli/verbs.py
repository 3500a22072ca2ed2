"""The verbs. Each exits with 0, with 2 on a mistake of the user's, with 1 on a fault, with 130 when a run was stopped."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table

from ernie_cmtl.cli.calls import Json, Parameters, TaskModules, add_tasks, console, one_message, print_result
from ernie_cmtl.cli.tasks import tasks_app
from ernie_cmtl.errors import UserError

# What a verb needs is imported inside it: help and mistakes answer at once, and prepare stays without torch.

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)
app.add_typer(tasks_app, name="tasks")

Overrides = Annotated[list[str] | None, typer.Argument(help="Settings as key.sub=value.", show_default=False)]
CorpusFolder = Annotated[Path | None, typer.Option("--corpus", help="Use this corpus in place of the config's.")]
ConfigFile = Annotated[Path, typer.Argument(help="YAML file of a run.", show_default=False)]
RunFolder = Annotated[Path, typer.Argument(help="Folder of a run.", show_default=False)]


def verb(epilog: str) -> Callable[[Callable[Parameters, None]], Callable[Parameters, None]]:
    """Register a function as a verb; a mistake of the user's becomes one message and exit code 2."""

    def register(function: Callable[Parameters, None]) -> Callable[Parameters, None]:
        return app.command(epilog=epilog)(one_message(function))

    return register


@verb("Example: ernie-cmtl prepare --input wiki=articles.parquet books=novels/ --output corpus --language en")
def prepare(
    output: Annotated[Path | None, typer.Option("--output", help="Folder for a new corpus.")] = None,
    corpus: Annotated[Path | None, typer.Option("--corpus", help="Add to this corpus: text, layers, labelled rows.")] = None,
    language: Annotated[str | None, typer.Option("--language", help="en or zh; of a new corpus.")] = None,
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="PATH or SOURCE=PATH: a file, folder, glob or datasets:NAME.")
    ] = None,
    more: Annotated[
        list[str] | None, typer.Argument(help="More inputs, and settings as key.sub=value.", show_default=False)
    ] = None,
    layers: Annotated[list[str] | None, typer.Option("--layers", help="Layers, in place of the language's own.")] = None,
    labelled: Annotated[list[str] | None, typer.Option("--labelled", help="NAME=FILE: labelled rows beside the text.")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="A fast tokenizer of transformers; default: train one.")] = None,
    vocabulary_size: Annotated[int | None, typer.Option(help="Size of the trained vocabulary; default 30,522.")] = None,
    documents: Annotated[str | None, typer.Option(help="In .txt: file (default) or blank_line separates documents.")] = None,
    layer_module: Annotated[list[str] | None, typer.Option(help="Python module of a layer of your own.")] = None,
    processes: Annotated[int, typer.Option(min=0, help="Worker processes; 0: one a core.")] = 0,
    restart: Annotated[bool, typer.Option("--restart", help="Give up an unfinished build in the folder.")] = False,
    as_json: Json = False,
) -> None:
    """Make an annotated corpus out of raw text, add to one, or go on with a build that was broken off."""
    from ernie_cmtl.cli.prepare_words import Wish, read_wish
    from ernie_cmtl.cli.show_corpus import BuildBar, corpus_table, progress_bar
    from ernie_cmtl.corpus.build.pipeline import prepare as build
    from ernie_cmtl.corpus.layers import add_layer_module

    for module in layer_module or []:
        add_layer_module(module)
    flags = {
        "tokenizer.name_or_path": tokenizer,
        "tokenizer.vocabulary_size": vocabulary_size,
        "reader.text_documents": documents,
    }
    wish = Wish(output, corpus, language, [*(inputs or []), *(more or [])], layers or [], labelled or [], flags)
    request = read_wish(wish)
    with progress_bar(console) as progress:
        result = build(request, processes or os.cpu_count() or 1, BuildBar(progress), restart)
    print_result(result, as_json, lambda: corpus_table(result))


@verb("Example: ernie-cmtl inspect sentence_reordering --corpus corpus segments=4")
def inspect(
    task: Annotated[str, typer.Argument(help="Name of a task.", show_default=False)],
    corpus: Annotated[Path, typer.Option(help="Folder of a corpus.")],
    options: Annotated[list[str] | None, typer.Argument(help="Options of the task as key=value.", show_default=False)] = None,
    samples: Annotated[int, typer.Option(min=1, help="How many examples.")] = 3,
    length: Annotated[int, typer.Option(min=16, help="Row length.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other samples.")] = 1,
    task_module: TaskModules = None,
    as_json: Json = False,
) -> None:
    """Show what a task does to the text: sentences, units, input and labels."""
    from ernie_cmtl.cli.show_task import show_example
    from ernie_cmtl.config import TaskConfig
    from ernie_cmtl.corpus.store.corpus import Corpus
    from ernie_cmtl.data.streams import SampleStream
    from ernie_cmtl.run.assemble import make_instance
    from ernie_cmtl.settings import validate

    add_tasks(task_module)
    opened = Corpus(corpus)
    instance = make_instance(task, 0, validate(TaskConfig, {}, options or [], task), opened)
    stream = SampleStream(instance, opened.text("train", instance.task.options.rows), length, seed)
    rows = [show_example(opened, stream, number) for number in range(min(samples, len(stream)))]
    print_result([plain for plain, _ in rows], as_json, lambda: Group(*(shown for _, shown in rows)))


@verb("Example: ernie-cmtl plan configs/paper/continual_multitask.yaml --gpus 8 --peak-tflops 989 --mfu 0.35")
def plan(
    config: ConfigFile,
    overrides: Overrides = None,
    corpus: CorpusFolder = None,
    workers: Annotated[int, typer.Option(min=1, help="Show what each of so many workers gets.")] = 1,
    gpus: Annotated[int, typer.Option(min=1, help="Devices, for the hours.")] = 1,
    peak_tflops: Annotated[float | None, typer.Option(min=1e-6, help="Peak of one device, for the hours.")] = None,
    mfu: Annotated[float | None, typer.Option(min=1e-6, max=1, help="Part of the peak that is reached, for the hours.")] = None,
    task_module: TaskModules = None,
    as_json: Json = False,
) -> None:
    """Show the stage table of a run and what it costs, before anything runs."""
    from ernie_cmtl.cli.show_plan import plan_table
    from ernie_cmtl.config import load_run_config
    from ernie_cmtl.run.describe import describe_plan

    add_tasks(task_module)
    settings = load_run_config(config, _with_corpus(overrides, corpus))
    result = describe_plan(settings, workers, gpus, peak_tflops, mfu)
    print_result(result, as_json, lambda: plan_table(result))


@verb("Example: ernie-cmtl pretrain configs/quickstart.yaml optimizer.learning_rate=3e-4")
def pretrain(
    config: ConfigFile,
    overrides: Overrides = None,
    corpus: CorpusFolder = None,
    workers: Annotated[
        str, typer.Option("--workers", help="Processes that share the work on this machine: a number; auto: one a GPU.")
    ] = "1",
    task_module: TaskModules = None,
    as_json: Json = False,
) -> None:
    """Train a run; if its folder holds a checkpoint, go on from there."""
    from ernie_cmtl.cli.show_run import train
    from ernie_cmtl.config import load_run_config

    add_tasks(task_module)
    settings = load_run_config(config, _with_corpus(overrides, corpus))
    if workers == "1":
        train(settings, as_json)
        return
    from ernie_cmtl.cli.workers import count_workers, train_with_workers

    train_with_workers(count_workers(workers), settings, as_json, task_module)


@verb("Example: ernie-cmtl extend runs/quickstart --task sentence_order --budget 40")
def extend(
    run: RunFolder,
    task: Annotated[str, typer.Option("--task", help="Name of the new task in the run.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(help="Options of the task as key=value, settings as key.sub=value.", show_default=False),
    ] = None,
    type: Annotated[str | None, typer.Option("--type", help="Which task it is; default: its name.")] = None,
    budget: Annotated[int | None, typer.Option(help="Its iterations; default: the most that an old task has.")] = None,
    review: Annotated[
        float | None, typer.Option(help="Part of its iterations that each old task does again; default: 1/(old tasks + 2).")
    ] = None,
    stage_name: Annotated[str | None, typer.Option(help="Name of the new stage; default: that of the task.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the table of stages.")] = False,
    task_module: TaskModules = None,
    as_json: Json = False,
) -> None:
    """Add a task to a finished run, in a stage of its own at the end, and train on to there."""
    from ernie_cmtl.cli.show_plan import plan_table
    from ernie_cmtl.cli.show_run import train
    from ernie_cmtl.run.describe import describe_plan
    from ernie_cmtl.run.extend import Extension, extended_config

    add_tasks(task_module)
    settings = extended_config(run, Extension(task, type, budget, review, stage_name, words or []))
    plan = describe_plan(settings, workers=1, gpus=1, peak_tflops=None, mfu=None)
    if dry_run:
        print_result({"run": str(run), "plan": plan}, as_json, lambda: plan_table(plan))
        return
    # Of many workers one speaks.
    if os.environ.get("RANK", "0") == "0":
        console.print(plan_table(plan))
    train(settings, as_json, {"plan": plan})


@verb("Example: ernie-cmtl evaluate runs/quickstart --minimal-pairs blimp/ --sts sts.tsv")
def evaluate(
    model: Annotated[str, typer.Argument(help="Folder of a run, or a model of transformers.", show_default=False)],
    settings: Annotated[
        list[str] | None, typer.Argument(help="Of held-out examples, as tasks.NAME.OPTION=value.", show_default=False)
    ] = None,
    step: Annotated[int | None, typer.Option(help="A checkpoint's step.")] = None,
    corpus: CorpusFolder = None,
    minimal_pairs: Annotated[Path | None, typer.Option(help="JSONL of good and bad sentences, or a folder of such.")] = None,
    rest_of_word: Annotated[bool, typer.Option("--rest-of-word", help="Mask a token with the rest of its word.")] = False,
    sts: Annotated[Path | None, typer.Option(help="TSV or JSONL of sentence1, sentence2, score.")] = None,
    sources: Annotated[bool, typer.Option("--sources/--no-sources", help="Held-out tasks by source too.")] = True,
    task_module: TaskModules = None,
    as_json: Json = False,
) -> None:
    """Measure the held-out tasks of a run; judge it, or any model, on minimal pairs and on similarity without training."""
    from ernie_cmtl.cli.show_judged import judged_tables
    from ernie_cmtl.run.judge import Measures, judge

    add_tasks(task_module)
    result = judge(model, step, corpus, settings or [], Measures(minimal_pairs, rest_of_word, sts, sources))
    print_result(result, as_json, lambda: Group(*judged_tables(result)))


@verb("Example: ernie-cmtl finetune runs/quickstart/run --task configs/finetune/cola.yaml --data sets train.max_steps=100")
def finetune(
    model: Annotated[str, typer.Argument(help="A run, an export, or a model of transformers.", show_default=False)],
    task: Annotated[Path, typer.Option("--task", help="YAML file of a recipe.")],
    overrides: Overrides = None,
    data: Annotated[Path, typer.Option("--data", help="Folder that the files of the recipe are relative to.")] = Path(),
    random: Annotated[
        bool, typer.Option("--random", help="Begin with an encoder of the same size that learned nothing.")
    ] = False,
    step: Annotated[int | None, typer.Option(help="A checkpoint's step, of a run; default: the newest.")] = None,
    task_module: TaskModules = None,
    as_json: Json = False,
) -> None:
    """Fine-tune an encoder on a labelled set with several seeds, and report mean and spread of its scores."""
    from ernie_cmtl.cli.show_finetuning import result_table, show_model
    from ernie_cmtl.finetuning.finetune import finetune as carry_out
    from ernie_cmtl.finetuning.recipe import Recipe
    from ernie_cmtl.run.exported import as_pretrained
    from ernie_cmtl.settings import load

    add_tasks(task_module)
    recipe = load(Recipe, task, [*(overrides or []), *(["init=random"] if random else [])])
    with as_pretrained(model, step) as name:
        result = carry_out(name, recipe, data, lambda run: show_model(console, run))
    result = {"model": model, "task": str(task)} | result
    print_result(result, as_json, lambda: result_table(f"{model}, {task.stem}", result))


@verb("Example: ernie-cmtl export runs/quickstart --output model")
def export(
    run: RunFolder,
    output: Annotated[Path, typer.Option("--output", help="Folder for the model.")],
    format: Annotated[str, typer.Option("--format", help="hf: transformers.")] = "hf",
    step: Annotated[int | None, typer.Option(help="A checkpoint's step; default: the newest.")] = None,
    task_module: TaskModules = None,
    as_json: Json = False,
) -> None:
    """Write the encoder for transformers, reload it with the stock classes and compare."""
    from ernie_cmtl.run.saved import export_run

    if format != "hf":
        raise UserError(f"unknown format {format!r}; accepted: hf")
    add_tasks(task_module)
    result = export_run(run, output, step)
    line = f"exported to {result['path']}; reloaded, largest logit difference {result['max_abs_logit_difference']:g}"
    print_result(result, as_json, lambda: line)


@verb("Example: ernie-cmtl bench configs/quickstart.yaml --steps 20")
def bench(
    config: ConfigFile,
    overrides: Overrides = None,
    corpus: CorpusFolder = None,
    steps: Annotated[int, typer.Option(min=1, help="Timed steps.")] = 20,
    warmup: Annotated[int, typer.Option(min=0, help="Steps before.")] = 3,
    peak_tflops: Annotated[float | None, typer.Option(help="Peak of the device, for MFU.")] = None,
    data_only: Annotated[bool, typer.Option("--data-only", help="Only make the batches.")] = False,
    task_module: TaskModules = None,
    as_json: Json = False,
) -> None:
    """Time the steps of a run without writing anything."""
    from ernie_cmtl.config import load_run_config
    from ernie_cmtl.run.bench import bench as measure

    add_tasks(task_module)
    result = measure(load_run_config(config, _with_corpus(overrides, corpus)), steps, warmup, peak_tflops, data_only)

    def show() -> RenderableType:
        table = Table("measure", "value")
        for name, value in result.items():
            table.add_row(name, f"{value:,}" if isinstance(value, int | float) else str(value))
        return table

    print_result(result, as_json, show)


def _with_corpus(overrides: list[str] | None, corpus: Path | None) -> list[str]:
    return [*(overrides or []), *([f"corpus={corpus}"] if corpus else [])]


def main() -> None:
    """Run the verb of the command line."""
    app()
