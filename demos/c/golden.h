/* Replay a bundle's golden pair, in the plain files that golden.py writes of golden.npz. */
#ifndef OTOLITE_GOLDEN_H
#define OTOLITE_GOLDEN_H

#include "engine.h"
#include "manifest.h"

/* What FOLDER's golden pair shows. */
typedef struct {
    double max_error; /* largest absolute difference of a posterior */
    double tolerance; /* largest one that the exporter allows on another machine */
} Comparison;

/* Run FOLDER/pcm.f32 and compare with FOLDER/posteriors.f32; shapes are in FOLDER/golden.json.
 *
 * A model with states hears it as a stream, and posteriors.f32 has a row for each hop.
 */
bool golden_compare(const char *folder, const Manifest *manifest, Engine *engine,
                    Comparison *comparison, Fault *fault);

#endif
