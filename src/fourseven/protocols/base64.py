"""Base64, read strictly (RFC 4648): one text for one value, so that nothing has two spellings.

Both alphabets: the usual one, with all its padding, and the one for URLs, without padding as in
tokens (RFC 7515 2). Bits that no byte takes must be 0, and no other byte may stand among them.
"""

import cython
from cython.cimports.libc.stdint import int32_t, uint8_t, uint32_t


def base64_read(text, url, to, room):
    size: uint32_t = text.size
    bits: uint32_t = 0
    held: uint32_t = 0
    made: uint32_t = 0
    at: uint32_t
    value: int32_t
    if not url:
        if size % 4 != 0:
            return -1
        if size and text.at[size - 1] == 61:
            size -= 2 if text.at[size - 2] == 61 else 1
    if size % 4 == 1:
        return -1
    for at in range(size):
        value = value_of(cython.cast(uint8_t, text.at[at]), url)
        if value < 0 or (bits >= 2 and made == room):
            return -1
        held = held << 6 | cython.cast(uint32_t, value)
        bits += 6
        if bits >= 8:
            bits -= 8
            to[made] = cython.cast(cython.char, held >> bits & 255)
            made += 1
            held &= (cython.cast(uint32_t, 1) << bits) - 1
    return -1 if held else cython.cast(int32_t, made)


def value_of(byte, url):
    if 65 <= byte <= 90:
        return byte - 65
    if 97 <= byte <= 122:
        return byte - 71
    if 48 <= byte <= 57:
        return byte + 4
    if byte == (45 if url else 43):
        return 62
    return 63 if byte == (95 if url else 47) else -1
