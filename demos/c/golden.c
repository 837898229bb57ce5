#include "golden.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "stream.h"

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
              json_integer(value, "samples", 1, MAX_GOLDEN_BYTES / 4, &shape->samples, fault) &&
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

/* How many rows of posteriors there are: one a recording, or with states one a hop of the only. */
static int64_t count_answers(const Shape *shape, const Manifest *manifest, Fault *fault) {
    if (manifest->num_states == 0) {
        return shape->batch;
    }
    if (shape->batch != 1 || shape->samples % manifest->hop_samples != 0) {
        fail(fault, "golden.json: a model with states takes (1, n * %lld) samples, got (%lld, "
                    "%lld). Run golden.py again.",
             (long long)manifest->hop_samples, (long long)shape->batch, (long long)shape->samples);
        return 0;
    }
    return shape->samples / manifest->hop_samples;
}

/* Where the next row of a stream's posteriors goes. */
typedef struct {
    float *rows;
    size_t num_labels;
} Rows;

static void keep_row(void *context, const float *posteriors, int64_t end_samples) {
    Rows *rows = context;
    (void)end_samples;
    memcpy(rows->rows, posteriors, rows->num_labels * sizeof *posteriors);
    rows->rows += rows->num_labels;
}

/* With states: one recording hop by hop, from the initial states on. */
static bool step(const Shape *shape, float *pcm, float *posteriors, const Manifest *manifest,
                 Engine *engine, Fault *fault) {
    Rows rows = {posteriors, manifest->num_labels};
    Stream stream;
    if (!stream_open(&stream, manifest, engine, keep_row, &rows, fault)) {
        return false;
    }
    bool ok = stream_push(&stream, pcm, (size_t)shape->samples, fault);
    stream_close(&stream);
    return ok;
}

/* Without states: all recordings at once, which need not be a window long. */
static bool run_batch(const Shape *shape, float *pcm, float *posteriors, const Manifest *manifest,
                      Engine *engine, Fault *fault) {
    const int64_t heard[] = {shape->batch, shape->samples};
    const int64_t answered[] = {shape->batch, (int64_t)manifest->num_labels};
    const Tensor input = {"pcm", pcm, heard, 2}, output = {"posteriors", posteriors, answered, 2};
    Binding *binding = engine_bind(engine, &input, &output, 1, fault);
    bool ok = binding != NULL && binding_run(binding, fault);
    binding_close(binding);
    return ok;
}

bool golden_compare(const char *folder, const Manifest *manifest, Engine *engine,
                    Comparison *comparison, Fault *fault) {
    Shape shape;
    int64_t num_answers = 0;
    if (read_shape(folder, &shape, fault)) {
        num_answers = count_answers(&shape, manifest, fault);
    }
    if (num_answers == 0) {
        return false;
    }
    int64_t count = num_answers * (int64_t)manifest->num_labels;
    float *pcm = read_values(folder, "pcm.f32", shape.batch * shape.samples, fault);
    float *wanted = pcm == NULL ? NULL : read_values(folder, "posteriors.f32", count, fault);
    float *got = wanted == NULL ? NULL : calloc((size_t)count, sizeof *got);
    bool ok = got != NULL;
    if (wanted != NULL && got == NULL) {
        fail(fault, "no memory for %lld posteriors", (long long)count);
    }
    ok = ok && (manifest->num_states > 0 ? step : run_batch)(&shape, pcm, got, manifest, engine,
                                                             fault);
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
