/* What one worker owns. Only its own thread writes here, but for the words marked "control". */
#ifndef FOURSEVEN_WORKER_H
#define FOURSEVEN_WORKER_H
#include "fourseven/snapshot/layout.h"

#define FOURSEVEN_FAULTS_MAX 128
#define FOURSEVEN_TLS_FAULTS_MAX 16
#define FOURSEVEN_REASONS_MAX 64
#define FOURSEVEN_SKIPS_MAX 16
#define FOURSEVEN_LATENCIES 40 /* worker.seconds: two for each doubling, from 16 us to 17 s */

/* Counters: one writer (the worker), whole words, read by control at any time. */
typedef struct FOURSEVEN_LINE {
    uint64_t turns, accepted, accept_errors, sessions_opened, sessions_closed;
    uint64_t requests, own_answers, upgrades, retries;
    uint64_t buffers_large, buffers_small, pipes; /* taken now: gauges */
    uint64_t upstream_idle;                       /* gauge */
    uint64_t memory_refused;                      /* a limit or malloc said no */
    uint64_t faults[FOURSEVEN_FAULTS_MAX];        /* by protocols.http1.Fault */
    uint64_t pick_failed, timeouts_head, timeouts_body, timeouts_idle, timeouts_send;
    uint64_t tls_handshakes, tls_resumed, tls_failed; /* resumed ones are among the handshakes */
    uint64_t arrivals;                            /* gauge: connections of which something is read first */
    uint64_t hello_refused, proxy_refused, timeouts_hello;
    /* by worker.secure.TlsFault: with clients, with servers */
    uint64_t tls_faults[FOURSEVEN_TLS_FAULTS_MAX], tls_server_faults[FOURSEVEN_TLS_FAULTS_MAX];
    uint64_t http2_sessions, http2_streams, http2_resets, http2_calmed; /* calmed: the fault budget was spent */
    uint64_t http2_trunks, http2_calls;           /* connections to servers, and requests on them */
    uint64_t rate_dry_run;          /* requests that a rate limit would have refused */
    uint64_t rate_keys_replaced;    /* its table was full: a key that still counted made room */
    uint64_t concurrency_untracked; /* its table was full: refused */
    uint64_t records, records_dropped; /* of requests, for the log and for spans */
    uint64_t mirror_copies, mirror_failed;     /* sent; of those, without a whole answer */
    uint64_t mirror_skipped, mirror_given_up;  /* too many at once; a body beyond the limit, or no server */
    uint64_t compressors;              /* gauge: at work now */
    uint64_t compressed, compressed_in, compressed_out; /* answers, and bytes of their bodies before and after */
    uint64_t uncompressed[FOURSEVEN_SKIPS_MAX]; /* answers that stayed as they came, by l7.compressed.Skip */
    uint64_t bandwidth_waits;          /* times that a body was held back */
} WorkerCounters;

typedef struct FOURSEVEN_LINE {
    uint64_t accepted, refused_limit, requests, bytes_in, bytes_out;
    uint64_t status[6];  /* [0]: closed without an answer; [1]..[5]: answers by class */
    uint64_t flows, flows_refused, datagrams_in, datagrams_out;
} ListenerCounters;

typedef struct FOURSEVEN_LINE {
    uint64_t requests, connects, connect_errors, timeouts, resets, bad_answers;
    uint64_t bytes_to, bytes_from;
    uint64_t status[6];
    uint64_t tls_handshakes, tls_resumed, tls_failed;
    uint64_t tries, errors; /* how it did (worker.judged): answers and connections, bad ones among them */
    uint64_t latency_ns;    /* the sum, of answers: from the request's last byte to the first one */
} SlotCounters;

/* By a route's stable number. begun - ended: requests that still speak of it. */
typedef struct FOURSEVEN_LINE {
    uint64_t begun, ended, bytes_in, bytes_out;
    uint64_t status[6];  /* [0]: the client left without an answer */
    uint64_t latency_ns; /* the sum; from the head's last byte to the answer's last */
    uint64_t latencies[FOURSEVEN_LATENCIES];
    uint64_t reasons[FOURSEVEN_REASONS_MAX]; /* by worker.reasons.Reason: answers of our own, and ends without one */
} RouteCounters;

/* By a backend's number. */
typedef struct FOURSEVEN_LINE {
    uint64_t requests, retries, pick_failed;
    uint64_t latency_ns; /* the sum; from the request's last byte to the answer's first */
    uint64_t latencies[FOURSEVEN_LATENCIES];
    uint64_t retries_of_status, retries_refused;   /* refused: by the budget */
    uint64_t persisted, persisted_new, persisted_moved; /* found; given a server; its server could not be had */
    uint64_t queued, queue_full, queue_timeouts, limited; /* limited: at the limit, with no queue */
    uint64_t circuits_opened, circuit_refused, spilled;   /* spilled: to a further tier */
    uint64_t hedges, hedges_won;                          /* second servers asked; those whose answer was taken */
    uint64_t backend_circuit_opened, backend_circuit_refused; /* of the backend as a whole */
    uint64_t fallbacks;         /* requests that the route's other backend took */
    uint64_t persisted_refused; /* their server could not be had, and no other would do */
    uint64_t load_reports, load_reports_bad; /* what servers said of their load; what could not be read */
} BackendCounters;

#endif
