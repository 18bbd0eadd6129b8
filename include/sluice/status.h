/* Status codes and error messages shared by every part of Sluice.
 *
 * A function that can fail returns sl_status and takes an sl_error as its last argument (NULL is
 * allowed). The first function that knows what failed writes the message: one sentence with the
 * fact, the detail and what to do about it. All others pass the status on. Outputs are written only
 * on success. Codes are numbered once and never renumbered.
 */
#ifndef SLUICE_STATUS_H
#define SLUICE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sl_status {
    SL_OK = 0,
    SL_AGAIN = 1,            /* nothing is wrong; try again later (a queue is full, say) */
    SL_ERR_ARGUMENT = -1,    /* the caller passed something that can never be right */
    SL_ERR_FORMAT = -2,      /* a file, request or template breaks its format */
    SL_ERR_IO = -3,          /* the operating system refused to read, write or connect */
    SL_ERR_MEMORY = -4,      /* no memory */
    SL_ERR_LIMIT = -5,       /* a stated maximum was reached (size, depth, fuel) */
    SL_ERR_UNSUPPORTED = -6, /* well formed, but this build does not do it */
    SL_ERR_NOT_FOUND = -7,   /* no such file, key, model or token */
    SL_ERR_CANCELLED = -8,   /* the owner gave it up */
    SL_ERR_NUMERIC = -9,     /* not-a-number or infinity where numbers must be finite */
    SL_ERR_INTERNAL = -10    /* a promise of our own does not hold: a defect of Sluice */
} sl_status;

#define SL_ERROR_MESSAGE_MAX 512

/* What failed. `file` and `line` name the place in Sluice that noticed it. */
typedef struct sl_error {
    sl_status code;
    int line;
    const char *file;                   /* static string */
    char message[SL_ERROR_MESSAGE_MAX]; /* UTF-8, no newline, always terminated */
} sl_error;

#if defined(__GNUC__)
#define SL_NODISCARD __attribute__((warn_unused_result))
#define SL_PRINTF(i_format, i_first) __attribute__((format(printf, i_format, i_first)))
#else
#define SL_NODISCARD
#define SL_PRINTF(i_format, i_first)
#endif

/* Short lower-case name of a code ("format", "io"), for logs and JSON. */
const char *sl_status_name(sl_status code);

#ifdef __cplusplus
}
#endif
#endif
