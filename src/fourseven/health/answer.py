"""The answer of HTTP/1 to a check, as its bytes come: its status, and its body without the framing.

A check asks with `Connection: close`, but there are servers that leave the connection open all the
same, and many whose bodies come in chunks, which may cut the wanted text in two. So the framing is
read, leniently: where it is broken, the answer ends with the connection, or at once.

Law: what is kept is bounded: a head by HEAD_MAX, a body by what the caller wants of it.

Source: RFC 9112 (4: status line, 6.3: length of a body, 7.1: chunks).
"""

from __future__ import annotations

import re

from fourseven.health.connect import Unwell

HEAD_MAX = 16 * 1024  # bytes until the head, or the size of a chunk, must have ended
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: [^\r\n]*)?\r?\n")
LENGTH = re.compile(rb"(?i)\ncontent-length:[ \t]*([0-9]{1,15})[ \t]*\r\n")
CHUNKED = re.compile(rb"(?i)\ntransfer-encoding:[^\n]*\bchunked[ \t]*\r\n")
SIZE = re.compile(rb"(?:\r?\n)?([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\n]*)?\r?\n")
WITHOUT_BODY = (204, 304)


class Answer:
    """One answer, without a socket."""

    def __init__(self, method: str) -> None:
        self.status = 0  # not known yet
        self.body = bytearray()
        self.ended = False
        self._method = method
        self._got = b""
        self._chunked = False
        self._left: int | None = None  # of the body, or of its chunk; None: until it closes

    def receive(self, data: bytes) -> None:
        """Takes what came; nothing: the server has closed. Unwell where it is no answer."""
        self._got += data
        if not self.status and not self._head():
            if not data or len(self._got) > HEAD_MAX:
                raise Unwell("the answer has no whole head" if self._got else "closed, no answer")
            return
        if self._chunked:
            self._chunks()
        else:
            self._take()
        self.ended |= not data

    def _head(self) -> bool:
        """Whether it is whole. 1xx are passed over."""
        while (end := self._got.find(b"\r\n\r\n") + 4) >= 4:
            found = STATUS_LINE.match(self._got)
            if found is None:
                raise Unwell("what it says is not HTTP/1")
            head, self._got = self._got[:end], self._got[end:]
            if int(found[1]) < 200:
                continue
            self.status = int(found[1])
            length = LENGTH.search(head)
            self._chunked = CHUNKED.search(head) is not None
            if self._method == "HEAD" or self.status in WITHOUT_BODY:
                self._chunked, self._left = False, 0
            elif length and not self._chunked:
                self._left = int(length[1])
            return True
        return False

    def _take(self) -> None:
        """Body up to where it ends."""
        piece = self._got if self._left is None else self._got[: self._left]
        self.body += piece
        self._got = b""
        if self._left is not None:
            self._left -= len(piece)
            self.ended = not self._left

    def _chunks(self) -> None:
        at = 0
        while not self.ended:
            piece = self._got[at : at + (self._left or 0)]
            self.body += piece
            at += len(piece)
            self._left = (self._left or 0) - len(piece)
            found = None if self._left else SIZE.match(self._got, at)
            if found is None:
                break
            at, self._left = found.end(), int(found[1], 16)
            self.ended = not self._left
        self._got = self._got[at:]
        self.ended |= len(self._got) > HEAD_MAX  # no size of a chunk is so long
