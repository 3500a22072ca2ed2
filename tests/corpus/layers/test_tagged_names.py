"""Chinese names."""

from tests.support.span_layers import found

TEXT = "美国总统在北京大学发表演讲，\n\n王小明说：河北省石家庄市很好。"


def test_persons_places_and_institutions_are_found_in_place():
    assert found("tagged_names", "zh", TEXT) == ["美国", "北京大学", "王小明", "河北省", "石家庄市"]


def test_tags_and_length_are_options():
    assert found("tagged_names", "zh", TEXT, tags=["nt"]) == ["北京大学"]
    assert found("tagged_names", "zh", "馆长邓美莲在北京") == ["邓美莲", "北京"]
    assert found("tagged_names", "zh", "馆长邓美莲在北京", unknown_words=False) == ["北京"]
    assert found("tagged_names", "zh", TEXT, minimum_characters=4) == ["北京大学", "石家庄市"]


def test_places_count_characters_beyond_the_first_plane():
    assert found("tagged_names", "zh", "𠮷😀在北京大学 Hello 北京") == ["北京大学", "北京"]


def test_text_without_chinese_has_no_names():
    assert (
        found("tagged_names", "zh", "")
        == found("tagged_names", "zh", "Peking University, 1898.")
        == []
    )


def test_the_parts_of_a_foreign_name_are_one():
    assert found("tagged_names", "zh", "多米尼克·佩罗与约翰二世在北京。") == [
        "多米尼克·佩罗",
        "约翰二世",
        "北京",
    ]
    assert found("tagged_names", "zh", "·佩罗、约翰") == ["佩罗", "约翰"]


def test_ordinary_words_that_the_dictionary_calls_names_are_left_out():
    assert found("tagged_names", "zh", "城市西南的望远镜") == []
