/* Where the two halves meet: one pointer, one epoch, and the bases of what is mutable. */
#ifndef FOURSEVEN_CELL_H
#define FOURSEVEN_CELL_H
#include "fourseven/snapshot/layout.h"

typedef struct {
    Snapshot *current FOURSEVEN_LINE; /* control; atomic */
    uint64_t epoch;                   /* control; atomic: moves on at each publish */
    uint32_t draining;                /* control; atomic: 1 = accept nothing more, finish */
    uint32_t cuts;                    /* control; atomic: how often a slot came to be `cut` */
    Slot *slots FOURSEVEN_LINE;       /* the bases; never change */
    BackendState *backends;
    ListenerState *listeners;
    void *names;                      /* fourseven.snapshot.names.NameTable */
    void *tickets;                    /* fourseven.tls.tickets.TicketRing */
    int32_t wake_fds[FOURSEVEN_WORKERS_MAX]; /* of each worker: an eventfd that makes it begin a turn */
} Shared;

/* What a worker says of itself: the epoch of its turn, or OFFLINE. A line of its own. */
typedef struct FOURSEVEN_LINE {
    uint64_t epoch; /* atomic: the worker writes, control reads */
} Seen;
#endif
