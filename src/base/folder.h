/* Folders that the program makes for itself. */
#ifndef SL_BASE_FOLDER_H
#define SL_BASE_FOLDER_H

#include <stdbool.h>
#include <sys/stat.h>

#include <sluice/status.h>

/* Makes the folder and those above it, for this user alone; one that is there stays as it is. */
SL_NODISCARD sl_status sl_folder_make(const char *dir, sl_error *err);

/* A plain file that nobody but this user and the administrator can have written. */
bool sl_file_is_ours(const struct stat *st);

#endif
