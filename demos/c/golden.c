#include "golden.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

enum { MAX_GOLDEN_BYTES = 128 << 20, MAX_SHAPE_BYTES = 1 << 12 };

typedef struct {
    int64_t batch;
    int64_t samples;
    double tolerance;
} Shape;

static bool read_shape(const char *folder, Shape *shape, Fault *fault) {
    char *path = join_path(folder, "golden.json", fault), *text = NULL;
    size_t num_bytes;
    Json root, value;
    bool ok = path != NULL && read_file(path, MAX_SHAPE_BYTES, &text, &num_bytes, fault) &&
              json_parse(text, num_bytes, &root, fault) &&
              json_member(root, "", "batch", &value, fault) &&
              json_integer(value, "batch", 1, 1024, &shape->batch, fault) &&
              json_member(root, "", "samples", &value, fault) &&
              json_integer(value, "samples", 1, 1 << 24, &shape->samples, fault) &&
              json_member(root, "", "tolerance", &value, fault) &&
              json_number(value, "tolerance", &shape->tolerance, fault);
    free(text);
    free(path);
    return ok;
}

/* FOLDER/NAME as exactly `count` values in this processor's byte order, which golden.py ran on. */
static float *read_values(const char *folder, const char *name, int64_t count, Fault *fault) {
    char *path = join_path(folder, name, fault), *data = NULL;
    size_t num_bytes, wanted = (size_t)count * sizeof(float);
    if (path != NULL && read_file(path, MAX_GOLDEN_BYTES, &data, &num_bytes, fault) &&
        num_bytes != wanted) {
        fail(fault, "%.300s: must hold %zu bytes, got %zu. Run golden.py again.", path, wanted,
             num_bytes);
        free(data);
        data = NULL;
    }
    free(path);
    return (float *)(void *)data; /* from malloc, so aligned for any type */
}

bool golden_compare(const char *folder, const Manifest *manifest, Engine *engine,
                    Comparison *comparison, Fault *fault) {
    Shape shape;
    if (!read_shape(folder, &shape, fault)) {
        return false;
    }
    int64_t num_labels = (int64_t)manifest->num_labels, count = shape.batch * num_labels;
    float *pcm = read_values(folder, "pcm.f32", shape.batch * shape.samples, fault);
    float *wanted = pcm == NULL ? NULL : read_values(folder, "posteriors.f32", count, fault);
    float *got = wanted == NULL ? NULL : calloc((size_t)count, sizeof *got);
    bool ok = got != NULL;
    if (wanted != NULL && got == NULL) {
        fail(fault, "no memory for %lld posteriors", (long long)count);
    }
    ok = ok && engine_run(engine, pcm, shape.batch, shape.samples, got, num_labels, fault);
    *comparison = (Comparison){.tolerance = shape.tolerance};
    for (int64_t index = 0; ok && index < count; index++) {
        double error = fabs((double)got[index] - (double)wanted[index]);
        /* Not fmax, which passes over a NaN. */
        if (!(error <= comparison->max_error)) {
            comparison->max_error = error;
        }
    }
    free(got);
    free(wanted);
    free(pcm);
    return ok;
}
