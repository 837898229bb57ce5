/* The part of manifest.json that a stream needs. */
#ifndef OTOLITE_MANIFEST_H
#define OTOLITE_MANIFEST_H

#include <stdint.h>

#include "fault.h"

enum { MAX_DIMENSIONS = 8 };

/* What a hop hands to the next. */
typedef struct {
    char *name;                    /* of the graph's input */
    char *next_name;               /* of its output, the next hop's input: NAME_next */
    int64_t shape[MAX_DIMENSIONS]; /* the batch of 1 first */
    size_t num_dimensions;
    size_t num_values; /* the shape's product */
    float initial;     /* every value before the first hop */
} State;

typedef struct {
    int64_t sample_rate;    /* samples per second, in [4000, 192000] */
    int64_t window_samples; /* samples that an answer judges */
    int64_t hop_samples;    /* samples from one answer to the next, at most the window */
    int64_t graph_samples;  /* samples that the graph takes: a window, or with states a hop */
    size_t num_states;      /* 0: a sliding window */
    State *states;
    size_t num_state_values; /* of all states together, at most 64 MiB of floats */
    size_t num_labels;
    char **labels;     /* UTF-8, in the posteriors' order */
    bool *is_keyword;  /* (num_labels,): the others, silence and unknown, only compete */
    double threshold;  /* least posterior of a keyword, in (0, 1] */
} Manifest;

/* Read FOLDER/manifest.json by the rules of runtime/manifest.py; manifest_free ends it.
 *
 * Refused: another major schema version, another task or streaming form, states with a
 * sliding window or none without, a bundle without model.onnx (graphs beside it are not looked at), and any value that is missing or outside its rule. Digests are not verified:
 * `python -m runtime doctor` does that where a bundle arrives.
 */
bool manifest_read(const char *folder, Manifest *manifest, Fault *fault);

/* Free what manifest_read allocated; a Manifest of zeros is fine. */
void manifest_free(Manifest *manifest);

#endif
