/* SPDX-License-Identifier: Apache-2.0 */
/* libcachee: reads the L1 of a cachee data plane on the same host, straight from its memory, and
 * asks the appliance over its socket for what L1 does not have. C11; cachee.hpp wraps it for C++20.
 * It never writes L1, and nothing that it does or fails to do can stop the data plane.
 *
 * What a read promises. A value from L1 is whole, unexpired, and no older than what the appliance
 * itself would have answered when the call began. Dead, stopped, restarted and replaced data
 * planes, writers killed in the middle of a change and damaged memory all end in a hit or a miss:
 * no call waits for another process but for the appliance's reply, at most timeout_ms.
 *
 * Threads. A handle is used by one thread at a time; different handles by different threads at the
 * same time. Handles are cheap: make one per thread. After fork() the child makes its own.
 *
 * Memory. What a call returns in library memory is valid until the next call on the same handle.
 *
 * ABI. libcachee.so.0: structures only ever grow where their size is passed, enumerators are only
 * ever added. docs/LIBRARY.md is the reference. */
#ifndef CACHEE_CACHEE_H_
#define CACHEE_CACHEE_H_

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define CACHEE_API __attribute__((visibility("default")))
#else
#define CACHEE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define CACHEE_ABI_VERSION 0

/* 0: there. Positive: not there. Negative: not known, and why. */
typedef enum cachee_status {
    CACHEE_OK = 0,
    CACHEE_ABSENT = 1, /* the appliance says that there is no such key */
    CACHEE_MISS = 2,   /* L1 does not have it, and the fall-back is off: L2 may have it */

    CACHEE_TOO_SMALL = -1,     /* the buffer; value.size says what is needed */
    CACHEE_INVALID = -2,       /* an argument that no call takes */
    CACHEE_NO_INSTANCE = -3,   /* no data plane of that name has run here */
    CACHEE_NOT_PERMITTED = -4, /* the account is not in l1.readers_group */
    CACHEE_INCOMPATIBLE = -5,  /* a data plane of another release */
    CACHEE_DAMAGED = -6,       /* what is there is no L1 */
    CACHEE_SYSTEM = -7,        /* the operating system refused: cachee_last_error() */
    CACHEE_NO_MEMORY = -8,
    CACHEE_APPLIANCE_DOWN = -9, /* L1 does not have it and the appliance cannot be reached */
    CACHEE_TIMEOUT = -10,       /* L1 does not have it and no answer came in timeout_ms */
    CACHEE_DENIED = -11,        /* the appliance wants another user or password */
    CACHEE_WRONG_TYPE = -12,    /* the key holds no string */
    CACHEE_REFUSED = -13,       /* any other error reply: cachee_last_error() */
    CACHEE_PROTOCOL = -14       /* what answers there does not speak RESP */
} cachee_status;

/* Where an answer came from. */
typedef enum cachee_source {
    CACHEE_FROM_NOWHERE = 0,
    CACHEE_FROM_L1 = 1,
    CACHEE_FROM_APPLIANCE = 2
} cachee_source;

enum {
    CACHEE_NO_FALLBACK = 1 << 0, /* never ask the appliance: what L1 has not is CACHEE_MISS */
    CACHEE_NO_CHECKSUM = 1 << 1, /* do not check each value's CRC32C; versions still are */
    CACHEE_LAZY = 1 << 2,        /* attach succeeds without a data plane; calls look for it */
    CACHEE_NO_HINTS = 1 << 3     /* do not tell the data plane which keys are read */
};

#define CACHEE_NO_EXPIRY INT64_C(-1)
#define CACHEE_EXPIRY_UNKNOWN INT64_C(-2) /* values that the appliance sent */

/* Zero means the default everywhere but in struct_size. Text is copied by cachee_attach(). */
typedef struct cachee_options {
    size_t struct_size;        /* sizeof(cachee_options): CACHEE_OPTIONS_INIT sets it */
    uint32_t flags;            /* CACHEE_NO_FALLBACK ... */
    uint32_t timeout_ms;       /* for one call to the appliance, connecting included; 1000 */
    uint32_t reconnect_max_ms; /* greatest pause between attempts to reach it; 1000 */
    uint32_t hint_every;       /* one hit in so many is reported to the eviction policy; 32 */
    const char* l1_path;       /* else $CACHEE_L1_PATH, else where the data plane says */
    const char* address;       /* "a.b.c.d:port", "[v6]:port"; else $CACHEE_ADDRESS, else its own */
    const char* user;          /* for AUTH, beside the password */
    const char* password;      /* else $CACHEE_PASSWORD; empty: no AUTH */
} cachee_options;

