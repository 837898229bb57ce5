/* What went wrong, in one line that names the value, the rule and the way out. */
#ifndef OTOLITE_FAULT_H
#define OTOLITE_FAULT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    char text[512];
} Fault;

/* Write the line, control characters made spaces; false, so that a caller can return it. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
bool fail(Fault *fault, const char *format, ...);

/* A whole file of at most max_bytes, with a NUL behind its last byte; the caller frees *data. */
bool read_file(const char *path, size_t max_bytes, char **data, size_t *num_bytes, Fault *fault);

/* FOLDER/NAME; the caller frees it. NULL with a fault where there is no memory. */
char *join_path(const char *folder, const char *name, Fault *fault);

#endif
