"""English names by letter case."""

import pytest

from tests.support.span_layers import found


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("We met Elizabeth Bennet there.", ["Elizabeth Bennet"]),
        ("she studied at the University of Oxford in England", ["University of Oxford", "England"]),
        ("a loan from the Bank of the West was paid", ["Bank of the West"]),
        ("a book by J. R. Smith and J.R.R. Tolkien", ["J. R. Smith", "J.R.R. Tolkien"]),
        ("when George W. Bush spoke to the U.S. Senate", ["George W. Bush", "U.S. Senate"]),
        ("Mr. Darcy bowed, and Mrs. Bennet smiled.", ["Mr. Darcy", "Mrs. Bennet"]),
        (
            "in Darcy's house, Rus' land, O'Brien's and Darcy’s dog",
            ["Darcy", "Rus", "O'Brien", "Darcy"],
        ),
        ("from Coca-Cola to Stratford-upon-Avon", ["Coca-Cola", "Stratford-upon-Avon"]),
        ("of AT&T, S&P and Johnson & Johnson", ["AT&T", "S&P", "Johnson & Johnson"]),
        ("shares of Rockwell International Corp. rose", ["Rockwell International Corp."]),
        (
            "the painter Vincent van Gogh and Ludwig van der Rohe",
            ["Vincent van Gogh", "Ludwig van der Rohe"],
        ),
        ("near Kraków and Łódź", ["Kraków", "Łódź"]),
        ("says Helane Becker of Shearson Lehman", ["Helane Becker", "Shearson Lehman"]),
        ("she met Mr. Kim of the Treasury", ["Mr. Kim", "Treasury"]),
        ("aboard Apollo 11 and a Boeing 747", ["Apollo", "Boeing"]),
    ],
)
def test_names_are_found_whole(text, names):
    assert found("capitalized_names", "en", text) == names


@pytest.mark.parametrize(
    "text",
    [
        "Outside it rained. Someone laughed! Perhaps? “Nobody came,” she said, “Everyone left.”",
        "Then I'm told that I was there on Monday, in January, and The rest.",
        "CHAPTER ONE\n\nTHE END OF IT ALL\n\nthey met",
        "vitamin C and plan B",
        "Heading\n\nwords",
        "by @KathyReid on #FunnyDay at http://t.co/IVx79 with anti-Western and low-Earth ones",
        "",
    ],
)
def test_a_capital_that_is_due_to_its_place_is_no_name(text):
    assert found("capitalized_names", "en", text) == []


def test_a_first_word_is_a_name_if_it_has_its_capital_elsewhere_too():
    assert (
        found(
            "capitalized_names", "en", "Kyrgyzstan is small. It is said that Kyrgyzstan has hills."
        )
        == ["Kyrgyzstan"] * 2
    )


def test_a_first_word_is_no_name_if_it_stands_in_small_letters_elsewhere():
    assert found(
        "capitalized_names", "en", "Former President Bush spoke. The former man bowed."
    ) == ["President Bush"]
    assert found("capitalized_names", "en", "Hope is the thing. With hope she met Hope there.") == [
        "Hope"
    ]


def test_what_follows_a_function_word_at_the_start_is_judged_on_its_own():
    assert found("capitalized_names", "en", "The Senate voted. In Rome it rained.") == [
        "Senate",
        "Rome",
    ]


def test_fewest_words_are_an_option():
    text = "in Rome with Elizabeth Bennet and the University of Oxford"
    assert found("capitalized_names", "en", text, minimum_words=2) == [
        "Elizabeth Bennet",
        "University of Oxford",
    ]
