"""Manual pages: their paragraphs as plain text, each with its translation."""

import gzip
from pathlib import Path

import pytest

from softmax_jax.data.manpages import blocks, manpages
from softmax_jax.data.pairs import PairsConfig, load
from softmax_jax.errors import UserError

PAGE = r""".\" A comment
.TH open 2 "date"
.SH NAME
open \- open a \(aqfile\(aq
.SH SYNOPSIS
.nf
.B int open(const char *path);
.PP
.B int close(int fd);
.fi
.PP
The
.BR open ()
call takes
.I "a path"
and \fBflags\fP\ :
.TP
.B O_RDONLY
reading only
.IP \(bu 3
a point
"""
FRENCH = r""".TH open 2
.SH NOM
open \- ouvrir un « fichier »
.SH SYNOPSIS
.nf
\fBint open(const char *\fP\fIchemin\fP);
.PP
\fBint close(int \fP\fIfd\fP);
.fi
.PP
L'appel \fBopen\fP() prend \fIun chemin\fP et des \fBoptions\fP\ :
.TP
\fBO_RDONLY\fP
lecture seule
.IP \(bu 3
un point
.PP
.SH TRADUCTION
Les traducteurs
.PP
Cette traduction
.PP
Un bogue
"""


def write(root: Path, name: str, text: str) -> None:
    path = root / "man2" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()))


def test_a_page_is_plain_paragraphs_without_code() -> None:
    assert list(blocks(PAGE)) == [
        "",
        "open - open a 'file'",
        None,
        None,
        "The open() call takes a path and flags :",
        "O_RDONLY reading only",
        "a point",
    ]


def test_paragraphs_meet_their_translations(tmp_path: Path) -> None:
    write(tmp_path, "open.2.gz", PAGE)
    write(tmp_path / "fr", "open.2.gz", FRENCH)
    (tmp_path / "man2" / "creat.2.gz").symlink_to("open.2.gz")
    (tmp_path / "fr" / "man2" / "creat.2.gz").symlink_to("open.2.gz")
    expected = [
        ("open - open a 'file'", "open - ouvrir un « fichier »"),
        (
            "The open() call takes a path and flags :",
            "L'appel open() prend un chemin et des options :",
        ),
        ("O_RDONLY reading only", "O_RDONLY lecture seule"),
        ("a point", "un point"),
    ]
    assert manpages(str(tmp_path), "en", "fr") == expected
    assert manpages(str(tmp_path), "fr", "en") == [pair[::-1] for pair in expected]
    parts = load(
        PairsConfig(f"manpages:{tmp_path}", validation_fraction=0.0, test_fraction=0.0)
    )
    assert parts.train == expected


def test_a_page_of_another_edition_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, "open.2.gz", PAGE + ".PP\nA new paragraph\n")
    write(tmp_path / "fr", "open.2.gz", FRENCH)
    with pytest.raises(UserError, match="no page there is both"):
        manpages(str(tmp_path), "en", "fr")
