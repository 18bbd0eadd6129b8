/* Writing and passing on errors. See include/sluice/status.h for the rules. */
#ifndef SL_BASE_ERROR_H
#define SL_BASE_ERROR_H

#include <sluice/status.h>

/* Writes code and message into `err` (may be NULL) and returns `code`. Control characters that come
 * from outside (file names, keys) are replaced so that a message is always one printable line; an
 * overlong message is cut at a character border. */
sl_status sl_error_set(sl_error *err, sl_status code, const char *file, int line,
                       const char *format, ...) SL_PRINTF(5, 6);

/* return SL_FAIL(err, SL_ERR_FORMAT, "%s: ...", path); */
#if defined(__clang_analyzer__)
/* The analyzer sees one file at a time; this tells it that a failure never looks like SL_OK. */
#define SL_FAIL(err, code, ...)                                                                    \
    ((void)sl_error_set((err), (code), __FILE__, __LINE__, __VA_ARGS__), (code))
#else
#define SL_FAIL(err, code, ...) sl_error_set((err), (code), __FILE__, __LINE__, __VA_ARGS__)
#endif

/* What the system says about an errno value ("No such file or directory"): a static string, any
 * thread. */
const char *sl_errno_text(int code);

/* Returns from the calling function with the status of `call` unless it is SL_OK. */
#define SL_TRY(call)                                                                               \
    do {                                                                                           \
        sl_status sl_try_status_ = (call);                                                         \
        if (sl_try_status_ != SL_OK) {                                                             \
            return sl_try_status_;                                                                 \
        }                                                                                          \
    } while (0)

/* As SL_TRY, but keeps the status in `status` and jumps to `label` for clean-up. */
#define SL_TRY_GOTO(status, call, label)                                                           \
    do {                                                                                           \
        (status) = (call);                                                                         \
        if ((status) != SL_OK) {                                                                   \
            goto label;                                                                            \
        }                                                                                          \
    } while (0)

#endif