#define CACHEE_OPTIONS_INIT \
    { sizeof(cachee_options), 0, 0, 0, 0, NULL, NULL, NULL, NULL }

typedef struct cachee_value {
    const void* data; /* not terminated by a zero */
    size_t size;
    int64_t ttl_ms; /* left, or CACHEE_NO_EXPIRY, CACHEE_EXPIRY_UNKNOWN */
    int32_t source; /* cachee_source */
    int32_t reserved;
} cachee_value;

/* One key of cachee_multi_get(). */
typedef struct cachee_item {
    const void* key; /* in */
    size_t key_size;
    void* buffer; /* in; NULL: the library's memory */
    size_t capacity;
    cachee_value value; /* out */
    int32_t status;     /* out: cachee_status */
    int32_t reserved;
} cachee_item;

/* Since attaching. */
typedef struct cachee_statistics {
    size_t struct_size; /* in: sizeof(cachee_statistics) */
    uint64_t l1_hits;
    uint64_t l1_misses;
    uint64_t l1_untrusted; /* L1 was not vouched for: a dead, stopped or cut-off data plane */
    uint64_t l1_busy;      /* a writer was at work too long, or died at it */
    uint64_t l1_damaged;   /* refused by checksum or bounds */
    uint64_t appliance_requests;
    uint64_t appliance_failures;
    uint64_t attachments; /* how often an L1 file was mapped */
    uint64_t hints_sent;
} cachee_statistics;

typedef struct cachee_handle cachee_handle;

/* Attaches to the data plane `instance` (NULL: $CACHEE_INSTANCE, else "main"). `options` may be
 * NULL. Without CACHEE_OK, *handle is NULL and cachee_last_error() says what to do. Maps all of L1:
 * some milliseconds per GiB. */
CACHEE_API cachee_status cachee_attach(const char* instance, const cachee_options* options,
                                       cachee_handle** handle);
CACHEE_API void cachee_detach(cachee_handle* handle); /* NULL: nothing */

/* The value, in library memory. CACHEE_OK, CACHEE_ABSENT, CACHEE_MISS or an error. */
CACHEE_API cachee_status cachee_get(cachee_handle* handle, const void* key, size_t key_size,
                                    cachee_value* value);
/* The value, in the caller's buffer, whose contents are undefined without CACHEE_OK. */
CACHEE_API cachee_status cachee_get_into(cachee_handle* handle, const void* key, size_t key_size,
                                         void* buffer, size_t capacity, cachee_value* value);
/* Many at once: memory is fetched for all of them at the same time, and the appliance is asked for
 * the missing ones in one go. CACHEE_OK: each item has its own status. `item_size` is
 * sizeof(cachee_item). */
CACHEE_API cachee_status cachee_multi_get(cachee_handle* handle, cachee_item* items, size_t count,
                                          size_t item_size);
/* CACHEE_OK: the key exists. `source` may be NULL. */
CACHEE_API cachee_status cachee_exists(cachee_handle* handle, const void* key, size_t key_size,
                                       cachee_source* source);
/* Milliseconds left, or CACHEE_NO_EXPIRY. `source` may be NULL. */
CACHEE_API cachee_status cachee_ttl(cachee_handle* handle, const void* key, size_t key_size,
                                    int64_t* ttl_ms, cachee_source* source);

CACHEE_API void cachee_get_statistics(const cachee_handle* handle, cachee_statistics* statistics);
/* A sentence about the calling thread's last call that ended with an error; never NULL. */
CACHEE_API const char* cachee_last_error(void);
/* What a status means, in a few words; never NULL. */
CACHEE_API const char* cachee_status_text(cachee_status status);
CACHEE_API const char* cachee_version(void);
CACHEE_API int cachee_abi_version(void);

#ifdef __cplusplus
}
#endif

#endif /* CACHEE_CACHEE_H_ */
