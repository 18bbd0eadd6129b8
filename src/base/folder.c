#include "base/folder.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "base/error.h"

sl_status sl_folder_make(const char *dir, sl_error *err) {
    char path[PATH_MAX];
    int n = snprintf(path, sizeof(path), "%s", dir);
    if (n <= 0 || n >= PATH_MAX) {
        return SL_FAIL(err, SL_ERR_IO, "a folder's name of %d bytes cannot be", n);
    }
    for (char *p = path + 1;; p++) {
        if (*p == '/' || *p == '\0') {
            char before = *p;
            *p = '\0';
            if (mkdir(path, S_IRWXU) != 0 && errno != EEXIST && before == '\0') {
                return SL_FAIL(err, SL_ERR_IO, "%s: the folder cannot be made: %s", dir,
                               sl_errno_text(errno));
            }
            *p = before;
            if (before == '\0') {
                return SL_OK;
            }
        }
    }
}

bool sl_file_is_ours(const struct stat *st) {
    return S_ISREG(st->st_mode) && (st->st_uid == geteuid() || st->st_uid == 0) &&
           (st->st_mode & (S_IWGRP | S_IWOTH)) == 0;
}
