"""The lines of a text file, also of a compressed one, within bounds."""

import zlib
from pathlib import Path

from mapwise.data.files import MOST, read_bytes


def read_lines(path: Path) -> list[str]:
    """The lines of a file in UTF-8 (or UTF-16 with its mark), without their ends; of a .gz file those inside it.

    Raises ValueError for a file that can't be read, is larger than 128 MB, or is no text, with the line.
    """
    try:
        content = read_bytes(path, streams=True)
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise ValueError(f"{path} cannot be read ({reason}): give the path of a file of texts") from None
    if content[:2] == b"\x1f\x8b":
        content = _unpacked(content, path)
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            text = content.decode("utf-16")
        except UnicodeDecodeError:
            raise ValueError(f"{path} begins like UTF-16 and isn't: save it in UTF-8") from None
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as problem:
            line = content.count(b"\n", 0, problem.start) + 1
            raise ValueError(f"line {line} of {path} is not text in UTF-8: save the file in UTF-8") from None
    # Not splitlines: a separator of paragraphs or a form feed may well stand inside a text.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


def _unpacked(content: bytes, path: Path) -> bytes:
    """The bytes of all members of a gzip file; raises ValueError for a damaged one, and for more than 128 MB."""
    parts, size = list[bytes](), 0
    try:
        while content.strip(b"\0"):
            member = zlib.decompressobj(wbits=31)
            parts.append(member.decompress(content, MOST + 1 - size))
            size += len(parts[-1])
            if size > MOST:
                raise ValueError(f"{path} holds more than {MOST >> 20} MB when unpacked: give fewer texts")
            if not member.eof:
                raise zlib.error("it ends too early")
            content = member.unused_data
    except zlib.error as problem:
        raise ValueError(f"{path} is a damaged gzip file ({problem}): pack it again") from None
    return b"".join(parts)
