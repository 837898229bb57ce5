#include "manifest.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

enum {
    MAX_MANIFEST_BYTES = 1 << 20,
    MAX_WINDOW_SAMPLES = 1 << 24,
    MAX_LABELS = 10000,
    MAX_STATES = 1024,
    MAX_STATE_VALUES = (64 << 20) / 4,
    MAX_NAME_BYTES = 800,
    MIN_RATE_HZ = 4000,
    MAX_RATE_HZ = 192000,
};

/* A string that must be `wanted`; with `is_prefix` it may go on behind it. */
static bool expect(Json object, const char *where, const char *key, const char *wanted,
                   bool is_prefix, Fault *fault) {
    Json value;
    char *got;
    if (!json_member(object, where, key, &value, fault) ||
        !json_string(value, key, &got, fault)) {
        return false;
    }
    bool ok = is_prefix ? strncmp(got, wanted, strlen(wanted)) == 0 : strcmp(got, wanted) == 0;
    if (!ok) {
        fail(fault, "%s%s '%.80s' is not run by this program, which runs '%s%s'", where, key, got,
             wanted, is_prefix ? "x" : "");
    }
    free(got);
    return ok;
}

static bool read_integer(Json object, const char *where, const char *key, int64_t least,
                         int64_t most, int64_t *integer, Fault *fault) {
    Json value;
    return json_member(object, where, key, &value, fault) &&
           json_integer(value, key, least, most, integer, fault);
}

static const char SLIDING_WINDOW[] = "sliding_window", INCREMENTAL[] = "incremental";

static bool read_form(Json streaming, bool *has_states, Fault *fault) {
    Json value;
    char *form;
    if (!json_member(streaming, "streaming.", "form", &value, fault) ||
        !json_string(value, "streaming.form", &form, fault)) {
        return false;
    }
    *has_states = strcmp(form, INCREMENTAL) == 0;
    bool ok = *has_states || strcmp(form, SLIDING_WINDOW) == 0;
    if (!ok) {
        fail(fault, "streaming.form '%.80s' is not run by this program, which runs '%s' and '%s'",
             form, SLIDING_WINDOW, INCREMENTAL);
    }
    free(form);
    return ok;
}

static bool read_shape(Json raw, State *state, Fault *fault) {
    Json value, *sizes;
    if (!json_member(raw, "states.", "shape", &value, fault) ||
        !json_items(value, "states.shape", 1, MAX_DIMENSIONS, &sizes, &state->num_dimensions,
                    fault)) {
        return false;
    }
    state->num_values = 1;
    bool ok = true;
    for (size_t index = 0; ok && index < state->num_dimensions; index++) {
        int64_t most = index == 0 ? 1 : MAX_STATE_VALUES / (int64_t)state->num_values;
        ok = json_integer(sizes[index], index == 0 ? "states.shape's batch" : "states.shape", 1,
                          most, &state->shape[index], fault);
        state->num_values *= ok ? (size_t)state->shape[index] : 1;
    }
    free(sizes);
    return ok;
}

static bool read_initial(Json raw, State *state, Fault *fault) {
    Json value;
    double initial;
    if (!json_member(raw, "states.", "initial", &value, fault) ||
        !json_number(value, "states.initial", &initial, fault)) {
        return false;
    }
    if (fabs(initial) > (double)FLT_MAX) {
        return fail(fault, "states.initial must be a finite float32, got %g. Export again.",
                    initial);
    }
    state->initial = (float)initial;
    return true;
}

static bool read_state(Json raw, State *state, Fault *fault) {
    static const char next[] = "_next";
    Json value;
    if (!json_member(raw, "states.", "name", &value, fault) ||
        !json_string(value, "states.name", &state->name, fault)) {
        return false;
    }
    size_t num_bytes = strlen(state->name);
    if (num_bytes == 0 || num_bytes > MAX_NAME_BYTES) {
        return fail(fault, "states.name must have 1 to %d bytes, got %zu. Export again.",
                    MAX_NAME_BYTES, num_bytes);
    }
    state->next_name = malloc(num_bytes + sizeof next);
    if (state->next_name == NULL) {
        return fail(fault, "no memory for a state's name");
    }
    memcpy(state->next_name, state->name, num_bytes);
    memcpy(state->next_name + num_bytes, next, sizeof next);
    return expect(raw, "states.", "dtype", "float32", false, fault) &&
           read_shape(raw, state, fault) && read_initial(raw, state, fault);
}

/* The form and the states must fit: a graph is of the one kind or of the other. */
static bool read_states(Json root, bool has_states, Manifest *manifest, Fault *fault) {
    Json value, *items = NULL;
    size_t count = 0;
    if (json_has(root, "states") &&
        (!json_member(root, "", "states", &value, fault) ||
         !json_items(value, "states", 0, MAX_STATES, &items, &count, fault))) {
        return false;
    }
    bool ok = has_states == (count > 0);
    if (!ok) {
        fail(fault, "states: the form '%s' has %s, got %zu. Export again.",
             has_states ? INCREMENTAL : SLIDING_WINDOW, has_states ? "1 or more" : "none", count);
    } else if (count > 0) {
        manifest->states = calloc(count, sizeof *manifest->states);
        ok = manifest->states != NULL || fail(fault, "no memory for %zu states", count);
    }
    for (size_t index = 0; ok && index < count; index++) {
        manifest->num_states = index + 1; /* so that manifest_free frees a half-read one too */
        ok = read_state(items[index], &manifest->states[index], fault);
        manifest->num_state_values += ok ? manifest->states[index].num_values : 0;
        if (ok && manifest->num_state_values > MAX_STATE_VALUES) {
            ok = fail(fault, "states must take at most %d bytes together. Export again.",
                      MAX_STATE_VALUES * 4);
        }
    }
    free(items);
    return ok;
}

