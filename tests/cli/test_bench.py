"""The verb bench on the command line."""

from tests.support.command_line import Line, call, result_of

PARTS = ["data", "forward", "backward", "optimizer", "communication", "total"]


def test_bench_reports_the_documented_measures(line: Line) -> None:
    found = result_of("bench", line.config, "--steps", "2", "--warmup", "1")
    documented = {
        "mfu",
        "packing_efficiency",
        "data_wait_share",
        "peak_memory_bytes",
        "real_tokens_per_second",
        "step_seconds",
    }
    assert documented <= set(found)
    assert found["peak_tflops_from"] == "measured"
    assert 0.5 < found["packing_efficiency"] <= 1
    assert list(found["step_seconds"]) == PARTS
    assert (
        result_of("bench", line.config, "--steps", "2", "--warmup", "1", "--peak-tflops", "0.001")[
            "mfu"
        ]
        > 0
    )


def test_people_see_a_table_with_the_share_of_each_part_and_no_python(line: Line) -> None:
    shown = call("bench", line.config, "--steps", "2", "--warmup", "1").stdout
    rows = {row.rpartition("  ")[0].strip(): row.split() for row in shown.splitlines()}
    assert not set("{}'") & set(shown)
    parts = [words for words in rows.values() if words[0] == "step_seconds"]
    assert [words[1] for words in parts] == PARTS
    assert parts[-1][3] == "100%"
    assert shown.splitlines()[-1].startswith("bottleneck: ")
