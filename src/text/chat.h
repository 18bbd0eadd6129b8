/* A model's chat format: its template together with the texts of its special tokens.
 *
 * messages, tools -> prompt text with the spans that users wrote -> token ids in which only the
 * template's own special tokens are recognised. Immutable after opening and shared by threads; each
 * call brings its own buffers.
 */
#ifndef SL_TEXT_CHAT_H
#define SL_TEXT_CHAT_H

#include <stdint.h>

#include <sluice/status.h>

#include "base/buf.h"
#include "format/gguf.h"
#include "text/template/template.h"
#include "text/tokenizer/tokenizer.h"

typedef struct sl_chat sl_chat;

/* From the file's tokenizer.chat_template (and tokenizer.chat_template.tool_use, used when tools
 * are given). SL_ERR_NOT_FOUND when the file has none: the caller decides what to do. Needs neither
 * file nor tokenizer afterwards. */
SL_NODISCARD sl_status sl_chat_open(const sl_gguf *file, const sl_tokenizer *tok, sl_chat **out,
                                    sl_error *err);
/* From a template's source alone: special tokens come from the request, if from anywhere. */
SL_NODISCARD sl_status sl_chat_open_source(const char *name, sl_slice source, sl_chat **out,
                                           sl_error *err);
void sl_chat_close(sl_chat *c); /* NULL is fine */

/* `request` is an object: messages, tools, documents (none when absent), add_generation_prompt
 * (false when absent); every further member is a variable of its own, and may override bos_token
 * and its kin. A message's role counts as template text when it is a plain word (letters, digits, _
 * and -), since templates build special tokens from it. `now_unix_s` is what strftime_now sees. */
SL_NODISCARD sl_status sl_chat_render(const sl_chat *c, const sl_value *request, int64_t now_unix_s,
                                      sl_buf *out, sl_spans *spans_out, sl_error *err);

/* Appends the ids of a rendered prompt. Control tokens are recognised outside of the spans only.
 * One BOS: added if the file asks for it and the text does not begin with it; no EOS. `spans` may
 * be NULL: all trusted. */
SL_NODISCARD sl_status sl_chat_encode(const sl_tokenizer *tok, sl_slice text, const sl_spans *spans,
                                      sl_ids *ids, sl_error *err);

#endif
