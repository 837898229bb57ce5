#include "stream.h"

#include <stdlib.h>
#include <string.h>

bool stream_open(Stream *stream, const Manifest *manifest, Engine *engine, Listener *listener,
                 void *context, Fault *fault) {
    *stream = (Stream){
        .manifest = manifest,
        .engine = engine,
        .listener = listener,
        .context = context,
        .window = calloc((size_t)manifest->window_samples, sizeof(float)),
        .hop = calloc((size_t)manifest->hop_samples, sizeof(float)),
        .posteriors = calloc(manifest->num_labels, sizeof(float)),
    };
    if (stream->window == NULL || stream->hop == NULL || stream->posteriors == NULL) {
        stream_close(stream);
        return fail(fault, "no memory for a window of %lld samples",
                    (long long)manifest->window_samples);
    }
    return true;
}

/* Shift the full hop into the window and ask the model. */
static bool evaluate(Stream *stream, Fault *fault) {
    const Manifest *manifest = stream->manifest;
    size_t hop_samples = (size_t)manifest->hop_samples;
    size_t kept_samples = (size_t)manifest->window_samples - hop_samples;
    memmove(stream->window, stream->window + hop_samples, kept_samples * sizeof(float));
    memcpy(stream->window + kept_samples, stream->hop, hop_samples * sizeof(float));
    if (!engine_run(stream->engine, stream->window, 1, manifest->window_samples,
                    stream->posteriors, (int64_t)manifest->num_labels, fault)) {
        return false;
    }
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
    free(stream->window);
    free(stream->hop);
    free(stream->posteriors);
    *stream = (Stream){0};
}
