"""What the runtime directory keeps for the next start: the key of cookies, and the operator's words."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from fourseven.control.runtime import Runtime

FILE = Path("/etc/fourseven.yaml")


def test_the_key_of_cookies(tmp_path):
    """Made once, for its owner alone, and kept over a clean end."""
    runtime = Runtime(tmp_path)
    key = runtime.secret()
    assert len(bytes.fromhex(key)) == 32
    assert stat.S_IMODE((tmp_path / "cookie.key").stat().st_mode) == 0o600
    runtime.release()
    assert Runtime(tmp_path).secret() == key


@pytest.mark.parametrize("harm", ["open to others", "cut off", "a link"])
def test_a_key_that_is_not_to_be_trusted(tmp_path, harm):
    runtime = Runtime(tmp_path)
    key, file = runtime.secret(), tmp_path / "cookie.key"
    if harm == "open to others":
        file.chmod(0o644)
    elif harm == "cut off":
        file.write_text(key[:20])
    else:
        (tmp_path / "elsewhere").write_text(key)
        file.unlink()
        file.symlink_to("elsewhere")
    fresh = runtime.secret()
    assert fresh != key
    assert runtime.secret() == fresh
    assert not file.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_words(tmp_path):
    """Those that are to be kept; a deadline is a time of day meanwhile."""
    runtime = Runtime(tmp_path)
    now = time.monotonic()
    words = [
        ["web", "a:1", "drain", now + 100, None, True],
        ["web", "b:1", "enable", None, 7, True],
        ["web", "c:1", "maintenance", None, None, False],
        ["web", "d:1", None, None, 3, True],
    ]
    runtime.keep_words(words, FILE)
    assert stat.S_IMODE((tmp_path / "words.json").stat().st_mode) == 0o600
    drain, weight, alone = runtime.words(FILE)
    assert drain[:3] == ["web", "a:1", "drain"]
    assert abs(drain[3] - now - 100) < 5
    assert (weight, alone) == (words[1], words[3])
    assert runtime.words(Path("/another.yaml")) == []
    runtime.release()
    assert runtime.words(FILE) == [], "a clean end forgets them"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"file": "/etc/fourseven.yaml"}',
     '{"file": "/etc/fourseven.yaml", "words": [["a"]]}',
     '{"file": "/etc/fourseven.yaml", "words": [["a", "b", "shout", null, null, true]]}',
     '{"file": "/etc/fourseven.yaml", "words": [["a", "b", "drain", null, "x", true]]}'],
)  # fmt: skip
def test_words_that_nobody_said(tmp_path, text):
    (tmp_path / "words.json").write_text(text)
    assert Runtime(tmp_path).words(FILE) == []


def test_a_full_disk_is_borne(tmp_path, monkeypatch):
    runtime = Runtime(tmp_path)
    real = os.open

    def full(path, flags, *more, **named):
        if flags & os.O_CREAT:
            raise OSError(28, "No space left on device")
        return real(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", full)
    assert len(runtime.secret()) == 64
