import pytest

from keras_switch.data import prose

SENTENCE = "The quick brown fox jumps over the lazy dog that is asleep in the sun."


def test_docstrings_are_the_triple_quoted_strings_that_start_a_line():
    source = '''
X = """an assigned string

of two paragraphs"""

def f():
    r"""First line.

    Indented line.
    """
    return g("""an argument""")

\'\'\'Another.\'\'\'
'''
    assert list(prose.docstrings(source)) == [
        "First line.\n\nIndented line.\n",
        "Another.\n",
    ]


def test_mark_up_and_line_breaks_are_gone():
    text = f"""
Heading
-------
* The ``quick`` :class:`~animals.brown` fox jumps over the `lazy`
  dog \u201cthat is\u201d **asleep** in the sun.

{SENTENCE}
"""
    assert list(prose.paragraphs(text)) == [
        'The quick animals.brown fox jumps over the lazy dog "that is" asleep in the '
        "sun.",
        SENTENCE,
    ]


@pytest.mark.parametrize(
    "paragraph",
    [
        "Too short a sentence for this corpus.",
        ">>> the_list_of_all = [a for a in the_list] and so it is that it can be on",
        "x = the value of the thing that is to be computed by the function in the end",
        "if self.that is not the one that it was, return to the beginning of the list",
        "12 34 56 78 90 12 34 56 78 | 12 34 56 78 90 | 12 34 56 78 90 12 34 56 78 90",
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda omicron sigma",
    ],
)
def test_what_is_no_english_sentence_is_left_out(paragraph):
    assert list(prose.paragraphs(paragraph)) == []
