/* strftime over the rendering's clock, in UTC and in the C locale. The calendar is computed here
 * (proleptic Gregorian, days counted in eras of 400 years), so that no process-wide time zone or
 * locale matters. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "text/template/tmpl_exec.h"

typedef struct tmpl_date {
    int64_t year;
    int month, day, hour, minute, second; /* month and day from 1 */
    int week_day;                         /* 0: Sunday */
    int year_day;                         /* from 0 */
} tmpl_date;

static const char *const DAYS[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                   "Thursday", "Friday", "Saturday"};
static const char *const MONTHS[] = {"January",   "February", "March",    "April",
                                     "May",       "June",     "July",     "August",
                                     "September", "October",  "November", "December"};

static bool time_leap(int64_t y) {
    return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

static int64_t time_floor_div(int64_t a, int64_t b) {
    return a / b - (a % b < 0);
}

/* Days are counted from 1 March 0000, so that the leap day ends a year. */
static tmpl_date time_split(int64_t unix_s) {
    static const int16_t BEFORE[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    tmpl_date d;
    int64_t day = time_floor_div(unix_s, 86400), second = unix_s - day * 86400;
    int64_t z = day + 719468, era = time_floor_div(z, 146097), in_era = z - era * 146097;
    int64_t year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    int64_t in_year = in_era - (365 * year + year / 4 - year / 100);
    int64_t shifted = (5 * in_year + 2) / 153; /* months from March */
    d.day = (int)(in_year - (153 * shifted + 2) / 5 + 1);
    d.month = (int)(shifted < 10 ? shifted + 3 : shifted - 9);
    d.year = year + era * 400 + (d.month <= 2);
    d.hour = (int)(second / 3600);
    d.minute = (int)(second / 60 % 60);
    d.second = (int)(second % 60);
    d.week_day = (int)(((day + 4) % 7 + 7) % 7);
    d.year_day = BEFORE[d.month - 1] + d.day - 1 + (d.month > 2 && time_leap(d.year));
    return d;
}

/* ISO 8601 week and the year it belongs to. */
static int time_iso_week(const tmpl_date *d, int64_t *year) {
    int monday = (d->week_day + 6) % 7;
    int week = (d->year_day - monday + 10) / 7;
    *year = d->year;
    if (week < 1) {
        *year = d->year - 1;
        int days = time_leap(*year) ? 366 : 365;
        return (d->year_day + days - monday + 10) / 7;
    }
    if (week == 53 && d->year_day - monday + 3 >= (time_leap(d->year) ? 366 : 365)) {
        *year = d->year + 1;
        return 1;
    }
    return week;
}

typedef struct time_field {
    char pad; /* what fills up to width: '0' or ' ' */
    int width;
    int64_t val; /* width 0: no number */
} time_field;

/* The numbers that directives show, in the order of FIELDS. */
static void time_values(const tmpl_date *d, int64_t *v) {
    int64_t iso_year;
    int iso_week = time_iso_week(d, &iso_year), monday_day = (d->week_day + 6) % 7;
    int hour12 = d->hour % 12 == 0 ? 12 : d->hour % 12;
    const int64_t values[] = {d->year,
                              iso_year,
                              d->year / 100,
                              d->year % 100,
                              iso_year % 100,
                              d->month,
                              d->day,
                              d->day,
                              d->hour,
                              d->hour,
                              hour12,
                              hour12,
                              d->minute,
                              d->second,
                              0,
                              d->year_day + 1,
                              d->week_day == 0 ? 7 : d->week_day,
                              d->week_day,
                              (d->year_day + 7 - d->week_day) / 7,
                              (d->year_day + 7 - monday_day) / 7,
                              iso_week};
    memcpy(v, values, sizeof(values));
}

static bool time_number(const tmpl_date *d, char c, time_field *f) {
    static const struct {
        char name, pad;
        int width;
    } FIELDS[] = {{'Y', '0', 1}, {'G', '0', 1}, {'C', '0', 2}, {'y', '0', 2}, {'g', '0', 2},
                  {'m', '0', 2}, {'d', '0', 2}, {'e', ' ', 2}, {'H', '0', 2}, {'k', ' ', 2},
                  {'I', '0', 2}, {'l', ' ', 2}, {'M', '0', 2}, {'S', '0', 2}, {'f', '0', 6},
                  {'j', '0', 3}, {'u', '0', 1}, {'w', '0', 1}, {'U', '0', 2}, {'W', '0', 2},
                  {'V', '0', 2}};
    int64_t values[sizeof(FIELDS) / sizeof(FIELDS[0])];
    for (size_t i = 0; i < sizeof(FIELDS) / sizeof(FIELDS[0]); i++) {
        if (FIELDS[i].name == c) {
            time_values(d, values);
            *f = (time_field){FIELDS[i].pad, FIELDS[i].width, values[i]};
            return true;
        }
    }
    return false;
}

/* Directives that stand for others; NULL if c is none of them. */
static const char *time_expansion(char c) {
    switch (c) {
    case 'c':
        return "%a %b %e %H:%M:%S %Y";
    case 'D':
    case 'x':
        return "%m/%d/%y";
    case 'F':
        return "%Y-%m-%d";
    case 'R':
        return "%H:%M";
    case 'r':
        return "%I:%M:%S %p";
    case 'T':
    case 'X':
        return "%H:%M:%S";
    case 'h':
        return "%b";
    default:
        return NULL;
    }
}

static sl_status time_name(tmpl_run *r, tmpl_builder *b, const char *name, size_t len, char flag) {
    for (size_t i = 0; i < len; i++) {
        bool upper = (flag == '^' || flag == '#') && name[i] >= 'a' && name[i] <= 'z';
        char c = upper ? (char)(name[i] - 32) : name[i];
        SL_TRY(sl_tmpl_build_bytes(r, b, &c, 1, true));
    }
    return SL_OK;
}

static sl_status time_word(tmpl_run *r, tmpl_builder *b, const tmpl_date *d, char c, char flag) {
    switch (c) {
    case 'a':
        return time_name(r, b, DAYS[d->week_day], 3, flag);
    case 'A':
        return time_name(r, b, DAYS[d->week_day], strlen(DAYS[d->week_day]), flag);
    case 'b':
        return time_name(r, b, MONTHS[d->month - 1], 3, flag);
    case 'B':
        return time_name(r, b, MONTHS[d->month - 1], strlen(MONTHS[d->month - 1]), flag);
    case 'p':
        return sl_tmpl_build_text(r, b,
                                  d->hour >= 12 ? flag == '#' ? "pm" : "PM"
                                  : flag == '#' ? "am"
                                                : "AM");
    case 'P':
        return sl_tmpl_build_text(r, b, d->hour < 12 ? "am" : "pm");
    case 'n':
        return sl_tmpl_build_text(r, b, "\n");
    case 't':
        return sl_tmpl_build_text(r, b, "\t");
    case '%':
        return sl_tmpl_build_text(r, b, "%");
    case 'z':
    case 'Z':
        return SL_OK; /* the clock has no zone */
    default:
        break;
    }
    /* Unknown: stays as it is. */
    SL_TRY(sl_tmpl_build_text(r, b, "%"));
    if (flag != '\0') {
        SL_TRY(sl_tmpl_build_bytes(r, b, &flag, 1, true));
    }
    return sl_tmpl_build_bytes(r, b, &c, 1, true);
}

static sl_status time_directive(tmpl_run *r, tmpl_builder *b, const tmpl_date *d, char c,
                                char flag) {
    time_field f;
    char text[32];
    if (c == 's') {
        (void)snprintf(text, sizeof(text), "%" PRId64, r->now_unix_s);
        return sl_tmpl_build_text(r, b, text);
    }
    if (!time_number(d, c, &f)) {
        return time_word(r, b, d, c, flag);
    }
    f.pad = flag == '_' ? ' ' : flag == '0' ? '0' : f.pad;
    int width = flag == '-' ? 1 : f.width;
    (void)snprintf(text, sizeof(text), f.pad == '0' ? "%0*" PRId64 : "%*" PRId64, width, f.val);
    return sl_tmpl_build_text(r, b, text);
}

static sl_status time_format(tmpl_run *r, tmpl_builder *b, const tmpl_date *d,
                             const tmpl_str *format) {
    const char *text = format->ptr;
    for (size_t i = 0, len = format->len; i < len; i++) {
        char flag = '\0';
        if (text[i] != '%' || i + 1 == len) {
            SL_TRY(sl_tmpl_build_part(r, b, format, i, 1));
            continue;
        }
        i++;
        if (strchr("-_0^#", text[i]) != NULL && text[i] != '\0' && i + 1 < len) {
            flag = text[i++];
        }
        const char *longer = time_expansion(text[i]);
        if (longer == NULL) {
            SL_TRY(time_directive(r, b, d, text[i], flag));
            continue;
        }
        char inner = flag == '^' || (flag == '#' && text[i] == 'h') ? flag : '\0';
        for (const char *p = longer; *p != '\0'; p++) { /* expansions hold no expansions */
            if (*p == '%') {
                SL_TRY(time_directive(r, b, d, *++p, inner));
            } else {
                SL_TRY(sl_tmpl_build_bytes(r, b, p, 1, true));
            }
        }
    }
    return SL_OK;
}

sl_status sl_tmpl_strftime(tmpl_run *r, const tmpl_str *format, sl_value *out) {
    tmpl_builder b;
    if (r->now_unix_s < -62135596800 || r->now_unix_s > 253402300799) {
        return TMPL_FAIL(r, "the clock is outside of the years 1 to 9999");
    }
    tmpl_date d = time_split(r->now_unix_s);
    SL_TRY(sl_tmpl_build_begin(r, &b));
    SL_TRY(time_format(r, &b, &d, format));
    return sl_tmpl_build_end(r, &b, out);
}
