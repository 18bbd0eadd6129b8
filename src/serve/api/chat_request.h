/* The messages, tools and template variables of a chat request as the values a chat template works
 * on. Pure; the result lives in the caller's arena.
 *
 * Content given as an array of parts becomes one string, the texts joined by line feeds; the role
 * "developer" becomes "system", the name that templates know; the arguments of tool calls, JSON
 * inside a string by OpenAI's rules, become values. All text counts as untrusted: special tokens in
 * it are plain text. */
#ifndef SL_SERVE_CHAT_REQUEST_H
#define SL_SERVE_CHAT_REQUEST_H

#include "base/arena.h"
#include "serve/api/params.h"
#include "text/template/value.h"

SL_NODISCARD sl_status sl_chat_request_build(const sl_api_params *p, sl_arena *a, sl_value **out,
                                             sl_api_error *e);

#endif
