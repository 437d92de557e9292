/* A parsed HTTP message: the one form that every protocol reader fills, and that matches, filters
   and the engine read. The spans point into the reader's buffer (or into `scratch`), so a message
   lives no longer than one turn of the loop. */
#ifndef FOURSEVEN_MESSAGE_H
#define FOURSEVEN_MESSAGE_H
#include <stdint.h>

#define FOURSEVEN_HEADERS_CAPACITY 256     /* what a listener may at most allow; the default is 128 */
#define FOURSEVEN_SCRATCH_CAPACITY 65536u  /* canonical host and path; a longer one is refused */

typedef struct {
    const char *at; /* NULL: absent; absent and empty differ */
    uint32_t size;
} Span;

/* Every address is kept as 16 bytes; IPv4 as ::ffff:a.b.c.d, so that no rule is by-passed by the other form. */
typedef struct {
    uint8_t bytes[16];
    uint16_t port; /* host byte order */
} Address;

/* What a client's verified certificate says of it (tls/identity). */
#define FOURSEVEN_CERTIFICATE_FACTS 5
typedef struct {
    Span facts[FOURSEVEN_CERTIFICATE_FACTS]; /* CertificateFact */
    Span *names;                             /* the alternative names, each for itself */
    uint32_t name_count;
} ClientCertificate;

typedef struct {
    Span name, value;
    uint16_t known; /* KnownHeader; 0 = another one */
    uint16_t drop;  /* 1: hop-by-hop, named by Connection, or framing: the writer makes its own or none */
} Header;

typedef struct {
    Span method, target, authority; /* as received; authority: the Host header or the absolute form's */
    Span host;                      /* canonical: lower case, no port, no final dot */
    Span path;                      /* canonical: dot segments and // removed, needless %XX decoded */
    Span query;                     /* what follows '?', as received; absent without '?' */
    Span sni;                       /* canonical name of the ClientHello; absent without TLS or name */
    Span alpn;                      /* protocols that the client offers: of each its size, then its name */
    Span body;                      /* a decoded prefix of the body, for payload matches; absent otherwise */
    uint64_t content_length;
    uint32_t head_size;             /* bytes of the head in the buffer */
    uint32_t header_count;
    uint32_t fault;                 /* Fault, when the reader refused */
    uint8_t method_id;              /* Method */
    uint8_t version;                /* 10, 11 or 20 */
    uint8_t framing;                /* Framing */
    uint8_t keep_alive;             /* the client allows another request on this connection */
    uint8_t expect_continue;
    uint8_t upgrade;                /* a valid Upgrade other than h2c */
    uint8_t secure;                 /* 1: came over TLS (scheme https) */
    uint8_t body_complete;          /* `body` is the whole of it */
    const ClientCertificate *certificate; /* NULL: the client has shown none */
    Address peer;                   /* the other end of the connection */
    Address client;                 /* peer, or what a trusted X-Forwarded-For says */
    Address local;                  /* our end: the listener's address the client came to */
    Header headers[FOURSEVEN_HEADERS_CAPACITY];
    char scratch[FOURSEVEN_SCRATCH_CAPACITY];
} Request;

typedef struct {
    Span reason;
    uint64_t content_length;
    uint32_t head_size;
    uint32_t header_count;
    uint32_t fault;
    uint16_t status;
    uint8_t version;
    uint8_t framing;
    uint8_t keep_alive; /* the server allows another request on this connection */
    uint8_t upgrade;    /* 101 with an Upgrade header */
    Header headers[FOURSEVEN_HEADERS_CAPACITY];
} Response;
#endif
