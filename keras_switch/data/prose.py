"""English prose out of Python sources: pure functions on text."""

import re
import textwrap
from collections.abc import Iterator

_TRIPLE_QUOTED = re.compile(r'"""(.*?)"""|\'\'\'(.*?)\'\'\'', re.DOTALL)
_BLANK_LINE = re.compile(r"\n\s*\n")
_UNDERLINED = re.compile(r"(?m)^.*\n\s*[-=~^]{3,}\s*$")
_ROLE = re.compile(r":[a-z:]+:`[~!]?([^`<]+?)(?: <[^>]*>)?`")
_LITERAL = re.compile(r"``?([^`\n]+)``?")
_LIST_MARK = re.compile(r"^(?:\*|-|[A-Za-z_]\w*:|\w+ :|\d+\.) +")
_WHITESPACE = re.compile(r"\s+")
_WORD = re.compile(r"[A-Za-z]+")
_PLAIN = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\\": None}
)
_CODE_STARTS = (">>>", "$", "#", "|", "+--", "@", "..", "```")
_CODE_PARTS = (" = ", "self.", "def ", "==")
_FUNCTION_WORDS = {
    *("the", "a", "an", "of", "to", "and", "in", "is", "for", "that", "this", "be"),
    *("are", "it", "as", "with", "on", "by", "if", "or", "not", "from", "which"),
    *("can", "will", "at", "has"),
}


def docstrings(source: str) -> Iterator[str]:
    """Yields the triple-quoted strings of a Python source that start a line.

    A scan eight times as fast as `ast`. All quotes are paired up from the top, those of
    assigned strings too: taking only quotes at the start of a line would pair a closing
    one with the next opening one, and yield code.
    """
    for match in _TRIPLE_QUOTED.finditer(source):
        line_start = source.rfind("\n", 0, match.start()) + 1
        if source[line_start : match.start()].strip(" \trR"):
            continue  # an assigned string or an argument
        first, _, rest = (match[1] or match[2] or "").partition("\n")
        yield f"{first.strip()}\n{textwrap.dedent(rest)}"


def paragraphs(text: str) -> Iterator[str]:
    """Yields the paragraphs of `text` that are English sentences, one line each."""
    for paragraph in _BLANK_LINE.split(text):
        if len(paragraph) >= 60:
            line = _clean(paragraph)
            if _is_prose(line):
                yield line


def _clean(paragraph):
    """Drops mark-up, headings, list marks and line breaks."""
    text = _LITERAL.sub(r"\1", _ROLE.sub(r"\1", paragraph)).translate(_PLAIN)
    text = text.replace("**", "").replace("*note ", "")
    text = _WHITESPACE.sub(" ", _UNDERLINED.sub(" ", text)).strip()
    return _LIST_MARK.sub("", text)


def _is_prose(line):
    """Tells sentences from code, tables and lists of arguments."""
    if len(line) < 60 or line.startswith(_CODE_STARTS):
        return False
    if any(part in line for part in _CODE_PARTS):
        return False
    words = _WORD.findall(line)
    letters = sum(map(len, words)) + line.count(" ")
    if len(words) < 10 or letters < 0.8 * len(line):
        return False
    return sum(word.lower() in _FUNCTION_WORDS for word in words) >= 0.15 * len(words)
