#include "fault.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool fail(Fault *fault, const char *format, ...) {
    va_list values;
    va_start(values, format);
    vsnprintf(fault->text, sizeof fault->text, format, values);
    va_end(values);
    for (char *at = fault->text; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f) {
            *at = ' ';
        }
    }
    return false;
}

bool read_file(const char *path, size_t max_bytes, char **data, size_t *num_bytes, Fault *fault) {
    *data = NULL;
    *num_bytes = 0;
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return fail(fault, "%.300s: cannot be read: %s", path, strerror(errno));
    }
    /* Grown as it fills, for a size asked of the file system may be a lie or not be known. */
    size_t room = 1 << 16;
    char *buffer = NULL;
    bool whole = false;
    for (;;) {
        char *grown = realloc(buffer, room + 1);
        if (grown == NULL) {
            fail(fault, "%.300s: no memory for %zu bytes", path, room);
            break;
        }
        buffer = grown;
        errno = 0;
        *num_bytes += fread(buffer + *num_bytes, 1, room - *num_bytes, file);
        if (ferror(file)) {
            fail(fault, "%.300s: cannot be read: %s", path, strerror(errno));
            break;
        }
        if (*num_bytes > max_bytes) {
            fail(fault, "%.300s: is over %zu bytes, the most that is read here", path, max_bytes);
            break;
        }
        if (*num_bytes < room) {
            whole = true;
            break;
        }
        room *= 2;
    }
    fclose(file);
    if (!whole) {
        free(buffer);
        return false;
    }
    buffer[*num_bytes] = '\0';
    *data = buffer;
    return true;
}

char *join_path(const char *folder, const char *name, Fault *fault) {
    size_t num_bytes = strlen(folder) + strlen(name) + 2;
    char *path = malloc(num_bytes);
    if (path == NULL) {
        fail(fault, "no memory for a path of %zu bytes", num_bytes);
        return NULL;
    }
    snprintf(path, num_bytes, "%s/%s", folder, name);
    return path;
}
