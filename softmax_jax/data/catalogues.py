"""The message catalogues of the Django wheel: short texts in 99 languages."""

import ast
import hashlib
from collections.abc import Iterator
from difflib import get_close_matches
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from softmax_jax.errors import UserError

SHA256 = "21bdc20315a365b0260c8b9823bd8162f96df67f5000f85a9c168f95faef5bfa"
INSTALL = "pip install softmax-jax[translation]"


def django(source: str, target: str) -> list[tuple[str, str]]:
    """The messages that both languages have; `en` is what the catalogues translate."""
    others = [_messages(language) for language in (source, target) if language != "en"]
    if source == target or not others:
        raise UserError(f"source and target are one language, {source!r}.")
    shared = [key for key in others[0] if key in others[-1]]
    texts = (
        [key[-1] for key in shared]
        if language == "en"
        else [_messages(language)[key] for key in shared]
        for language in (source, target)
    )
    return list(zip(*texts, strict=True))


def messages_of(catalogue: str) -> Iterator[tuple[str, str, str]]:
    """(context, original, translation) of a .po file.

    Left out are plural forms, translations marked as guesses, and empty ones.
    """
    for block in catalogue.split("\n\n"):
        lines = block.splitlines()
        fields: dict[str, str] = {"msgctxt": ""}
        field = ""
        for line in lines:
            if line.startswith('"'):
                fields[field] += ast.literal_eval(line)
            elif line and not line.startswith("#"):
                field, _, text = line.partition(" ")
                fields[field] = ast.literal_eval(text)
        guessed = any(x.startswith("#,") and "fuzzy" in x for x in lines)
        if fields.get("msgid") and fields.get("msgstr") and not guessed:
            yield fields["msgctxt"], fields["msgid"], fields["msgstr"]


@lru_cache(maxsize=4)
def _messages(language: str) -> dict[tuple[str, str, str], str]:
    """Of every message of a language its text, by catalogue, context and original."""
    root, files = _files()
    languages = {file.parts[-3] for file in files} - {"en"}
    if language not in languages:
        near = get_close_matches(language, languages) or ["en", *sorted(languages)]
        raise UserError(
            f"Django has no messages in {language!r}; use {' or '.join(near)}."
        )
    found = {}
    for file in files:
        if file.parts[-3] == language:
            catalogue = f"{file.relative_to(root).parts[:-3]} {file.name}"
            for context, original, text in messages_of(file.read_text("utf-8")):
                found[catalogue, context, original] = text
    return found


@lru_cache(maxsize=1)
def _files() -> tuple[Path, list[Path]]:
    """The folder of the installed package, and its catalogues in order."""
    spec = find_spec("django")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"data.name='django' needs a package that is not installed: {INSTALL}"
        )
    root = Path(spec.submodule_search_locations[0])
    files = sorted(root.glob("**/LC_MESSAGES/django*.po"))
    checksum = hashlib.sha256()
    for file in files:
        checksum.update(file.read_bytes())
    if checksum.hexdigest() != SHA256:
        raise UserError(
            f"The Django messages have sha256 {checksum.hexdigest()} instead of "
            f"{SHA256}; install the tested release: {INSTALL}"
        )
    return root, files
