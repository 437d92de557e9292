from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

cdef extern from "fourseven/native/atomics.h" nogil:
    uint64_t load_acquire "fs_load_acquire"(const uint64_t *p)
    uint64_t load_seq "fs_load_seq"(const uint64_t *p)
    uint64_t load_relaxed "fs_load_relaxed"(const uint64_t *p)
    void store_release "fs_store_release"(uint64_t *p, uint64_t value)
    void store_relaxed "fs_store_relaxed"(uint64_t *p, uint64_t value)
    void store_seq "fs_store_seq"(uint64_t *p, uint64_t value)
    uint64_t fetch_add "fs_fetch_add_relaxed"(uint64_t *p, uint64_t value)
    uint64_t fetch_add_seq "fs_fetch_add_seq"(uint64_t *p, uint64_t value)
    void count "fs_count"(uint64_t *p, uint64_t value)

    uint32_t load_acquire_u32 "fs_load_acquire"(const uint32_t *p)
    uint32_t load_relaxed_u32 "fs_load_relaxed"(const uint32_t *p)
    void store_release_u32 "fs_store_release"(uint32_t *p, uint32_t value)
    void store_relaxed_u32 "fs_store_relaxed"(uint32_t *p, uint32_t value)
    uint32_t fetch_add_u32 "fs_fetch_add_relaxed"(uint32_t *p, uint32_t value)
    uint32_t fetch_and_u32 "fs_fetch_and"(uint32_t *p, uint32_t value)
    bint claim_u32 "fs_claim_u32"(uint32_t *p, uint32_t before, uint32_t after)

    void *exchange_pointer "fs_exchange_seq"(void **p, void *value)
    int32_t load_acquire_i32 "fs_load_acquire"(const int32_t *p)
    void store_release_i32 "fs_store_release"(int32_t *p, int32_t value)

    int64_t load_i64 "fs_load_relaxed"(const int64_t *p)
    void store_i64 "fs_store_relaxed"(int64_t *p, int64_t value)
    int64_t fetch_add_i64 "fs_fetch_add_relaxed"(int64_t *p, int64_t value)
    int64_t fetch_add_release_i64 "fs_fetch_add_release"(int64_t *p, int64_t value)
    int64_t load_acquire_i64 "fs_load_acquire"(const int64_t *p)
    void store_release_i64 "fs_store_release"(int64_t *p, int64_t value)

    bint swap_if "fs_swap_if"(uint64_t *p, uint64_t before, uint64_t after)
    bint swap_if_u32 "fs_swap_if"(uint32_t *p, uint32_t before, uint32_t after)
    uint64_t fetch_or "fs_fetch_or"(uint64_t *p, uint64_t value)
    uint64_t fetch_and "fs_fetch_and"(uint64_t *p, uint64_t value)
