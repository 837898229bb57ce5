/* The part of manifest.json that a stream needs. */
#ifndef OTOLITE_MANIFEST_H
#define OTOLITE_MANIFEST_H

#include <stdint.h>

#include "fault.h"

typedef struct {
    int64_t sample_rate;    /* samples per second, in [4000, 192000] */
    int64_t window_samples; /* samples that the model sees at once */
    int64_t hop_samples;    /* samples between two windows' ends, at most the window */
    size_t num_labels;
    char **labels;     /* UTF-8, in the posteriors' order */
    bool *is_keyword;  /* (num_labels,): the others, silence and unknown, only compete */
    double threshold;  /* least posterior of a keyword, in (0, 1] */
} Manifest;

/* Read FOLDER/manifest.json by the rules of runtime/manifest.py; manifest_free ends it.
 *
 * Refused: another major schema version, another task or streaming form, a bundle without
 * model.onnx, and any value that is missing or outside its rule. Digests are not verified:
 * `python -m runtime doctor` does that where a bundle arrives.
 */
bool manifest_read(const char *folder, Manifest *manifest, Fault *fault);

/* Free what manifest_read allocated; a Manifest of zeros is fine. */
void manifest_free(Manifest *manifest);

#endif
