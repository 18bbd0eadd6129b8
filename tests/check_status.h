/* What tests of the engine say of a call that must succeed. */
#ifndef SL_TESTS_CHECK_STATUS_H
#define SL_TESTS_CHECK_STATUS_H

#include <sluice/status.h>

/* A status that must be SL_OK; its message is in the caller's `err`. */
#define CHECK(call)                                                                                \
    do {                                                                                           \
        if ((call) != SL_OK) {                                                                     \
            fail_msg("%s: %s", #call, err.message);                                                \
        }                                                                                          \
    } while (0)

#endif
