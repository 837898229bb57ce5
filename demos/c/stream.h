/* Blocks of any size in, one row of posteriors per hop out, as runtime/stream.py. */
#ifndef OTOLITE_STREAM_H
#define OTOLITE_STREAM_H

#include "engine.h"
#include "manifest.h"

/* Take the posteriors (num_labels,) of what was heard up to end_samples after the start. */
typedef void Listener(void *context, const float *posteriors, int64_t end_samples);

typedef struct {
    const Manifest *manifest;
    Listener *listener;
    void *context;
    float *pcm;           /* (graph_samples,) as the model saw it last; silence before the start */
    float *hop;           /* (hop_samples,) being filled */
    float *posteriors;    /* (num_labels,) */
    float *states[2];     /* (num_state_values,) each: one is read, the other written */
    Binding *bindings[2]; /* the graph that reads states[0] and writes states[1]; the other way */
    size_t turn;          /* of the binding that runs next */
    int64_t received_samples;
} Stream;

/* A stream at 0 samples; manifest and engine must outlive it. stream_close ends it. */
bool stream_open(Stream *stream, const Manifest *manifest, Engine *engine, Listener *listener,
                 void *context, Fault *fault);

/* Take the next samples, float in [-1, 1]; the listener is called once for each full hop. */
bool stream_push(Stream *stream, const float *samples, size_t num_samples, Fault *fault);

/* End: silence, one sample less than a window, so that no window misses the last samples. */
bool stream_flush(Stream *stream, Fault *fault);

void stream_close(Stream *stream);

#endif
