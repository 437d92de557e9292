/* The records that the two halves share. Grouped by who writes them, and when.

   Snapshot (and all it points to): written once by control, then never changed, freed whole.
   Slot, BackendState, ListenerState: mutable, found by number, outlive snapshots.

   A stream that lives longer than one turn of the loop keeps numbers, or it pins the snapshot:
   `pins` counts, for each worker, the streams between routing and the end of their response head. */
#ifndef FOURSEVEN_LAYOUT_H
#define FOURSEVEN_LAYOUT_H
#include <assert.h>
#include <stdint.h>
#include "fourseven/protocols/message.h"

#define FOURSEVEN_LINE __attribute__((aligned(64)))
#define FOURSEVEN_WORKERS_MAX 64       /* more cores than one process of a balancer has use for */
#define FOURSEVEN_SLOTS_MAX 65536      /* servers known at once, all backends together */
#define FOURSEVEN_BACKENDS_MAX 16384
#define FOURSEVEN_LISTENERS_MAX 1024
#define FOURSEVEN_ROUTES_MAX 65536     /* of all listeners together */
#define FOURSEVEN_TRIED_MAX 4          /* servers one stream has tried: a retry takes another one */

/* ---- mutable, by number ---- */

/* Closed, open after too many errors, half open to find out (l7.breaker). Every worker, atomically. */
typedef struct {
    uint64_t open_until_ms; /* monotonic; 0: closed */
    uint64_t window_ms;     /* when the present window of errors began */
    uint32_t window_all, window_bad;
    uint32_t probing;       /* 1: half open, and one request finds out */
} Circuit;

typedef struct FOURSEVEN_LINE {
    /* set by control before any snapshot names the slot */
    uint8_t sockaddr[112]; /* struct sockaddr_in, _in6 or _un */
    uint32_t sockaddr_size;
    /* written by control, read by workers at each pick */
    uint32_t usable;        /* 1: healthy and not draining; new work may go here */
    uint32_t max_in_flight; /* 0: no limit */
    uint32_t generation;    /* moves on when the number is given to another server */
    /* written by every worker, atomically */
    FOURSEVEN_LINE int64_t in_flight; /* requests (L7) or connections (L4), exact over all workers */
    uint64_t ewma_ns;                 /* peak-sensitive average of the response time; 0: not yet known */
    uint64_t ewma_at_ns;              /* monotonic time of its last change */
    uint32_t errors_row;              /* answers of 5xx and failed tries since the last good answer */
    /* written by control, read by workers at each pick */
    uint32_t share;    /* of the work that it would get, what it is spared now, in 1/1024: slow start; 0: nothing */
    uint32_t persists; /* 1: those who persist may come although it is not usable (draining) */
    uint32_t cut;      /* 1: what runs there at Layer 4 ends (l4.relay_cut); read when Shared.cuts moves on */
    /* written by every worker, atomically */
    FOURSEVEN_LINE int64_t connections; /* L7: open to it, idle ones too; exact over all workers */
    Circuit circuit;
    uint64_t load_at_ms;       /* when it last said how busy it is (l7.load); 0: never */
    uint32_t load;             /* what it said, smoothed; in 1/1024 */
    /* written by control */
    uint32_t connections_max;  /* 0: no limit */
    uint32_t idle_share;       /* with such a limit: the most that one worker may keep idle */
    uint32_t backend;          /* number of its BackendState */
} Slot;

typedef struct FOURSEVEN_LINE {
    uint64_t cursor;   /* atomic: every worker; the turn of round robin */
    int64_t in_flight; /* atomic: every worker; the backend's whole load (bounded load) */
    int64_t retrying;  /* atomic: requests that are on a further try by the budget's leave */
    int64_t waiting;   /* atomic: requests in the queues of all workers */
    uint64_t spare_ns; /* atomic: the budget's minimum as one theoretical arrival time */
    uint64_t waiters;  /* atomic: a bit for each worker whose queue is not empty */
    uint64_t hedge_ns; /* atomic: the time after which a hedge goes out, where it is learnt; 0: not yet known */
    /* atomic; where the file limits or judges the backend as a whole */
    FOURSEVEN_LINE int64_t connections; /* L7: to all its servers, idle ones too */
    Circuit circuit;
    uint32_t idle_share; /* written by control: of such connections, the most that one worker may keep idle */
} BackendState;

