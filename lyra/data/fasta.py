"""Reading FASTA: records whose sequences come in segments, so that a chromosome need not fit in memory."""

import codecs
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

from ..errors import InputError

_SEGMENT = 1 << 20


class FastaRecord(NamedTuple):
    """A record of a FASTA file.

    Attributes:
        line: number of the header's line, from 1.
        header: without the `>`.
        segments: consecutive parts of the sequence; those not read are skipped when the next record is asked for.
    """

    line: int
    header: str
    segments: Iterator[str]

    @property
    def name(self) -> str:
        return (self.header.split() or [""])[0]


def read_fasta(file: IO[Any], source: str) -> Iterator[FastaRecord]:
    """Yields the records of an open file, text or binary.

    Args:
        source: name of the file, for messages.

    Raises:
        InputError: for text before the first header, or bytes that are no UTF-8.
    """
    lines = _lines(file, source)
    header = next((line for line in lines if line.text.strip()), None)
    if header is not None and not header.is_header:
        shown = repr(header.text.strip()[:20])
        raise InputError(f"{source}, line {header.number}: expected a FASTA header that starts with '>', got {shown}")
    while header is not None:
        following: list[_Line] = []
        segments = _segments(lines, following)
        yield FastaRecord(header.number, header.text[1:].strip(), segments)
        for _ in segments:  # not read by the caller
            pass
        header = following[0] if following else None


class _Line(NamedTuple):
    """A line, or a segment of bounded size of a very long one."""

    number: int
    is_header: bool
    text: str


def _segments(lines: Iterator[_Line], following: list[_Line]) -> Iterator[str]:
    """The text before the next header, which is appended to `following`."""
    for line in lines:
        if line.is_header:
            following.append(line)
            return
        yield line.text.strip()


def _lines(file: IO[Any], source: str) -> Iterator[_Line]:
    decoder = codecs.getincrementaldecoder("utf-8")()  # a segment may end inside a character
    number, at_start = 1, True

    def read() -> str:
        try:
            part = file.readline(_SEGMENT)
            return decoder.decode(part, final=not part) if isinstance(part, bytes) else part
        except UnicodeDecodeError as error:
            # A text file is decoded ahead of the line that is read.
            where = "" if hasattr(file, "encoding") else f", line {number}"
            byte = error.object[error.start]
            raise InputError(f"{source}{where}: not UTF-8 text (byte 0x{byte:02x}); save it as UTF-8") from None

    line = read().removeprefix("\ufeff")
    while line:
        is_header = at_start and line.lstrip().startswith(">")
        while is_header and not line.endswith("\n") and (rest := read()):
            line += rest
        yield _Line(number, is_header, line.lstrip() if is_header else line)
        at_start = line.endswith("\n")
        number += at_start
        line = read()
