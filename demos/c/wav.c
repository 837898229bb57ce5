#include "wav.h"

#include <errno.h>
#include <string.h>

enum { PCM = 0x0001, EXTENSIBLE = 0xfffe, BLOCK_SAMPLES = 512 };

static const char CONVERT[] = "Convert it: ffmpeg -i IN -ac 1 -c:a pcm_s16le";

/* Files are little-endian; put together byte by byte, this is right on any processor. */
static uint32_t little_endian(const unsigned char *bytes, int num_bytes) {
    uint32_t value = 0;
    while (num_bytes-- > 0) {
        value = value << 8 | bytes[num_bytes];
    }
    return value;
}

static bool check_format(const unsigned char *chunk, uint32_t size, const char *path,
                         int64_t sample_rate, Fault *fault) {
    uint32_t code = little_endian(chunk, 2), channels = little_endian(chunk + 2, 2);
    uint32_t rate_hz = little_endian(chunk + 4, 4), bits = little_endian(chunk + 14, 2);
    if (code == EXTENSIBLE && size >= 40) {
        code = little_endian(chunk + 24, 2);
    }
    if (code != PCM || channels != 1 || bits != 16 || little_endian(chunk + 12, 2) != 2) {
        return fail(fault,
                    "%.200s: must be 1 channel of 16-bit PCM, got format %u, %u channels, %u bits. "
                    "%s -ar %lld OUT.wav",
                    path, (unsigned)code, (unsigned)channels, (unsigned)bits, CONVERT,
                    (long long)sample_rate);
    }
    if (rate_hz != sample_rate) {
        return fail(fault, "%.200s: has %u samples a second, the model wants %lld. "
                           "%s -ar %lld OUT.wav",
                    path, (unsigned)rate_hz, (long long)sample_rate, CONVERT,
                    (long long)sample_rate);
    }
    return true;
}

/* The data chunk stands at the file's position; does the file hold all of it? */
static bool check_data(Wav *wav, uint32_t size, Fault *fault) {
    long start = ftell(wav->file);
    if (start < 0 || fseek(wav->file, 0, SEEK_END) != 0) {
        return fail(fault, "%.300s: is not a plain file that can be searched", wav->path);
    }
    long end = ftell(wav->file);
    if (end < start || fseek(wav->file, start, SEEK_SET) != 0) {
        return fail(fault, "%.300s: cannot be searched: %s", wav->path, strerror(errno));
    }
    if ((unsigned long)(end - start) < size) {
        return fail(fault, "%.300s: is truncated: %u bytes of samples stated, %ld there",
                    wav->path, (unsigned)size, end - start);
    }
    if (size == 0 || size % 2 != 0) {
        return fail(fault, "%.300s: %u bytes of samples are not one or more 16-bit samples",
                    wav->path, (unsigned)size);
    }
    wav->left_samples = size / 2;
    return true;
}

/* Walk the chunks up to the samples, the format on the way; others are passed over. */
static bool find_data(Wav *wav, int64_t sample_rate, Fault *fault) {
    unsigned char header[8], format[40];
    bool has_format = false;
    while (fread(header, 1, sizeof header, wav->file) == sizeof header) {
        uint32_t size = little_endian(header + 4, 4);
        size_t taken = 0;
        if (memcmp(header, "data", 4) == 0) {
            return has_format ? check_data(wav, size, fault)
                              : fail(fault, "%.300s: has its samples before their format",
                                     wav->path);
        }
        if (memcmp(header, "fmt ", 4) == 0) {
            memset(format, 0, sizeof format);
            taken = size < sizeof format ? size : sizeof format;
            if (size < 16 || fread(format, 1, taken, wav->file) != taken) {
                return fail(fault, "%.300s: is truncated in its format", wav->path);
            }
            if (!check_format(format, size, wav->path, sample_rate, fault)) {
                return false;
            }
            has_format = true;
        }
        /* Chunks start at even offsets. No header before the samples is longer than 1 GiB. */
        uint64_t rest = (uint64_t)size - taken + size % 2;
        if (rest > 1 << 30 || fseek(wav->file, (long)rest, SEEK_CUR) != 0) {
            break;
        }
    }
    return fail(fault, "%.300s: ends before its samples: truncated, or without a data chunk",
                wav->path);
}

bool wav_open(const char *path, int64_t sample_rate, Wav *wav, Fault *fault) {
    *wav = (Wav){.path = path, .file = fopen(path, "rb")};
    if (wav->file == NULL) {
        return fail(fault, "%.300s: cannot be read: %s", path, strerror(errno));
    }
    unsigned char header[12];
    bool ok = fread(header, 1, sizeof header, wav->file) == sizeof header &&
              memcmp(header, "RIFF", 4) == 0 && memcmp(header + 8, "WAVE", 4) == 0;
    if (!ok) {
        fail(fault, "%.300s: is not a WAV file", path);
    }
    ok = ok && find_data(wav, sample_rate, fault);
    if (!ok) {
        wav_close(wav);
    }
    return ok;
}

bool wav_read(Wav *wav, float *samples, size_t max_samples, size_t *num_samples, Fault *fault) {
    unsigned char bytes[2 * BLOCK_SAMPLES];
    *num_samples = 0;
    while (*num_samples < max_samples && wav->left_samples > 0) {
        size_t wanted = max_samples - *num_samples;
        wanted = wanted < BLOCK_SAMPLES ? wanted : BLOCK_SAMPLES;
        wanted = wanted < wav->left_samples ? wanted : wav->left_samples;
        if (fread(bytes, 2, wanted, wav->file) != wanted) {
            return fail(fault, "%.300s: cannot be read to its end", wav->path);
        }
        for (size_t index = 0; index < wanted; index++) {
            int32_t value = (int32_t)little_endian(bytes + 2 * index, 2);
            *samples++ = (float)(value < 32768 ? value : value - 65536) / 32768.0f;
        }
        *num_samples += wanted;
        wav->left_samples -= wanted;
    }
    return true;
}

void wav_close(Wav *wav) {
    if (wav->file != NULL) {
        fclose(wav->file);
        wav->file = NULL;
    }
}