typedef struct FOURSEVEN_LINE {
    int64_t sessions; /* atomic: every worker; open client connections or UDP flows */
} ListenerState;

/* ---- immutable ---- */

/* The beginning of whatever a gate keeps over snapshots (snapshot.states); the gate's own follows. */
typedef struct FOURSEVEN_LINE {
    int64_t users; /* atomic: streams that still point here; it is freed only at 0 */
} GateState;

typedef struct Backend Backend;
typedef struct Snapshot Snapshot;
typedef struct RouteTable RouteTable; /* opaque here: fourseven.matching.table owns it */
typedef struct Regex Regex;           /* opaque here: pcre2_code */

typedef struct {
    Slot *slots;            /* the base of all slots */
    uint64_t hash;          /* of the backend's hash key (or of the client's address) */
    uint64_t random;        /* fresh for each pick */
    uint64_t now_ns;        /* monotonic */
    uint32_t tried_count;   /* servers that this stream has already failed on */
    uint32_t tried[FOURSEVEN_TRIED_MAX];
} Pick;

/* A server by the name that a client is given, or that a table keeps: nothing can be read from it. */
typedef struct {
    uint64_t first, second; /* of a keyed hash of its backend and address; 0, 0: an empty place */
    uint32_t at;            /* index into backend.slots */
    uint32_t old;           /* 1: by a key that is accepted and no longer given out */
} ServerName;

/* Who persists at which server (l7.persist). */
typedef struct {
    uint32_t kind;          /* PersistenceKind */
    uint32_t fallback;      /* Fallback */
    uint32_t wait_ms;       /* how long FALLBACK_WAIT waits */
    uint32_t secure;        /* of the cookie: 0 never, 1 where the client came by TLS, 2 always */
    uint64_t ttl_ms;        /* of a row in the table, from its last use */
    uint16_t field;         /* what names a client: as in a match; FIELD_CLIENT for the address */
    uint8_t prefix_v4, prefix_v6;
    Span name;              /* of the cookie or header */
    Span attributes;        /* of the cookie that we set: "; Path=/; HttpOnly" */
    uint32_t names_mask;    /* size of `names`, a power of two, less one */
    ServerName *names;      /* open addressing by `first` */
    ServerName *given;      /* [server_count] what each server is called now */
    uint64_t set_count;     /* of the table */
    GateState *table;       /* l7.persist.Row[set_count][8] stand behind it; NULL: none */
} Persistence;

/* What is done when servers fail or are full, beyond `retries` (l7.retry, l7.queue, l7.breaker). */
typedef struct {
    uint32_t retry_on;      /* bits of RetryOn */
    uint32_t retry_any_method; /* 1: POST and PATCH too */
    uint32_t retry_same;    /* 1: the same server once more where there is no other */
    uint32_t try_timeout_ms; /* from the pick to the answer's head; 0: only the backend's own times */
    uint32_t budget_percent; /* of the requests in flight that may be on a further try; 0: no budget */
    uint32_t budget_min;    /* further tries a second that are always granted */
    uint32_t hedge_ms;      /* without an answer for so long, another server is asked too; 0: see the next */
    uint32_t hedge_percent; /* ... for longer than so many percent of the answers took; 0: never */
    uint32_t status_count;
    uint16_t statuses[8];   /* answers that are worth another try */
    uint32_t requests_max;  /* in flight at the backend; 0: no limit */
    uint32_t connections_max; /* to all its servers (relay: connections in flight); 0: no limit */
    uint32_t breaker_of;    /* bits of BreakerOf */
    uint32_t load_words;    /* bits of LoadWord: by which headers servers say how busy they are */
    uint32_t load_passes;   /* 1: these headers reach clients */
    uint32_t queue_max;     /* requests that wait, over all workers; 0: none waits */
    uint32_t queue_wait_ms;
    Span queue_header;      /* says who goes first; absent: nobody */
    uint32_t breaker_percent; /* errors of a server's window from which its circuit opens; 0: never */
    uint32_t breaker_requests; /* that a window must have seen */
    uint32_t breaker_window_ms;
    uint32_t breaker_open_ms;
    uint32_t tier_percent;  /* a tier with a smaller share of its servers usable hands over */
} Resilience;

