/* One ONNX graph on ONNX Runtime's processor provider: waveforms in, posteriors out. */
#ifndef OTOLITE_ENGINE_H
#define OTOLITE_ENGINE_H

#include <stdint.h>

#include "fault.h"

typedef struct Engine Engine;

/* Load a bundle's model.onnx on one thread; NULL with a fault. engine_close ends it. */
Engine *engine_open(const char *folder, Fault *fault);

/* Run the graph.
 *
 * pcm: (batch, samples) in [-1, 1], row by row. posteriors: room for (batch, num_labels).
 * Refused: a graph with other inputs or outputs than these, posteriors that are not finite.
 */
bool engine_run(Engine *engine, const float *pcm, int64_t batch, int64_t samples,
                float *posteriors, int64_t num_labels, Fault *fault);

/* The library's version, such as "1.32.0". */
const char *engine_version(void);

void engine_close(Engine *engine);

#endif