static bool read_streaming(Json root, Manifest *manifest, Fault *fault) {
    Json streaming;
    bool has_states;
    const char *where = "streaming.";
    if (!json_member(root, "", "streaming", &streaming, fault) ||
        !read_form(streaming, &has_states, fault) ||
        !read_integer(streaming, where, "window_samples", 1, MAX_WINDOW_SAMPLES,
                      &manifest->window_samples, fault) ||
        !read_integer(streaming, where, "hop_samples", 1, manifest->window_samples,
                      &manifest->hop_samples, fault)) {
        return false;
    }
    manifest->graph_samples = has_states ? manifest->hop_samples : manifest->window_samples;
    return read_states(root, has_states, manifest, fault);
}

/* Mark one of decision.keywords among the labels. */
static bool mark(Manifest *manifest, const char *keyword, Fault *fault) {
    for (size_t index = 0; index < manifest->num_labels; index++) {
        if (strcmp(manifest->labels[index], keyword) == 0) {
            manifest->is_keyword[index] = true;
            return true;
        }
    }
    return fail(fault, "decision.keywords: '%.80s' is not among the labels. Export again.",
                keyword);
}

static bool read_decision(Json root, Manifest *manifest, Fault *fault) {
    Json decision, value;
    char **keywords;
    size_t num_keywords;
    if (!json_member(root, "", "decision", &decision, fault) ||
        !json_member(decision, "decision.", "threshold", &value, fault) ||
        !json_number(value, "decision.threshold", &manifest->threshold, fault)) {
        return false;
    }
    if (!(manifest->threshold > 0.0 && manifest->threshold <= 1.0)) {
        return fail(fault, "decision.threshold must lie in (0, 1], got %g. Export again.",
                    manifest->threshold);
    }
    manifest->is_keyword = calloc(manifest->num_labels, sizeof *manifest->is_keyword);
    if (manifest->is_keyword == NULL) {
        return fail(fault, "no memory for %zu labels", manifest->num_labels);
    }
    if (!json_member(decision, "decision.", "keywords", &value, fault) ||
        !json_strings(value, "decision.keywords", MAX_LABELS, &keywords, &num_keywords, fault)) {
        return false;
    }
    bool ok = true;
    for (size_t index = 0; index < num_keywords; index++) {
        ok = ok && mark(manifest, keywords[index], fault);
        free(keywords[index]);
    }
    free(keywords);
    return ok;
}

/* A bundle may hold a graph for another engine beside this one; it is not looked at. */
static bool check_model(Json files, Fault *fault) {
    Json digest;
    return json_member(files, "files.", "model.onnx", &digest, fault) ||
           fail(fault, "files: model.onnx must be there once, the graph that this program runs. "
                       "Export with --format onnx.");
}

static bool read_root(Json root, Manifest *manifest, Fault *fault) {
    Json value;
    return expect(root, "", "schema_version", "1.", true, fault) &&
           expect(root, "", "task", "keywords", false, fault) &&
           read_integer(root, "", "sample_rate", MIN_RATE_HZ, MAX_RATE_HZ, &manifest->sample_rate,
                        fault) &&
           read_streaming(root, manifest, fault) &&
           json_member(root, "", "labels", &value, fault) &&
           json_strings(value, "labels", MAX_LABELS, &manifest->labels, &manifest->num_labels,
                        fault) &&
           read_decision(root, manifest, fault) &&
           json_member(root, "", "files", &value, fault) && check_model(value, fault);
}

bool manifest_read(const char *folder, Manifest *manifest, Fault *fault) {
    *manifest = (Manifest){0};
    char *path = join_path(folder, "manifest.json", fault);
    if (path == NULL) {
        return false;
    }
    char *text;
    size_t num_bytes;
    bool ok = read_file(path, MAX_MANIFEST_BYTES, &text, &num_bytes, fault);
    if (ok) {
        Json root;
        Fault reason;
        ok = json_parse(text, num_bytes, &root, &reason) && read_root(root, manifest, &reason);
        if (!ok) {
            fail(fault, "%.200s: %.300s", path, reason.text);
            manifest_free(manifest);
        }
        free(text);
    }
    free(path);
    return ok;
}

void manifest_free(Manifest *manifest) {
    for (size_t index = 0; index < manifest->num_labels; index++) {
        free(manifest->labels[index]);
    }
    for (size_t index = 0; index < manifest->num_states; index++) {
        free(manifest->states[index].name);
        free(manifest->states[index].next_name);
    }
    free(manifest->labels);
    free(manifest->is_keyword);
    free(manifest->states);
    *manifest = (Manifest){0};
}