/* Chooses a slot number of the backend, or -1 where none is usable. */
typedef int32_t (*pick_fn)(const Backend *backend, Pick *pick);

struct Backend {
    pick_fn pick;
    BackendState *state;
    uint32_t number;        /* of its BackendState; stable for the same name over reloads */
    uint32_t server_count;
    uint32_t *slots;        /* [server_count] slot numbers, in the order of the file */
    uint32_t *weights;      /* [server_count] 0: takes no new work */
    uint64_t weight_total;
    uint32_t *table;        /* [table_size] indexes into `slots`; what a table algorithm filled */
    uint32_t table_size;    /* 0: the algorithm needs no table */
    uint32_t bounded_load_percent; /* 0: unbounded; 125: nobody above 1.25 times the mean */
    /* what is hashed (L7): the same field numbers as in a match; FIELD_CLIENT for the address */
    uint16_t hash_field;
    uint8_t hash_prefix_v4, hash_prefix_v6; /* bits of the address that count */
    Span hash_name;
    uint32_t connect_timeout_ms;
    uint32_t response_timeout_ms; /* from the request's last byte to the response's first */
    uint32_t read_timeout_ms;     /* between two reads of the response's body */
    uint32_t idle_timeout_ms;     /* of a connection in the pool */
    uint32_t idle_max;            /* connections kept in the pool, each worker, each server */
    uint32_t proxy_protocol;      /* version of the header that servers get first; 0: none */
    uint32_t http2;               /* 1: servers are spoken to in HTTP/2, beforehand (h2c) */
    uint32_t retries;             /* further tries after a failure before the first response byte */
    Span name;
    void *tls;                    /* fourseven.tls.outward.TlsOutward; NULL: servers speak without TLS */
    Persistence *persistence;     /* NULL: every request is balanced */
    Resilience *resilience;       /* NULL: retries alone */
    Backend *tiers;               /* [tier_count] the same backend with the servers of one tier each */
    uint32_t tier_count;          /* 0: one tier, this record */
    uint16_t spill_percent;       /* of a tier: with less of its weight usable, it takes as much less; 0: all or nothing */
    uint16_t spill_by_hash;       /* 1: a key spills each time or never */
};

/* A value made of literals and variables: "{client.address}". */
typedef struct {
    uint32_t kind; /* PartKind */
    Span text;     /* the literal; the name for header parts */
} Part;

typedef struct {
    uint32_t count;
    Part *parts;
} Template;

typedef struct {
    uint16_t kind;   /* ActionKind */
    uint16_t status; /* redirect, respond */
    uint16_t known;  /* KnownHeader of `name` */
    Span name;       /* header name; prefix to replace */
    Template value;
    Regex *regex;    /* rewrite by regex */
} Action;

typedef struct {
    uint32_t backend;  /* index into snapshot.backends */
    uint32_t up_to;    /* cumulative weight: chosen when random % total < up_to */
} Choice;

/* What something is counted or chosen by. */
typedef struct {
    uint16_t field;    /* as in a match; FIELD_CLIENT for the address */
    uint8_t prefix_v4, prefix_v6; /* bits of the address that count */
    Span name;         /* of the header, cookie or parameter */
} Key;

typedef struct Cidr Cidr;

/* A filter that looks at a request on its way, and may answer it or hold it up (l7.gates). */
typedef struct {
    uint32_t kind;     /* GateKind */
    uint32_t backend;  /* index into snapshot.backends, of a gate that asks one; UINT32_MAX: none */
    GateState *state;  /* NULL: it keeps nothing */
    uint64_t state_size;
    uint64_t numbers[8]; /* the gate's own, in the order of its plan */
    uint32_t key_count, text_count, network_count;
    Key *keys;
    Span *texts;
    Cidr *networks;
    Template value;
    void *own;         /* what the kind has built of its plan; freed with the arena */
} Gate;

