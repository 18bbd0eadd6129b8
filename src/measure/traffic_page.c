/* A load run drawn: one HTML page that needs nothing else. See traffic.h. */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "measure/traffic.h"

enum { PLOT_WIDTH = 640, PLOT_HEIGHT = 220, PLOT_POINTS = 200, PLOT_LEFT = 60, PLOT_LOW = 30 };

static void text_append(sl_buf *out, const char *text) {
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '<':
            (void)sl_buf_append_str(out, "&lt;");
            break;
        case '&':
            (void)sl_buf_append_str(out, "&amp;");
            break;
        default:
            (void)sl_buf_append_char(out, *text);
        }
    }
}

/* A frame with its scales; the line follows. */
static void plot_begin(sl_buf *out, const char *title, const char *x_unit, double x_max,
                       const char *y_unit, double y_max) {
    (void)sl_buf_printf(out,
                        "<h2>%s</h2>\n<svg viewBox='0 0 %d %d' width='%d' role='img'>"
                        "<path d='M%d 10V%dH%d' fill='none' stroke='#888'/>",
                        title, PLOT_WIDTH, PLOT_HEIGHT, PLOT_WIDTH, PLOT_LEFT,
                        PLOT_HEIGHT - PLOT_LOW, PLOT_WIDTH - 10);
    for (int i = 0; i <= 4; i++) {
        const double share = i / 4.0;
        (void)sl_buf_printf(out,
                            "<text x='%.0f' y='%d' text-anchor='middle'>%.4g%s</text>"
                            "<text x='%d' y='%.0f' text-anchor='end'>%.4g%s</text>",
                            PLOT_LEFT + share * (PLOT_WIDTH - PLOT_LEFT - 30), PLOT_HEIGHT - 12,
                            share * x_max, i == 4 ? x_unit : "", PLOT_LEFT - 6,
                            PLOT_HEIGHT - PLOT_LOW - share * (PLOT_HEIGHT - PLOT_LOW - 15) + 4,
                            share * y_max, i == 4 ? y_unit : "");
    }
    (void)sl_buf_append_str(out, "<polyline fill='none' stroke='#06c' stroke-width='2' points='");
}

static void plot_point(sl_buf *out, double x, double y) {
    (void)sl_buf_printf(out, "%.1f,%.1f ", PLOT_LEFT + x * (PLOT_WIDTH - PLOT_LEFT - 30),
                        PLOT_HEIGHT - PLOT_LOW - y * (PLOT_HEIGHT - PLOT_LOW - 15));
}

/* Which share of the n seconds is below a time; sorts them. */
static void plot_shares(sl_buf *out, const char *title, float *seconds, size_t n) {
    if (n == 0) {
        return;
    }
    sl_traffic_sort(seconds, n);
    const double most = (double)seconds[n - 1];
    plot_begin(out, title, " ms", 1e3 * most, " %", 100.0);
    for (size_t i = 0; i <= PLOT_POINTS; i++) {
        const size_t k = i * (n - 1) / PLOT_POINTS;
        plot_point(out, most > 0.0 ? (double)seconds[k] / most : 0.0, (double)(k + 1) / (double)n);
    }
    (void)sl_buf_append_str(out, "'/></svg>\n");
}

/* Pieces of answers a second, over the time of the run. */
static void plot_rate(sl_buf *out, const sl_traffic_result *r) {
    double count[PLOT_POINTS] = {0}, most = 0.0;
    const double step = r->wall_s / PLOT_POINTS;
    for (size_t i = 0; i < r->n && step > 0.0; i++) {
        double at = r->records[i].first_s;
        for (uint32_t g = 0; g <= r->records[i].n_gaps && at > 0.0; g++) {
            const size_t k = (size_t)(at / step);
            count[k < PLOT_POINTS ? k : PLOT_POINTS - 1] += 1.0;
            at += g < r->records[i].n_gaps ? (double)r->gaps[r->records[i].gap_begin + g] : 0.0;
        }
    }
    for (size_t i = 0; i < PLOT_POINTS; i++) {
        most = count[i] > most ? count[i] : most;
    }
    if (most == 0.0) {
        return;
    }
    plot_begin(out, "Tokens of answers a second, over the run", " s", r->wall_s, "", most / step);
    for (size_t i = 0; i < PLOT_POINTS; i++) {
        plot_point(out, ((double)i + 0.5) / PLOT_POINTS, count[i] / most);
    }
    (void)sl_buf_append_str(out, "'/></svg>\n");
}

sl_status sl_traffic_print_html(const sl_traffic_result *r, const sl_traffic_figures *f,
                                const sl_traffic_limits *limits, const char *title, sl_buf *out,
                                sl_error *err) {
    const size_t room = (r->n > r->n_gaps ? r->n : r->n_gaps) + 1;
    float *seconds = sl_alloc_zero(room, sizeof(*seconds));
    sl_buf text;
    size_t n = 0;
    if (seconds == NULL) {
        return SL_FAIL(err, SL_ERR_MEMORY, "no memory for the plots");
    }
    sl_buf_init(&text, 1u << 20);
    sl_traffic_print_text(r, f, limits, &text);
    (void)sl_buf_append_str(out, "<!doctype html>\n<html lang='en'><meta charset='utf-8'><title>");
    text_append(out, title);
    (void)sl_buf_append_str(out, "</title>\n<style>body{font:15px sans-serif;max-width:720px;"
                                 "margin:2em auto}text{font-size:11px}h2{font-size:16px}"
                                 "pre{overflow-x:auto}</style>\n<h1>");
    text_append(out, title);
    (void)sl_buf_append_str(out, "</h1>\n<pre>");
    text_append(out, sl_buf_cstr(&text) == NULL ? "" : sl_buf_cstr(&text));
    (void)sl_buf_append_str(out, "</pre>\n");
    for (size_t i = 0; i < r->n; i++) {
        if (r->records[i].first_s > 0.0) {
            seconds[n++] = (float)(r->records[i].first_s - r->records[i].due_s);
        }
    }
    plot_shares(out, "Requests whose first token came within a time", seconds, n);
    if (r->n_gaps > 0) {
        memcpy(seconds, r->gaps, r->n_gaps * sizeof(*seconds));
    }
    plot_shares(out, "Tokens that came within a time after the one before", seconds, r->n_gaps);
    n = 0;
    for (size_t i = 0; i < r->n; i++) {
        seconds[n++] = (float)(r->records[i].end_s - r->records[i].due_s);
    }
    plot_shares(out, "Requests that ended within a time", seconds, n);
    plot_rate(out, r);
    (void)sl_buf_append_str(out, "</html>\n");
    sl_buf_deinit(&text);
    sl_free(seconds);
    return out->status == SL_OK ? SL_OK : SL_FAIL(err, out->status, "no memory for the page");
}
