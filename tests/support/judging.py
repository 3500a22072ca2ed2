"""A model to judge: small, untrained, with weights large enough that every part of it shows."""

from pathlib import Path
from typing import Any

import torch
from transformers import ErnieConfig, ErnieForMaskedLM, PreTrainedTokenizerBase

from ernie_cmtl.corpus.store.corpus import Corpus
from ernie_cmtl.evaluation.masked_lm import MaskedLanguageModel

OBVIOUS = Path(__file__).with_name("obvious_pairs.jsonl")


def small_model(corpus: Corpus, **settings: Any) -> MaskedLanguageModel:
    tokenizer: PreTrainedTokenizerBase = corpus.tokenizer
    tokenizer.model_max_length = 40
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    config = ErnieConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=40,
        use_task_id=True,
        task_type_vocab_size=3,
        **sizes,
        **settings,
    )
    model = ErnieForMaskedLM(config).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return MaskedLanguageModel("small", model, tokenizer)
