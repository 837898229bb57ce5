/* JSON by the letter, without building a tree: a value is the stretch of text that holds it.
 *
 * Stricter than the standard in three things. Text is ASCII, as Otolite writes it. A key that is
 * asked for must be there once: readers differ in which of two counts. Nesting ends at 64.
 */
#ifndef OTOLITE_JSON_H
#define OTOLITE_JSON_H

#include <stdint.h>

#include "fault.h"

typedef struct {
    const char *at;  /* first character of the value */
    const char *end; /* one past the value's last character */
} Json;

/* Check a whole text, num_bytes long with a NUL behind it; it must outlive its values. */
bool json_parse(const char *text, size_t num_bytes, Json *root, Fault *fault);

/* Whether an object holds a key. */
bool json_has(Json object, const char *key);

/* The value of a key; `where` is the object's name in a fault, such as "streaming.". */
bool json_member(Json object, const char *where, const char *key, Json *value, Fault *fault);

/* An integer without fraction or exponent, in [least, most]. */
bool json_integer(Json value, const char *name, int64_t least, int64_t most, int64_t *integer,
                  Fault *fault);

/* Any finite number. */
bool json_number(Json value, const char *name, double *number, Fault *fault);

/* A string as UTF-8 with escapes resolved, without control characters; the caller frees it. */
bool json_string(Json value, const char *name, char **string, Fault *fault);

/* A list of least to most items of any kind; the caller frees *items, not what they point into. */
bool json_items(Json value, const char *name, size_t least, size_t most, Json **items,
                size_t *num_items, Fault *fault);

/* A list of 1 to most strings; the caller frees each and the list. Nothing is left on a fault. */
bool json_strings(Json value, const char *name, size_t most, char ***strings, size_t *num_strings,
                  Fault *fault);

#endif
