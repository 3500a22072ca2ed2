"""Chinese names."""

from tests.corpus.spans.found import found

TEXT = "美国总统在北京大学发表演讲，\n\n王小明说：河北省石家庄市很好。"


def test_persons_places_and_institutions_are_found_in_place():
    assert found("tagged_names", "zh", TEXT) == ["美国", "北京大学", "王小明", "河北省", "石家庄市"]


def test_tags_and_length_are_options():
    assert found("tagged_names", "zh", TEXT, tags=["nt"]) == ["北京大学"]
    assert found("tagged_names", "zh", TEXT, minimum_characters=4) == ["北京大学", "石家庄市"]


def test_places_count_characters_beyond_the_first_plane():
    assert found("tagged_names", "zh", "𠮷😀在北京大学 Hello 北京") == ["北京大学", "北京"]


def test_text_without_chinese_has_no_names():
    assert found("tagged_names", "zh", "") == found("tagged_names", "zh", "Peking University, 1898.") == []
