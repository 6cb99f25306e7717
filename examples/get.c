/* SPDX-License-Identifier: Apache-2.0 */
/* Reads keys through libcachee and says where each answer came from.
 *   get INSTANCE KEY...
 * Build: cc get.c $(pkg-config --cflags --libs cachee) */
#include <cachee/cachee.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char* name_of(int source) {
    return source == CACHEE_FROM_L1 ? "L1" : source == CACHEE_FROM_APPLIANCE ? "appliance" : "-";
}

int main(int argc, char** argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: %s INSTANCE KEY...\n", argv[0]);
        return 2;
    }
    cachee_handle* handle = NULL;
    if (cachee_attach(argv[1], NULL, &handle) != CACHEE_OK) {
        fprintf(stderr, "%s\n", cachee_last_error());
        return 1;
    }
    int failures = 0;
    for (int i = 2; i < argc; ++i) {
        char buffer[4096];
        cachee_value value;
        const cachee_status status =
            cachee_get_into(handle, argv[i], strlen(argv[i]), buffer, sizeof buffer, &value);
        if (status == CACHEE_OK) {
            printf("%s = %.*s (%s)\n", argv[i], (int)value.size, buffer, name_of(value.source));
            if (value.ttl_ms >= 0) printf("    %" PRId64 " ms left\n", value.ttl_ms);
        } else {
            printf("%s: %s (%s)\n", argv[i], cachee_status_text(status), name_of(value.source));
            if (status < 0) ++failures;
        }
    }
    cachee_detach(handle);
    return failures == 0 ? 0 : 1;
}
