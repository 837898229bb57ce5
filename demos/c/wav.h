/* A recording of one channel of 16-bit PCM, read block by block as a microphone would give it. */
#ifndef OTOLITE_WAV_H
#define OTOLITE_WAV_H

#include <stdint.h>
#include <stdio.h>

#include "fault.h"

typedef struct {
    FILE *file;
    const char *path;     /* the caller's; it must outlive the recording */
    size_t left_samples;  /* samples not read yet */
} Wav;

/* Open a recording and stand before its first sample; wav_close ends it.
 *
 * Refused: absent, not a WAV, another encoding, channel count or rate, truncated, no samples.
 */
bool wav_open(const char *path, int64_t sample_rate, Wav *wav, Fault *fault);

/* The next samples, at most max_samples, as float in [-1, 1): int16 / 32768. 0 at the end. */
bool wav_read(Wav *wav, float *samples, size_t max_samples, size_t *num_samples, Fault *fault);

void wav_close(Wav *wav);

#endif
