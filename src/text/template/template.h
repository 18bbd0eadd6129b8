/* Chat templates: the part of Jinja that model files use, interpreted over JSON-like values.
 *
 * Behaves as transformers' ImmutableSandboxedEnvironment (trim_blocks, lstrip_blocks, loop
 * controls). A compiled template is immutable and shared by threads; each rendering owns all its
 * state. Values come from an sl_value tree. Every resource is bounded: fuel, depth, output bytes,
 * memory; a breach is an ordinary error, never a clock, never a crash.
 */
#ifndef SL_TEXT_TEMPLATE_H
#define SL_TEXT_TEMPLATE_H

#include <stdbool.h>
#include <stdint.h>

#include <sluice/status.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "text/span.h"
#include "text/template/value.h"

typedef struct sl_template sl_template;

/* `name` is used in messages. Source must be valid UTF-8, at most 1 MB. */
SL_NODISCARD sl_status sl_template_compile(const char *name, sl_slice source, sl_template **out,
                                           sl_error *err);
void sl_template_free(sl_template *t);

typedef struct sl_template_limits {
    uint64_t fuel; /* evaluation steps + eighths of the bytes moved or searched */
    /* nested calls (macros, recursive loops); expressions and statements may be nested 12 times as
     * deep in all, which bounds the C stack */
    uint32_t depth;
    size_t output_bytes;
    size_t memory_bytes; /* of all values made while rendering */
} sl_template_limits;
sl_template_limits sl_template_limits_default(void); /* 32 M steps, 100, 16 MB, 32 MB */

/* See text/span.h. */
void sl_spans_deinit(sl_spans *s);

/* Renders with the members of the object `vars` as global variables. `now_unix_s` is what
 * strftime_now sees (UTC). Strings that the caller marked trusted (sl_value_string with
 * trusted=true, such as bos_token) count as template text. spans_out may be NULL. Errors carry the
 * template's line. */
SL_NODISCARD sl_status sl_template_render(const sl_template *t, const sl_value *vars,
                                          int64_t now_unix_s, const sl_template_limits *limits,
                                          sl_buf *out, sl_spans *spans_out, sl_error *err);

#endif
