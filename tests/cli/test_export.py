"""The verb export on the command line."""

import pytest
from transformers import AutoModelForMaskedLM

from tests.support.command_line import Line


def test_export_writes_a_model_that_loads(line: Line) -> None:
    assert line.exported == {
        "path": str(line.folder / "model"),
        "format": "hf",
        "max_abs_logit_difference": 0.0,
        "max_abs_log_probability_difference": pytest.approx(0, abs=1e-5),
        "max_abs_hidden_state_difference": pytest.approx(0, abs=1e-5),
    }
    assert AutoModelForMaskedLM.from_pretrained(line.folder / "model").config.hidden_size == 32
