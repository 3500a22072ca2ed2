"""Words are the same whether a text was tagged before or not."""

import rjieba

from ernie_cmtl.corpus.tokens.jieba_words import Segmenter
from tests.support.corpora import sample_texts


def test_words_of_a_tagged_text_are_those_of_the_segmenter() -> None:
    segmenter = Segmenter()
    texts = [*sample_texts("zh"), "abc 龘龘 1,234.5元 ナシュ\n\n王国", ""]
    lengths = {text: [len(word) for word in rjieba.cut(text)] for text in texts}
    assert all(segmenter.word_lengths(text).tolist() == lengths[text] for text in texts)
    assert all([word for word, _ in segmenter.tagged(text)] == rjieba.cut(text) for text in texts)
    # All were tagged before the first is asked for; none is kept after that.
    assert all(segmenter.word_lengths(text).tolist() == lengths[text] for text in reversed(texts))
    assert not segmenter._lengths
    assert all(segmenter.word_lengths(text).tolist() == lengths[text] for text in texts)
