/* The table of request fields. docs/api.md is written from it. */
#include "serve/api/params_int.h"

#define CHAT SL_API_CHAT
#define COMP SL_API_COMPLETION
#define BOTH (SL_API_CHAT | SL_API_COMPLETION)
#define AT(member) offsetof(sl_api_params, member)

#define FLOAT(name, kinds, member, min, max)                                                       \
    { name, kinds, PARAMS_FLOAT, AT(member), min, max, PARAMS_NEUTRAL_NULL, NULL }
#define BOOL(name, kinds, member)                                                                  \
    { name, kinds, PARAMS_BOOL, AT(member), 0, 0, PARAMS_NEUTRAL_NULL, NULL }
#define COUNT(name, kinds, member, min, max)                                                       \
    { name, kinds, PARAMS_COUNT, AT(member), min, max, PARAMS_NEUTRAL_NULL, NULL }
#define CALL(name, kinds, call)                                                                    \
    { name, kinds, PARAMS_CALL, 0, 0, 0, PARAMS_NEUTRAL_NULL, call }
#define NO_EFFECT(name, kinds)                                                                     \
    { name, kinds, PARAMS_NO_EFFECT, 0, 0, 0, PARAMS_NEUTRAL_NULL, NULL }
#define REFUSED(name, kinds, neutral)                                                              \
    { name, kinds, PARAMS_REFUSED, 0, 0, 0, neutral, NULL }

