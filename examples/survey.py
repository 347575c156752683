"""The tasks of the demo: look at one file and say what it is.

`survey_file` is a plain function; the task only calls it. So the demo can check the workers against a sequential run
of the very same code.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TypedDict

from celeriac import Celeriac

app = Celeriac("survey", broker=os.environ.get("SURVEY_STORE", "sqlite:///survey.db"))

CHUNK_BYTES = 1 << 20
"""Files are read in pieces, so that a large one costs no memory."""

BY_SUFFIX = {
    ".py": "Python",
    ".pyi": "Python",
    ".pyw": "Python",
    ".pyc": "Python bytecode",
    ".pyo": "Python bytecode",
    ".c": "C",
    ".h": "C",
    ".cc": "C++",
    ".cpp": "C++",
    ".hpp": "C++",
    ".rs": "Rust",
    ".go": "Go",
    ".java": "Java",
    ".js": "JavaScript",
    ".mjs": "JavaScript",
    ".ts": "TypeScript",
    ".css": "CSS",
    ".html": "HTML",
    ".htm": "HTML",
    ".xml": "XML",
    ".svg": "XML",
    ".json": "JSON",
    ".toml": "TOML",
    ".yaml": "YAML",
    ".yml": "YAML",
    ".ini": "INI",
    ".cfg": "INI",
    ".md": "Markdown",
    ".rst": "reStructuredText",
    ".txt": "Text",
    ".csv": "CSV",
    ".sql": "SQL",
    ".sh": "Shell",
    ".bash": "Shell",
    ".bat": "Batch",
    ".ps1": "PowerShell",
    ".tcl": "Tcl",
    ".rb": "Ruby",
    ".pl": "Perl",
    ".so": "Native library",
    ".a": "Native library",
    ".o": "Native library",
    ".exe": "Windows program",
    ".dll": "Windows program",
    ".zip": "Archive",
    ".whl": "Archive",
    ".gz": "Archive",
    ".tar": "Archive",
    ".png": "Image",
    ".gif": "Image",
    ".jpg": "Image",
}

BY_NAME = {"Makefile": "Make", "makefile": "Make", "Dockerfile": "Docker", "LICENSE": "Text", "README": "Text"}

BY_FIRST_BYTES = (
    (b"\x7fELF", "Native library"),
    (b"MZ", "Windows program"),
    (b"PK\x03\x04", "Archive"),
    (b"\x1f\x8b", "Archive"),
    (b"\x89PNG", "Image"),
    (b"GIF8", "Image"),
    (b"\xff\xd8\xff", "Image"),
    (b"<?xml", "XML"),
    (b"<!DOCTYPE html", "HTML"),
    (b"{", "JSON"),
)

BY_SHEBANG = (
    (b"python", "Python"),
    (b"node", "JavaScript"),
    (b"perl", "Perl"),
    (b"ruby", "Ruby"),
    (b"tcl", "Tcl"),
    (b"sh", "Shell"),
)


class Survey(TypedDict):
    """What there is to say about one file."""

    path: str
    sha256: str
    bytes: int
    lines: int
    words: int
    language: str


class Answer(Survey):
    """A survey, and the process that made it."""

    pid: int


def language_of(path: str, head: bytes) -> str:
    """Name the language by the file's suffix or name, else by its first bytes."""
    name = Path(path).name
    known = BY_SUFFIX.get(Path(path).suffix.lower()) or BY_NAME.get(name)
    if known:
        return known
    if head.startswith(b"#!"):
        interpreter = head.split(b"\n", 1)[0]
        return next((language for mark, language in BY_SHEBANG if mark in interpreter), "Script")
    for mark, language in BY_FIRST_BYTES:
        if head.startswith(mark):
            return language
    if not head:
        return "Empty"
    return "Binary" if b"\0" in head else "Text"


def survey_file(path: str) -> Survey:
    """Read a file once: digest, line and word counts, language. One that cannot be read is reported as such."""
    digest = hashlib.sha256()
    size = lines = words = 0
    head = b""
    in_word = False
    try:
        with Path(path).open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK_BYTES):
                if size == 0:
                    head = chunk[:512]
                digest.update(chunk)
                size += len(chunk)
                lines += chunk.count(b"\n")
                # A word that two pieces share is one word.
                words += len(chunk.split()) - (in_word and not chunk[:1].isspace())
                in_word = not chunk[-1:].isspace()
    except OSError as exc:
        return Survey(path=path, sha256="", bytes=0, lines=0, words=0, language=f"Unreadable ({exc.strerror})")
    return Survey(
        path=path,
        sha256=digest.hexdigest(),
        bytes=size,
        lines=lines,
        words=words,
        language=language_of(path, head),
    )


@app.task(name="survey.file")
def survey(path: str) -> Answer:
    """The task: survey one file."""
    return Answer(pid=os.getpid(), **survey_file(path))
