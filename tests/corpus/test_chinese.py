"""Words are the same whether a text was tagged before or not."""

import rjieba

from ernie_cmtl.corpus.chinese import Segmenter
from tests.conftest import sample_texts


def test_words_of_a_tagged_text_are_those_of_the_segmenter() -> None:
    segmenter = Segmenter()
    for text in [*sample_texts("zh"), "abc 龘龘 1,234.5元 ナシュ\n\n王国", ""]:
        expected = rjieba.cut(text)
        assert segmenter.words(text) == expected
        assert [word for word, _ in segmenter.tagged(text)] == expected
        assert segmenter.words(text) == expected
        # Another text in between, and an equal one that is another object.
        assert segmenter.words("别的文字") == rjieba.cut("别的文字")
        assert segmenter.words(text + "。") == rjieba.cut(text + "。")
