"""Manual pages and their translations: aligned paragraphs of technical prose.

Debian's packages `manpages` and `manpages-dev` hold the pages, and such as
`manpages-fr` and `manpages-fr-dev` their translations, which keep every paragraph.
Their releases differ, and so do the pairs: a published number should name them.
"""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

from softmax_jax.errors import UserError

BREAKS = {".PP", ".P", ".LP", ".SH", ".SS", ".TP", ".IP", ".HP"}
CODE = {".nf": True, ".EX": True, ".TS": True, ".fi": False, ".EE": False, ".TE": False}
TEXT = {".IP", ".B", ".I", ".SM", ".SB", ".UR", ".MT"}
JOINED = {".BR", ".RB", ".IR", ".RI", ".BI", ".IB"}  # two fonts, no space between
NOTICE = 4  # blocks about the translators, which end every translation
ESCAPES = {r"\-": "-", r"\e": "\\", r"\~": " ", r"\ ": " ", r"\(aq": "'"} | {
    r"\(dq": '"', r"\(lq": "“", r"\(rq": "”", r"\(em": "—", r"\(co": "©", r"\(ha": "^"
}  # fmt: skip
ESCAPE = re.compile(r"\\(?:f(?:\[\w*\]|\(\w\w|\w)|s[-+]?\d+|\((..)|\[\w+\]|.)")
COMMENT = re.compile(r"[.']\\[\"#]")
ARGUMENT = re.compile(r'"([^"]*)"?|(\S+)')


def manpages(folder: str, source: str, target: str) -> list[tuple[str, str]]:
    """The paragraphs of all pages in `folder` that are in both languages.

    A page counts if its translation has as many paragraphs. Left out are headings,
    code, tables, and paragraphs that the translation repeats unchanged.
    """
    roots = [_root(folder, language) for language in (source, target)]
    pairs = []
    for path in sorted(roots[0].glob("man[1-8]/*.gz")):
        other = roots[1] / path.relative_to(roots[0])
        if path.is_symlink() or not other.is_file():  # a link is a page's second name
            continue
        mine, theirs = _paragraphs(path, source), _paragraphs(other, target)
        if len(mine) == len(theirs):
            together = zip(mine, theirs, strict=True)
            pairs += [(a, b) for a, b in together if a and b and a != b]
    if not pairs:
        raise UserError(
            f"data.name='manpages:{folder}': no page there is both in {source!r} and "
            f"in {target!r}; on Debian, install manpages-dev and manpages-LANGUAGE-dev."
        )
    return pairs


def blocks(page: str) -> Iterator[str | None]:
    """The paragraphs of a page as plain text, in order; None where there is code."""
    code, has_code, words = False, False, []
    lines = [line for line in page.splitlines() if not COMMENT.match(line)]
    for line in [*lines, ".PP"]:
        macro = line.split(" ", 1)[0] if line.startswith(".") else ""
        if macro in BREAKS:
            yield None if has_code else " ".join(" ".join(words).split())
            words, has_code = [], code
        code = CODE.get(macro, code)
        has_code |= code
        words.append(_plain(line, macro))


def _paragraphs(path: Path, language: str) -> list[str | None]:
    found = list(blocks(gzip.decompress(path.read_bytes()).decode(errors="replace")))
    return found if language == "en" else found[:-NOTICE]


def _plain(line: str, macro: str) -> str:
    """The words of a line, without fonts and other commands."""
    if macro:
        if macro not in TEXT | JOINED:
            return ""
        found = ARGUMENT.findall(line[len(macro) :])
        arguments = [quoted or bare for quoted, bare in found]
        # The second argument of .IP is a width, and .UR and .MT hold an address.
        arguments = arguments[:1] if macro == ".IP" else arguments
        line = ("" if macro in JOINED else " ").join(arguments)
    return ESCAPE.sub(lambda found: ESCAPES.get(found[0], ""), line)


def _root(folder: str, language: str) -> Path:
    return Path(folder) if language == "en" else Path(folder, language)
