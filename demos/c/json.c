#include "json.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 64 };

/* Each skip_ function gives the place behind what it names, or NULL where that is not there. */
static const char *skip_value(const char *at, const char *end, int depth);

static const char *skip_space(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')) {
        at++;
    }
    return at;
}

static int hex_digit(char digit) {
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    if (digit >= 'a' && digit <= 'f') {
        return digit - 'a' + 10;
    }
    return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

static const char *skip_string(const char *at, const char *end) {
    if (at >= end || *at != '"') {
        return NULL;
    }
    for (at++; at < end && *at != '"'; at++) {
        if ((unsigned char)*at < 0x20 || (unsigned char)*at > 0x7e) {
            return NULL;
        }
        if (*at != '\\') {
            continue;
        }
        at++;
        if (at < end && *at == 'u') {
            for (int digits = 0; digits < 4; digits++) {
                at++;
                if (at >= end || hex_digit(*at) < 0) {
                    return NULL;
                }
            }
        } else if (at >= end || *at == '\0' || strchr("\"\\/bfnrt", *at) == NULL) {
            return NULL;
        }
    }
    return at < end ? at + 1 : NULL;
}

static const char *skip_digits(const char *at, const char *end) {
    const char *start = at;
    while (at < end && *at >= '0' && *at <= '9') {
        at++;
    }
    return at > start ? at : NULL;
}

static const char *skip_number(const char *at, const char *end) {
    if (at < end && *at == '-') {
        at++;
    }
    at = at < end && *at == '0' ? at + 1 : skip_digits(at, end);
    if (at != NULL && at < end && *at == '.') {
        at = skip_digits(at + 1, end);
    }
    if (at != NULL && at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (at < end && (*at == '+' || *at == '-')) {
            at++;
        }
        at = skip_digits(at, end);
    }
    return at;
}

static const char *skip_word(const char *at, const char *end, const char *word) {
    size_t length = strlen(word);
    return (size_t)(end - at) >= length && memcmp(at, word, length) == 0 ? at + length : NULL;
}

/* A key with its colon, and the space behind it. */
static const char *skip_key(const char *at, const char *end) {
    at = skip_string(at, end);
    if (at == NULL) {
        return NULL;
    }
    at = skip_space(at, end);
    return at < end && *at == ':' ? skip_space(at + 1, end) : NULL;
}

static const char *skip_items(const char *at, const char *end, char close, int depth) {
    if (depth == MAX_DEPTH) {
        return NULL;
    }
    at = skip_space(at + 1, end);
    if (at < end && *at == close) {
        return at + 1;
    }
    for (;;) {
        if (close == '}') {
            at = skip_key(at, end);
        }
        at = at == NULL ? NULL : skip_value(at, end, depth + 1);
        if (at == NULL) {
            return NULL;
        }
        at = skip_space(at, end);
        if (at < end && *at == close) {
            return at + 1;
        }
        if (at >= end || *at != ',') {
            return NULL;
        }
        at = skip_space(at + 1, end);
    }
}

static const char *skip_value(const char *at, const char *end, int depth) {
    if (at >= end) {
        return NULL;
    }
    switch (*at) {
    case '{':
        return skip_items(at, end, '}', depth);
    case '[':
        return skip_items(at, end, ']', depth);
    case '"':
        return skip_string(at, end);
    case 't':
        return skip_word(at, end, "true");
    case 'f':
        return skip_word(at, end, "false");
    case 'n':
        return skip_word(at, end, "null");
    default:
        return skip_number(at, end);
    }
}

bool json_parse(const char *text, size_t num_bytes, Json *root, Fault *fault) {
    const char *end = text + num_bytes;
    const char *start = skip_space(text, end);
    const char *behind = skip_value(start, end, 0);
    if (behind == NULL || skip_space(behind, end) != end) {
        return fail(fault, "is not valid JSON in ASCII, nested at most %d deep. Export again.",
                    MAX_DEPTH);
    }
    *root = (Json){start, behind};
    return true;
}

/* Walk an object's or a list's items: the place of the first one, or NULL where it is empty. */
static const char *first_item(Json whole) {
    const char *at = skip_space(whole.at + 1, whole.end);
    return at == whole.end - 1 ? NULL : at;
}

/* The place of the item behind one that ends at `at`, or NULL where that was the last one. */
static const char *next_item(Json whole, const char *at) {
    at = skip_space(at, whole.end);
    return *at == ',' ? skip_space(at + 1, whole.end) : NULL;
}

/* How often an object holds a key; *value is the last of them. */
static int find(Json object, const char *key, Json *value) {
    int found = 0;
    size_t length = strlen(key);
    for (const char *at = first_item(object); at != NULL;) {
        const char *start = skip_key(at, object.end);
        const char *end = skip_value(start, object.end, 0);
        if (strncmp(at + 1, key, length) == 0 && at[length + 1] == '"') {
            *value = (Json){start, end};
            found++;
        }
        at = next_item(object, end);
    }
    return found;
}

bool json_has(Json object, const char *key) {
    Json value;
    return *object.at == '{' && find(object, key, &value) > 0;
}

bool json_member(Json object, const char *where, const char *key, Json *value, Fault *fault) {
    if (*object.at != '{') {
        int length = (int)strlen(where); /* without the dot that leads to its keys */
        return fail(fault, "%.*s must be an object. Export again.", length > 0 ? length - 1 : 0,
                    where);
    }
    int found = find(object, key, value);
    if (found != 1) {
        return fail(fault, "%s%s must be there once, and is there %d times. Export again.", where,
                    key, found);
    }
    return true;
}

bool json_integer(Json value, const char *name, int64_t least, int64_t most, int64_t *integer,
                  Fault *fault) {
    const char *digits = value.at + (*value.at == '-');
    bool whole = skip_digits(digits, value.end) == value.end;
    errno = 0;
    long long number = whole ? strtoll(value.at, NULL, 10) : 0;
    if (!whole || errno == ERANGE || number < least || number > most) {
        return fail(fault, "%s must be an integer in [%lld, %lld], got %.*s. Export again.", name,
                    (long long)least, (long long)most,
                    (int)(value.end - value.at > 40 ? 40 : value.end - value.at), value.at);
    }
    *integer = number;
    return true;
}

bool json_number(Json value, const char *name, double *number, Fault *fault) {
    /* The grammar has no "inf" or hexadecimal; what stands behind a value ends the number. */
    bool numeric = skip_number(value.at, value.end) == value.end;
    *number = numeric ? strtod(value.at, NULL) : NAN;
    if (!isfinite(*number)) {
        return fail(fault, "%s must be a finite number. Export again.", name);
    }
    return true;
}

static long hex_quad(const char *at) {
    long code = 0;
    for (int digit = 0; digit < 4; digit++) {
        code = code * 16 + hex_digit(at[digit]);
    }
    return code;
}

/* Resolve one escape at *at, behind its backslash, to a code point; -1 for half a surrogate pair. */
static long escaped(const char **at) {
    static const char names[] = "bfnrt", codes[] = "\b\f\n\r\t";
    char kind = *(*at)++;
    if (kind != 'u') {
        const char *name = strchr(names, kind);
        return name == NULL ? kind : codes[name - names];
    }
    long code = hex_quad(*at);
    *at += 4;
    if (code < 0xd800 || code > 0xdfff) {
        return code;
    }
    if (code > 0xdbff || (*at)[0] != '\\' || (*at)[1] != 'u') {
        return -1;
    }
    long low = hex_quad(*at + 2);
    *at += 6;
    return low < 0xdc00 || low > 0xdfff ? -1 : 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
}

static char *put_utf8(char *out, long code) {
    if (code < 0x80) {
        *out++ = (char)code;
        return out;
    }
    int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const int lead[] = {0, 0xc0, 0xe0, 0xf0};
    *out++ = (char)(lead[more] | (int)(code >> (6 * more)));
    while (more-- > 0) {
        *out++ = (char)(0x80 | ((code >> (6 * more)) & 0x3f));
    }
    return out;
}

bool json_string(Json value, const char *name, char **string, Fault *fault) {
    *string = NULL;
    if (*value.at != '"') {
        return fail(fault, "%s must be a string. Export again.", name);
    }
    /* No escape is shorter than its UTF-8: \uXXXX is six characters for at most three bytes. */
    char *start = malloc((size_t)(value.end - value.at));
    if (start == NULL) {
        return fail(fault, "no memory for %s", name);
    }
    char *out = start;
    for (const char *at = value.at + 1; *at != '"';) {
        long code = (unsigned char)*at++;
        if (code == '\\') {
            code = escaped(&at);
        }
        if (code < 0x20 || (code >= 0x7f && code < 0xa0)) {
            free(start);
            return fail(fault, "%s holds a character that cannot be printed. Export again.", name);
        }
        out = put_utf8(out, code);
    }
    *out = '\0';
    *string = start;
    return true;
}

bool json_items(Json value, const char *name, size_t least, size_t most, Json **items,
                size_t *num_items, Fault *fault) {
    *items = NULL;
    *num_items = 0;
    bool is_list = *value.at == '[';
    size_t count = 0;
    for (const char *at = is_list ? first_item(value) : NULL; at != NULL; count++) {
        at = next_item(value, skip_value(at, value.end, 0));
    }
    if (!is_list || count < least || count > most) {
        return fail(fault, "%s must be a list of %zu to %zu items. Export again.", name, least,
                    most);
    }
    Json *found = calloc(count + 1, sizeof *found); /* none is not the same as no memory */
    if (found == NULL) {
        return fail(fault, "no memory for %zu %s", count, name);
    }
    const char *at = first_item(value);
    for (size_t index = 0; index < count; index++) {
        found[index] = (Json){at, skip_value(at, value.end, 0)};
        at = next_item(value, found[index].end);
    }
    *items = found;
    *num_items = count;
    return true;
}

bool json_strings(Json value, const char *name, size_t most, char ***strings, size_t *num_strings,
                  Fault *fault) {
    *strings = NULL;
    *num_strings = 0;
    Json *items;
    size_t count;
    if (!json_items(value, name, 1, most, &items, &count, fault)) {
        return false;
    }
    char **found = calloc(count, sizeof *found);
    bool ok = found != NULL || fail(fault, "no memory for %zu %s", count, name);
    size_t read = 0;
    while (ok && read < count) {
        ok = json_string(items[read], name, &found[read], fault);
        read += ok;
    }
    free(items);
    if (!ok) {
        while (read-- > 0) {
            free(found[read]);
        }
        free(found);
        return false;
    }
    *strings = found;
    *num_strings = count;
    return true;
}