const params_field sl_params_fields[] = {
    /* what is asked */
    CALL("model", BOTH, sl_params_model),
    CALL("messages", CHAT, sl_params_list),
    CALL("prompt", COMP, sl_params_prompt),
    CALL("tools", CHAT, sl_params_list),
    CALL("tool_choice", CHAT, sl_params_tool_choice),
    CALL("documents", CHAT, sl_params_list),
    CALL("chat_template_kwargs", CHAT, sl_params_template_kwargs),
    CALL("reasoning_effort", CHAT, sl_params_reasoning_effort),
    BOOL("add_generation_prompt", CHAT, add_generation_prompt),
    BOOL("add_special_tokens", COMP, add_special),
    /* how much of it */
    COUNT("n", BOTH, n, 1, SL_API_N_MAX),
    COUNT("best_of", BOTH, best_of, 0, SL_API_N_MAX),
    BOOL("echo", COMP, echo),
    CALL("max_tokens", BOTH, sl_params_max_tokens),
    CALL("max_completion_tokens", CHAT, sl_params_max_tokens),
    CALL("stop", BOTH, sl_params_stop),
    CALL("stop_token_ids", BOTH, sl_params_stop_ids),
    BOOL("ignore_eos", BOTH, ignore_eos),
    /* who shares its beginning, and when it must be there */
    CALL("cache_salt", BOTH, sl_params_cache_salt),
    CALL("priority", BOTH, sl_params_priority),
    COUNT("deadline_ms", BOTH, deadline_ms, 1, SL_API_DEADLINE_MS_MAX),
    /* how it is chosen */
    FLOAT("temperature", BOTH, sample.temperature, 0.0, 2.0),
    FLOAT("top_p", BOTH, sample.top_p, 0.0, 1.0),
    CALL("top_k", BOTH, sl_params_top_k),
    FLOAT("min_p", BOTH, sample.min_p, 0.0, 1.0),
    FLOAT("typical_p", BOTH, sample.typical_p, 0.0, 1.0),
    FLOAT("repetition_penalty", BOTH, sample.repetition_penalty, 0.01, 100.0),
    FLOAT("presence_penalty", BOTH, sample.presence_penalty, -2.0, 2.0),
    FLOAT("frequency_penalty", BOTH, sample.frequency_penalty, -2.0, 2.0),
    CALL("logit_bias", BOTH, sl_params_logit_bias),
    CALL("seed", BOTH, sl_params_seed),
    /* how it is told */
    BOOL("stream", BOTH, stream),
    CALL("stream_options", BOTH, sl_params_stream_options),
    CALL("logprobs", BOTH, sl_params_logprobs),
    COUNT("top_logprobs", CHAT, sample.n_top, 0, SL_API_TOP_LOGPROBS_MAX),
    BOOL("return_token_ids", BOTH, return_token_ids),
    CALL("skip_special_tokens", BOTH, sl_params_skip_special),
    /* documented elsewhere, no effect on an answer of this server */
    NO_EFFECT("user", BOTH),
    NO_EFFECT("store", CHAT),
    NO_EFFECT("metadata", CHAT),
    NO_EFFECT("service_tier", CHAT),
    NO_EFFECT("safety_identifier", CHAT),
    NO_EFFECT("prompt_cache_key", CHAT),
    NO_EFFECT("prompt_cache_retention", CHAT),
    NO_EFFECT("parallel_tool_calls", CHAT),
    NO_EFFECT("prediction", CHAT),
    NO_EFFECT("request_id", BOTH),
    NO_EFFECT("spaces_between_special_tokens", BOTH),
    NO_EFFECT("detokenize", BOTH),
    /* would change the answer, not done yet */
    REFUSED("response_format", BOTH, PARAMS_NEUTRAL_TEXT),
    REFUSED("modalities", CHAT, PARAMS_NEUTRAL_TEXT),
    REFUSED("audio", CHAT, PARAMS_NEUTRAL_NULL),
    REFUSED("functions", CHAT, PARAMS_NEUTRAL_EMPTY),
    REFUSED("function_call", CHAT, PARAMS_NEUTRAL_NONE),
    REFUSED("verbosity", CHAT, PARAMS_NEUTRAL_MEDIUM),
    REFUSED("web_search_options", CHAT, PARAMS_NEUTRAL_NULL),
    REFUSED("continue_final_message", CHAT, PARAMS_NEUTRAL_FALSE),
    REFUSED("chat_template", CHAT, PARAMS_NEUTRAL_NULL),
    REFUSED("echo", CHAT, PARAMS_NEUTRAL_FALSE),
    REFUSED("suffix", COMP, PARAMS_NEUTRAL_EMPTY),
    REFUSED("min_tokens", BOTH, PARAMS_NEUTRAL_ZERO),
    REFUSED("include_stop_str_in_output", BOTH, PARAMS_NEUTRAL_FALSE),
    REFUSED("use_beam_search", BOTH, PARAMS_NEUTRAL_FALSE),
    REFUSED("length_penalty", BOTH, PARAMS_NEUTRAL_ONE),
    REFUSED("truncate_prompt_tokens", BOTH, PARAMS_NEUTRAL_NULL),
    REFUSED("prompt_logprobs", BOTH, PARAMS_NEUTRAL_NULL),
    REFUSED("prompt_embeds", COMP, PARAMS_NEUTRAL_NULL),
    REFUSED("allowed_token_ids", BOTH, PARAMS_NEUTRAL_NULL),
    REFUSED("bad_words", BOTH, PARAMS_NEUTRAL_EMPTY),
    REFUSED("logits_processors", BOTH, PARAMS_NEUTRAL_EMPTY),
    REFUSED("mm_processor_kwargs", CHAT, PARAMS_NEUTRAL_EMPTY),
    REFUSED("structured_outputs", BOTH, PARAMS_NEUTRAL_NULL),
    REFUSED("guided_json", BOTH, PARAMS_NEUTRAL_NULL),
    REFUSED("guided_regex", BOTH, PARAMS_NEUTRAL_NULL),
    REFUSED("guided_choice", BOTH, PARAMS_NEUTRAL_NULL),
    REFUSED("guided_grammar", BOTH, PARAMS_NEUTRAL_NULL),
    REFUSED("grammar", BOTH, PARAMS_NEUTRAL_EMPTY),
    REFUSED("json_schema", BOTH, PARAMS_NEUTRAL_EMPTY),
};
const size_t sl_params_n_fields = sizeof(sl_params_fields) / sizeof(sl_params_fields[0]);
