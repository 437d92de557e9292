"""The kind of device, from what its browser says of itself.

The rules, first that holds:

1. bot: User-Agent has a word of BOT_WORDS, or `bot` at the end of a word (Googlebot/2.1, but not
   the phones called CUBOT).
2. Client hints, where sent: Sec-CH-UA-Mobile ?1 is mobile; ?0 is tablet with the platform
   Android (unless it is a television), desktop with Windows, macOS, Linux or Chrome OS.
3. desktop: televisions and their boxes, which otherwise look like tablets.
4. tablet: iPad, Kindle, PlayBook; `Tablet` (not `Tablet PC`); Android without `Mobi`.
5. mobile: `Mobi` (what browsers are asked to send), iPhone, iPod, Opera Mini and older ones.
6. desktop: everything else, so also tools (curl) and a request without User-Agent.

It is for comfort, not for access: every client can say what it likes. An iPad in its default
setting says that it is a Mac, and is a desktop here.
Source: RFC 9110 10.1.5; developer.mozilla.org "Browser detection using the user agent";
User-Agent Client Hints (WICG).
"""

import cython
from cython.cimports.fourseven.matching.fields import field_header
from cython.cimports.fourseven.matching.records import MatchCursor
from cython.cimports.fourseven.matching.tests import memmem
from cython.cimports.fourseven.matching.useragent import (
    AGENT_MAX,
    BOT_WORDS,
    BOTS,
    DESKTOP_HINTS,
    HINTS,
    MOBILE_WORDS,
    MOBILES,
    SCREEN_WORDS,
    SCREENS,
    TABLET_WORDS,
    TABLETS,
)
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.libc.stdint import uint32_t
from cython.cimports.libc.string import memcmp, strlen

# All in lower case, as the agent is before it is searched.
BOT_WORDS[:] = [
    b"crawl",
    b"spider",
    b"slurp",
    b"facebookexternalhit",
    b"mediapartners-google",
    b"google-inspectiontool",
    b"apis-google",
    b"feedfetcher",
    b"bingpreview",
    b"headlesschrome",
    b"lighthouse",
    b"ia_archiver",
    b"scrapy",
    b"pingdom",
    b"uptimerobot",
]
SCREEN_WORDS[:] = [
    b"smart-tv",
    b"smarttv",
    b"android tv",
    b"googletv",
    b"bravia",
    b"; aft",  # Fire TV
    b"crkey",  # Chromecast
    b"hbbtv",
    b"web0s",  # LG
]
TABLET_WORDS[:] = [b"ipad", b"playbook", b"kindle", b"nexus 7"]
MOBILE_WORDS[:] = [
    b"mobi",
    b"iphone",
    b"ipod",
    b"opera mini",
    b"windows phone",
    b"blackberry",
    b"symbian",
    b"j2me",
    b"nokia",
]
DESKTOP_HINTS[:] = [b'"windows"', b'"macos"', b'"linux"', b'"chrome os"']


def field_device(request, name, number, scratch, cursor):
    names: Span[3]
    values: Span[3]
    n: uint32_t
    names[0] = Span(at=b"user-agent", size=10)
    names[1] = Span(at=b"sec-ch-ua-mobile", size=16)
    names[2] = Span(at=b"sec-ch-ua-platform", size=18)
    for n in range(3):
        first: MatchCursor = MatchCursor(line=0, at=0)
        values[n] = field_header(
            request, cython.address(names[n]), 0, scratch, cython.address(first)
        )
    values[0] = lower(cython.address(values[0]), scratch)
    device: cython.p_const_char = device_of(
        cython.address(values[0]), cython.address(values[1]), cython.address(values[2])
    )
    return Span(at=device, size=cython.cast(uint32_t, strlen(device)))


def device_of(agent, mobile, platform):
    n: cython.int
    if is_bot(agent):
        return b"bot"
    if equals(mobile, b"?1"):
        return b"mobile"
    screen: cython.bint = has_any(agent, SCREEN_WORDS, SCREENS)
    if equals(mobile, b"?0"):
        for n in range(HINTS):
            if equals(platform, DESKTOP_HINTS[n]):
                return b"desktop"
        if equals(platform, b'"android"'):
            return b"desktop" if screen else b"tablet"
    if screen:
        return b"desktop"
    if has_any(agent, TABLET_WORDS, TABLETS):
        return b"tablet"
    if has(agent, b"tablet") and not has(agent, b"tablet pc"):
        return b"tablet"
    if has(agent, b"android") and not has(agent, b"mobi"):
        return b"tablet"
    if has_any(agent, MOBILE_WORDS, MOBILES):
        return b"mobile"
    return b"desktop"


def lower(text, scratch):
    size: uint32_t = text.size if text.size < AGENT_MAX else AGENT_MAX
    at: uint32_t
    byte: cython.uchar
    for at in range(size):
        byte = text.at[at]
        scratch.room[at] = byte | 32 if 65 <= byte <= 90 else byte
    return Span(at=cython.address(scratch.room[0]), size=size)


def has(text, word):
    return memmem(text.at, text.size, word, strlen(word)) is not cython.NULL


def has_any(text, words, count):
    n: uint32_t
    for n in range(count):
        if has(text, words[n]):
            return True
    return False


def is_bot(text):
    at: uint32_t = 0
    follows: cython.uchar
    if has_any(text, BOT_WORDS, BOTS):
        return True
    while at + 3 <= text.size:
        if memcmp(text.at + at, b"bot", 3) != 0:
            at += 1
            continue
        follows = text.at[at + 3] if at + 3 < text.size else 0
        phone: cython.bint = at >= 2 and memcmp(text.at + at - 2, b"cu", 2) == 0
        if not phone and (follows < 97 or follows > 122):
            return True
        at += 3
    return False


def equals(text, word):
    """Platforms are compared without regard to case: the word is lower case."""
    size: uint32_t = cython.cast(uint32_t, strlen(word))
    at: uint32_t
    byte: cython.uchar
    if text.at is cython.NULL or text.size != size:
        return False
    for at in range(size):
        byte = text.at[at]
        if (byte | 32 if 65 <= byte <= 90 else byte) != cython.cast(cython.uchar, word[at]):
            return False
    return True
