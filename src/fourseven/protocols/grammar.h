/* What each byte may be in HTTP/1, as one table: a reader asks once a byte, and never branches
   on its value.

   TOKEN       tchar of RFC 9110 5.6.2: methods, field names, codings
   FIELD       may stand in a field value: visible, space, tab, obs-text
   TARGET      may stand in a request target as received: visible ASCII save '#'
   PLAIN       stands in a canonical path as it is (pchar without '%', and '/')
   ENCODE      visible, but RFC 3986 wants it encoded in a path; browsers send some of them raw
   HOST        of a host name: letters, digits, '-', '.', '_'
   UPPER       an upper-case letter
   UNDERSCORE  '_', because CGI makes it the twin of '-'
   SLASH, AFTER_SLASH: '/' and what must be looked at behind one ('/', '.' and ';'); they are
   neighbours so that (previous >> 1) & this finds "//", "/." and "/;" without a branch.

   A static table, not one filled at import: it costs no indirection and needs no start. */
#ifndef FOURSEVEN_GRAMMAR_H
#define FOURSEVEN_GRAMMAR_H
#include <stdint.h>

enum {
    FOURSEVEN_TOKEN = 0x1,
    FOURSEVEN_FIELD = 0x2,
    FOURSEVEN_TARGET = 0x4,
    FOURSEVEN_PLAIN = 0x8,
    FOURSEVEN_ENCODE = 0x10,
    FOURSEVEN_HOST = 0x20,
    FOURSEVEN_UPPER = 0x40,
    FOURSEVEN_AFTER_SLASH = 0x100,
    FOURSEVEN_SLASH = 0x200,
    FOURSEVEN_UNDERSCORE = 0x400,
    FOURSEVEN_PERCENT = 0x800,
};

#define FS_VISIBLE (FOURSEVEN_FIELD | FOURSEVEN_TARGET)
#define FS_WORD (FOURSEVEN_TOKEN | FS_VISIBLE | FOURSEVEN_PLAIN | FOURSEVEN_HOST)
#define FS_MARK (FOURSEVEN_TOKEN | FS_VISIBLE | FOURSEVEN_PLAIN)

static const uint16_t fourseven_classes[256] = {
    ['\t'] = FOURSEVEN_FIELD, [' '] = FOURSEVEN_FIELD, [0x80 ... 0xff] = FOURSEVEN_FIELD,
    ['0' ... '9'] = FS_WORD, ['a' ... 'z'] = FS_WORD,
    ['A' ... 'Z'] = FS_WORD | FOURSEVEN_UPPER,
    ['-'] = FS_WORD, ['_'] = FS_WORD | FOURSEVEN_UNDERSCORE,
    ['.'] = FS_WORD | FOURSEVEN_AFTER_SLASH,
    ['!'] = FS_MARK, ['$'] = FS_MARK, ['&'] = FS_MARK, ['\''] = FS_MARK, ['*'] = FS_MARK,
    ['+'] = FS_MARK, ['~'] = FS_MARK,
    ['('] = FS_VISIBLE | FOURSEVEN_PLAIN, [')'] = FS_VISIBLE | FOURSEVEN_PLAIN,
    [','] = FS_VISIBLE | FOURSEVEN_PLAIN, [':'] = FS_VISIBLE | FOURSEVEN_PLAIN,
    [';'] = FS_VISIBLE | FOURSEVEN_PLAIN | FOURSEVEN_AFTER_SLASH, ['='] = FS_VISIBLE | FOURSEVEN_PLAIN,
    ['@'] = FS_VISIBLE | FOURSEVEN_PLAIN,
    ['/'] = FS_VISIBLE | FOURSEVEN_PLAIN | FOURSEVEN_SLASH | FOURSEVEN_AFTER_SLASH,
    ['%'] = FOURSEVEN_TOKEN | FS_VISIBLE | FOURSEVEN_PERCENT,
    ['#'] = FOURSEVEN_TOKEN | FOURSEVEN_FIELD,
    ['?'] = FS_VISIBLE, ['\\'] = FS_VISIBLE,
    ['^'] = FOURSEVEN_TOKEN | FS_VISIBLE | FOURSEVEN_ENCODE,
    ['`'] = FOURSEVEN_TOKEN | FS_VISIBLE | FOURSEVEN_ENCODE,
    ['|'] = FOURSEVEN_TOKEN | FS_VISIBLE | FOURSEVEN_ENCODE,
    ['"'] = FS_VISIBLE | FOURSEVEN_ENCODE, ['<'] = FS_VISIBLE | FOURSEVEN_ENCODE,
    ['>'] = FS_VISIBLE | FOURSEVEN_ENCODE, ['['] = FS_VISIBLE | FOURSEVEN_ENCODE,
    [']'] = FS_VISIBLE | FOURSEVEN_ENCODE, ['{'] = FS_VISIBLE | FOURSEVEN_ENCODE,
    ['}'] = FS_VISIBLE | FOURSEVEN_ENCODE,
};

#undef FS_VISIBLE
#undef FS_WORD
#undef FS_MARK

/* The field names that the product knows, by their size; ids are message.pxd's KnownHeader.
   `hop` is 1 for a field of this connection alone, which is never forwarded as received, and 2 for
   one that is no danger in trailers. Padded, so that a comparison reads whole words. */
#define FOURSEVEN_NAME_MAX 18
#define FOURSEVEN_NAMES_ROW 7 /* the longest row and its end */

typedef struct {
    char text[20];
    uint16_t known;
    uint16_t hop;
} FoursevenName;

static const FoursevenName fourseven_names[FOURSEVEN_NAME_MAX + 1][FOURSEVEN_NAMES_ROW] = {
    [2] = {{"te", 5, 1}},
    [3] = {{"via", 30, 0}},
    [4] = {{"host", 1, 0}, {"etag", 38, 2}, {"vary", 40, 0}, {"date", 31, 0}},
    [5] = {{"range", 37, 0}},
    [6] = {{"accept", 16, 0}, {"cookie", 13, 0}, {"server", 32, 0}, {"origin", 35, 0}, {"expect", 10, 0}},
    [7] = {{"referer", 36, 0}, {"upgrade", 8, 1}, {"trailer", 6, 0}},
    [8] = {{"location", 33, 0}},
    [9] = {{"sec-ch-ua", 29, 0}, {"x-real-ip", 24, 0}, {"forwarded", 19, 0}},
    [10] = {{"connection", 2, 1}, {"user-agent", 15, 0}, {"set-cookie", 14, 0}, {"keep-alive", 3, 1}},
    [11] = {{"traceparent", 26, 0}},
    [12] = {{"content-type", 11, 0}, {"x-request-id", 25, 0}},
    [13] = {{"cache-control", 39, 0}, {"authorization", 18, 0}},
    [14] = {{"content-length", 9, 1}, {"http2-settings", 34, 1}},
    [15] = {{"accept-encoding", 17, 0}, {"x-forwarded-for", 20, 0}},
    [16] = {{"sec-ch-ua-mobile", 27, 0}, {"x-forwarded-host", 22, 0}, {"x-forwarded-port", 23, 0},
            {"content-encoding", 12, 0}, {"proxy-connection", 4, 1}},
    [17] = {{"transfer-encoding", 7, 1}, {"x-forwarded-proto", 21, 0}},
    [18] = {{"sec-ch-ua-platform", 28, 0}},
};
#endif