typedef struct {
    uint32_t number;   /* of the route in its listener, from 0, in the order of the file */
    uint32_t stable;   /* of its counters: the same for the same listener and name over reloads */
    uint32_t gate_count;
    Gate *gates;       /* in the order of the file; they come before all else */
    uint32_t choice_count; /* 0: only a terminal action answers */
    Choice *choices;
    uint32_t choice_total;
    uint32_t fallback;     /* index into snapshot.backends: who serves where the choice cannot; NO_BACKEND: nobody */
    uint32_t sticky;       /* StickyKind: a client meets the same choice each time */
    Key sticky_key;
    uint32_t request_action_count, response_action_count;
    Action *request_actions;  /* in order; a terminal one (redirect, respond) ends the list */
    Action *response_actions;
    Span name;
    uint32_t passthrough;     /* TLS is not ended: the connection is relayed as it is */
} Route;

struct Cidr {
    uint8_t bytes[16];
    uint32_t prefix; /* bits, 0 to 128, of the 16-byte form */
};

typedef struct {
    uint32_t number; /* stable over reloads for the same name, bind and mode */
    uint32_t state;  /* number of its ListenerState: one for all binds of a name */
    uint32_t mode;   /* ListenerMode */
    int32_t *fds;    /* TCP: one listening socket for all workers; UDP: one for each worker */
    uint32_t fd_count;
    RouteTable *table;
    Route *routes;
    uint32_t route_count;
    uint32_t body_prefix_max;  /* bytes that payload matches want to see; 0: none of its routes asks */
    /* trust */
    Cidr *trusted;
    uint32_t trusted_count;
    uint32_t forwarded;        /* bits of ForwardedMode */
    Span request_id;           /* header name; absent: no request id */
    /* limits */
    uint32_t connections_max;  /* 0: only the process's limit */
    uint32_t head_max;         /* bytes */
    uint32_t headers_max;      /* count */
    uint32_t target_max;       /* bytes */
    uint64_t body_max;         /* bytes; 0: no limit */
    uint32_t requests_max;     /* on one connection; 0: no limit */
    uint32_t flows_max;        /* UDP flows, each worker */
    /* timeouts */
    uint32_t head_timeout_ms;  /* the whole head, from its first byte (or from accept) */
    uint32_t body_timeout_ms;  /* the whole body; 0: only the rate holds */
    uint32_t body_rate_min;    /* bytes a second, averaged over BODY_RATE_WINDOW */
    uint32_t idle_timeout_ms;  /* L7: between requests; relay: no byte either way; UDP: a flow */
    uint32_t send_timeout_ms;  /* the client takes nothing */
    uint32_t tunnel_timeout_ms; /* after an Upgrade: no byte either way */
    uint32_t relax;            /* bits of Relax */
    Span name;
    /* before anything is served */
    uint32_t arrival;          /* bits of ArrivalStage: what is read first */
    uint32_t hello_timeout_ms; /* until all of it is here */
    Cidr *proxies;             /* who must send the PROXY protocol */
    uint32_t proxies_count;
    RouteTable *hello_table;   /* with tls: the routes that say at the ClientHello if TLS ends; or NULL */
    uint32_t protocols;        /* bits of Protocols */
    uint32_t streams_max;      /* HTTP/2: requests at once on one connection */
    uint32_t logged;           /* its requests stand in the access log */
    uint32_t traced;           /* 1: a trace is carried on, or begun; 2: and recorded where it is sampled */
    uint32_t trace_sample;     /* of 2^32: traces begun here that are recorded */
    void *tls;                 /* fourseven.tls.site.TlsSite; NULL: clients speak without TLS */
} Listener;

struct Snapshot {
    uint64_t generation;
    uint32_t listener_count, backend_count;
    Listener *listeners;
    Backend *backends;
    void *arena;       /* all memory of this snapshot; fourseven.native.arena */
    FOURSEVEN_LINE struct { FOURSEVEN_LINE int64_t count; } pins[FOURSEVEN_WORKERS_MAX];
};

static_assert(sizeof(Slot) == 256, "a slot is four cache lines: what control writes, and what workers write");
#endif
