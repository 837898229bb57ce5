#include "stream.h"

#include <stdlib.h>
#include <string.h>

/* Tie the graph to states[turn] as they are and to the others as they will be. */
static bool bind(Stream *stream, Engine *engine, size_t turn, Fault *fault) {
    const Manifest *manifest = stream->manifest;
    const int64_t heard[] = {1, manifest->graph_samples};
    const int64_t answered[] = {1, (int64_t)manifest->num_labels};
    size_t num_pairs = 1 + manifest->num_states;
    Tensor *inputs = calloc(2 * num_pairs, sizeof *inputs);
    if (inputs == NULL) {
        return fail(fault, "no memory for %zu tensors", 2 * num_pairs);
    }
    Tensor *outputs = inputs + num_pairs;
    inputs[0] = (Tensor){"pcm", stream->pcm, heard, 2};
    outputs[0] = (Tensor){"posteriors", stream->posteriors, answered, 2};
    float *now = stream->states[turn], *next = stream->states[1 - turn];
    for (size_t index = 0; index < manifest->num_states; index++) {
        const State *state = &manifest->states[index];
        inputs[1 + index] = (Tensor){state->name, now, state->shape, state->num_dimensions};
        outputs[1 + index] = (Tensor){state->next_name, next, state->shape, state->num_dimensions};
        now += state->num_values;
        next += state->num_values;
    }
    stream->bindings[turn] = engine_bind(engine, inputs, outputs, num_pairs, fault);
    free(inputs);
    return stream->bindings[turn] != NULL;
}

static void fill_states(Stream *stream) {
    float *values = stream->states[0];
    for (size_t index = 0; index < stream->manifest->num_states; index++) {
        const State *state = &stream->manifest->states[index];
        for (size_t place = 0; place < state->num_values; place++) {
            *values++ = state->initial;
        }
    }
}

bool stream_open(Stream *stream, const Manifest *manifest, Engine *engine, Listener *listener,
                 void *context, Fault *fault) {
    size_t num_values = manifest->num_state_values + 1; /* none is not the same as no memory */
    *stream = (Stream){
        .manifest = manifest,
        .listener = listener,
        .context = context,
        .pcm = calloc((size_t)manifest->graph_samples, sizeof(float)),
        .hop = calloc((size_t)manifest->hop_samples, sizeof(float)),
        .posteriors = calloc(manifest->num_labels, sizeof(float)),
        .states = {calloc(num_values, sizeof(float)), calloc(num_values, sizeof(float))},
    };
    bool ok = stream->pcm != NULL && stream->hop != NULL && stream->posteriors != NULL &&
              stream->states[0] != NULL && stream->states[1] != NULL;
    if (!ok) {
        fail(fault, "no memory for %lld samples and twice %zu state values",
             (long long)manifest->graph_samples, manifest->num_state_values);
    } else {
        fill_states(stream);
        ok = bind(stream, engine, 0, fault) && bind(stream, engine, 1, fault);
    }
    if (!ok) {
        stream_close(stream);
    }
    return ok;
}

/* Shift the full hop in and ask the model; with states, the hop is all that it hears. */
static bool evaluate(Stream *stream, Fault *fault) {
    const Manifest *manifest = stream->manifest;
    size_t hop_samples = (size_t)manifest->hop_samples;
    size_t kept_samples = (size_t)manifest->graph_samples - hop_samples;
    memmove(stream->pcm, stream->pcm + hop_samples, kept_samples * sizeof(float));
    memcpy(stream->pcm + kept_samples, stream->hop, hop_samples * sizeof(float));
    if (!binding_run(stream->bindings[stream->turn], fault)) {
        return false;
    }
    stream->turn = 1 - stream->turn; /* what was written is read next: no state is copied */
    stream->listener(stream->context, stream->posteriors, stream->received_samples);
    return true;
}

bool stream_push(Stream *stream, const float *samples, size_t num_samples, Fault *fault) {
    size_t hop_samples = (size_t)stream->manifest->hop_samples;
    while (num_samples > 0) {
        size_t filled = (size_t)(stream->received_samples % (int64_t)hop_samples);
        size_t taken = hop_samples - filled < num_samples ? hop_samples - filled : num_samples;
        memcpy(stream->hop + filled, samples, taken * sizeof *samples);
        samples += taken;
        num_samples -= taken;
        stream->received_samples += (int64_t)taken;
        if (filled + taken == hop_samples && !evaluate(stream, fault)) {
            return false;
        }
    }
    return true;
}

bool stream_flush(Stream *stream, Fault *fault) {
    static const float silence[512];
    size_t left = stream->received_samples == 0 ? 0 : (size_t)stream->manifest->window_samples - 1;
    while (left > 0) {
        size_t taken = left < 512 ? left : 512;
        if (!stream_push(stream, silence, taken, fault)) {
            return false;
        }
        left -= taken;
    }
    return true;
}

void stream_close(Stream *stream) {
    for (size_t turn = 0; turn < 2; turn++) {
        binding_close(stream->bindings[turn]);
        free(stream->states[turn]);
    }
    free(stream->pcm);
    free(stream->hop);
    free(stream->posteriors);
    *stream = (Stream){0};
}
