/* The records of matching: what `table_build` packs once, and what each worker keeps for itself. */
#ifndef FOURSEVEN_MATCH_RECORDS_H
#define FOURSEVEN_MATCH_RECORDS_H
#include <assert.h>
#include <stdint.h>
#include "fourseven/snapshot/layout.h"

#define FOURSEVEN_MATCH_ROOM 65536u   /* a decoded value is never longer than the head or the body's prefix */
#define FOURSEVEN_MATCH_RUNS_MAX 96   /* index buckets that one request can fall into; beyond: a linear scan */
#define FOURSEVEN_MATCH_HOSTS_MAX 8   /* host keys that hold for one request; beyond: a linear scan */

/* ---- immutable, in the snapshot's arena ---- */

/* One condition with its two exits. An exit is a row's number, always a later one, or an end. */
typedef struct FOURSEVEN_LINE {
    uint16_t field, test;
    uint16_t many;         /* 1: the field can have several values, and any one may hold */
    uint16_t payload;      /* Payload: what it wants to see of the body */
    uint32_t on_true, on_false;
    uint64_t number;       /* a size to compare with; for the body: bytes that count */
    Span name, operand;
    const void *compiled;  /* by test: MatchSet, Regex or MatchGlob */
} MatchRow;

typedef struct {
    uint32_t count;
    Span *items; /* ascending by size, then by bytes */
} MatchSet;

typedef struct {
    uint32_t words;        /* of 64 states each */
    uint32_t final;        /* the state that says: all of the pattern is used up */
    uint64_t stars[4];     /* states that stand before a star: it may be empty */
    uint8_t row[256];      /* byte -> row of `step` and `stay` */
    uint64_t *step;        /* [rows][words] states whose piece takes the byte */
    uint64_t *stay;        /* [rows][words] states whose star takes the byte */
} MatchGlob;

/* A host that some route names: its number is what the path's buckets are kept under. */
typedef struct {
    uint64_t hash;
    Span key;              /* absent: this place is free */
    uint32_t kind;         /* HostKind */
    uint32_t host;
} MatchHostKey;

typedef struct {
    uint64_t depths;       /* bit n: a prefix of n segments is kept under this host; 63: or more */
    uint32_t exacts;       /* whole paths kept under this host */
    uint32_t any_first, any_count; /* routes of this host that name no path */
} MatchHost;

typedef struct {
    uint64_t hash;
    const char *key;       /* NULL: this place is free */
    uint32_t key_size;
    uint32_t owner;        /* host number * 2 + (1 when the whole path is the key) */
    uint32_t first, count; /* the routes, as a stretch of `numbers`; a single one is `first` itself */
} MatchBucket;

struct RouteTable {
    uint32_t route_count, row_count;
    uint32_t *starts;      /* [route_count] first row, or an end */
    MatchRow *rows;
    MatchHostKey *host_keys;
    uint32_t host_mask;    /* places of host_keys less one */
    uint32_t host_count;
    uint64_t host_depths;  /* bit n: a wildcard of n labels exists; 63: or more */
    MatchHost *hosts;      /* [0] is any host */
    MatchBucket *buckets;
    uint32_t bucket_mask;
    uint32_t *numbers;     /* route numbers, ascending in each bucket */
};
typedef struct RouteTable MatchTable;

/* ---- of one worker ---- */

typedef struct {
    const uint32_t *at, *end;
} MatchRun;

typedef struct {
    uint32_t line;         /* header line to go on with */
    uint32_t at;           /* byte in it, or in the query */
} MatchCursor;

typedef struct MatchScratch {
    void *match_data;      /* of the regular expressions' library, as the next two */
    void *match_context;
    void *stack;
    uint64_t regex_limited; /* expressions that ran into a limit */
    MatchRun runs[FOURSEVEN_MATCH_RUNS_MAX];
    char room[FOURSEVEN_MATCH_ROOM]; /* the value decoded last */
} MatchScratch;

static_assert(sizeof(MatchRow) == 64, "a row is one cache line");
static_assert(sizeof(MatchBucket) == 32, "two buckets in a cache line");
#endif
