/* Log records. The library prints nothing: a record goes to the one callback that cmd sets before
 * it starts threads (default: none). Any thread may log; the callback must be thread-safe. */
#ifndef SL_BASE_LOG_H
#define SL_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>

#include <sluice/status.h>

typedef enum sl_log_level {
    SL_LOG_ERROR = 0, /* something asked for was not done */
    SL_LOG_WARN = 1,  /* done, but somebody should look */
    SL_LOG_INFO = 2,  /* life of the program: started, loaded, stopped */
    SL_LOG_DEBUG = 3  /* for whoever hunts a defect */
} sl_log_level;

#define SL_LOG_MESSAGE_MAX 1024

typedef struct sl_log_record {
    sl_log_level level;
    const char *module;  /* folder that speaks: "serve", "engine"; static string */
    const char *message; /* one line of printable UTF-8; lives during the call */
} sl_log_record;

typedef void (*sl_log_fn)(void *user, const sl_log_record *record);

/* Records above `max_level` are dropped. fn NULL: none at all. Before other threads run. */
void sl_log_init(sl_log_fn fn, void *user, sl_log_level max_level);
bool sl_log_wanted(sl_log_level level);            /* to spare costly arguments */
const char *sl_log_level_name(sl_log_level level); /* "error", "warn", "info", "debug" */

/* Formats into a buffer on the stack (nothing is allocated). Whatever may come from outside is made
 * harmless: control characters and bytes that are no UTF-8 appear as \n, \t or \xNN, a backslash as
 * \\; an overlong message ends in "...". */
void sl_log(sl_log_level level, const char *module, const char *format, ...) SL_PRINTF(3, 4);

/* Writes text[0..len) into out[0..cap) in that form, terminated; returns its length. cap >= 4. */
size_t sl_log_escape(const char *text, size_t len, char *out, size_t cap);

#endif
