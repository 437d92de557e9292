/* One macro for each memory order; the type comes from the pointer. */
#ifndef FOURSEVEN_ATOMICS_H
#define FOURSEVEN_ATOMICS_H
#define fs_load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define fs_load_relaxed(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define fs_load_seq(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define fs_store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define fs_store_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define fs_store_seq(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)
#define fs_exchange_seq(p, v) __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)
#define fs_fetch_add_relaxed(p, v) __atomic_fetch_add((p), (v), __ATOMIC_RELAXED)
#define fs_fetch_add_release(p, v) __atomic_fetch_add((p), (v), __ATOMIC_RELEASE)
#define fs_fetch_add_seq(p, v) __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST)
/* 1 if it was `before` and is `after` now. */
#define fs_swap_if(p, before, after) __extension__ ({ \
    __typeof__(*(p)) fs_before = (before); \
    __atomic_compare_exchange_n((p), &fs_before, (after), 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED); })
#define fs_fetch_or(p, v) __atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST)
#define fs_fetch_and(p, v) __atomic_fetch_and((p), (v), __ATOMIC_SEQ_CST)
/* As fs_swap_if, and what is written after it is seen after it, what was before it before. */
static inline int fs_claim_u32(unsigned *p, unsigned before, unsigned after)
{
    return __atomic_compare_exchange_n(p, &before, after, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
/* A counter with one writer needs no locked instruction; a reader still sees whole words. */
#define fs_count(p, v) fs_store_relaxed((p), fs_load_relaxed(p) + (v))
#endif
