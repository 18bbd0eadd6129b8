/* What the load generator says: texts of about so many tokens, and the bodies of its requests. */
#ifndef SL_MEASURE_TRAFFIC_PROMPT_H
#define SL_MEASURE_TRAFFIC_PROMPT_H

#include "measure/traffic.h"

#define TRAFFIC_BODY_MAX ((size_t)64 << 20)
/* What random numbers are drawn for. */
enum { TRAFFIC_DRAW_ARRIVAL, TRAFFIC_DRAW_SHARED, TRAFFIC_DRAW_WORD };

/* A chat so far: JSON of its messages, with a comma between them. */
typedef struct traffic_prompt {
    sl_buf messages;
} traffic_prompt;

void sl_traffic_prompt_begin(traffic_prompt *p);
/* The body of an item's request. answer: the server's to the turn before. */
SL_NODISCARD sl_status sl_traffic_prompt_body(traffic_prompt *p, const sl_traffic_options *o,
                                              size_t item, uint32_t turn, const sl_buf *answer,
                                              sl_buf *body);

#endif
