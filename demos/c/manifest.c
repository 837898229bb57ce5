#include "manifest.h"

#include <stdlib.h>
#include <string.h>

#include "json.h"

enum {
    MAX_MANIFEST_BYTES = 1 << 20,
    MAX_WINDOW_SAMPLES = 1 << 24,
    MAX_LABELS = 10000,
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

static bool read_streaming(Json root, Manifest *manifest, Fault *fault) {
    Json streaming;
    const char *where = "streaming.";
    return json_member(root, "", "streaming", &streaming, fault) &&
           expect(streaming, where, "form", "sliding_window", false, fault) &&
           read_integer(streaming, where, "window_samples", 1, MAX_WINDOW_SAMPLES,
                        &manifest->window_samples, fault) &&
           read_integer(streaming, where, "hop_samples", 1, manifest->window_samples,
                        &manifest->hop_samples, fault);
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

static bool read_root(Json root, Manifest *manifest, Fault *fault) {
    Json value, model;
    return expect(root, "", "schema_version", "1.", true, fault) &&
           expect(root, "", "task", "keywords", false, fault) &&
           read_integer(root, "", "sample_rate", MIN_RATE_HZ, MAX_RATE_HZ, &manifest->sample_rate,
                        fault) &&
           read_streaming(root, manifest, fault) &&
           json_member(root, "", "labels", &value, fault) &&
           json_strings(value, "labels", MAX_LABELS, &manifest->labels, &manifest->num_labels,
                        fault) &&
           read_decision(root, manifest, fault) &&
           json_member(root, "", "files", &value, fault) &&
           json_member(value, "files.", "model.onnx", &model, fault);
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
    free(manifest->labels);
    free(manifest->is_keyword);
    *manifest = (Manifest){0};
}
