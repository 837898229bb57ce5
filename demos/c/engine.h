/* One ONNX graph on ONNX Runtime's processor provider: tensors in, tensors out. */
#ifndef OTOLITE_ENGINE_H
#define OTOLITE_ENGINE_H

#include <stdint.h>

#include "fault.h"

typedef struct Engine Engine;

/* Load a bundle's model.onnx on one thread; NULL with a fault. engine_close ends it. */
Engine *engine_open(const char *folder, Fault *fault);

/* One input or output of the graph, over the caller's memory. */
typedef struct {
    const char *name;
    float *values; /* row by row; an input's are only read */
    const int64_t *shape;
    size_t num_dimensions;
} Tensor;

/* The graph with memory for each input and output, to be run any number of times. */
typedef struct Binding Binding;

/* Tie the graph to `num_pairs` inputs and as many outputs; NULL with a fault.
 *
 * Names and values must outlive the binding, and the engine too. Nothing is copied: a run reads the
 * inputs as they are then, and writes the outputs. binding_close ends it.
 */
Binding *engine_bind(Engine *engine, const Tensor *inputs, const Tensor *outputs,
                     size_t num_pairs, Fault *fault);

/* Run the graph. Refused: one with other inputs, outputs or shapes, outputs that are not finite. */
bool binding_run(Binding *binding, Fault *fault);

void binding_close(Binding *binding);

/* The library's version, such as "1.32.0". */
const char *engine_version(void);

void engine_close(Engine *engine);

#endif
