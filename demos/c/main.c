/* Otolite in C: stream a recording through a keyword bundle, or replay its golden pair. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"
#include "stream.h"
#include "wav.h"

enum { MAX_BLOCK_SAMPLES = 1 << 16 };

static const char USAGE[] =
    "usage: otolite-stream BUNDLE RECORDING.wav [--threshold P] [--block-samples N]\n"
    "       otolite-stream --golden BUNDLE FOLDER\n"
    "\n"
    "BUNDLE is a folder with manifest.json and model.onnx: windows, or steps with states. The\n"
    "first call prints one line a hop, separated by tabs: samples heard by then, the keyword whose\n"
    "posterior is largest and reaches P, or -, and every label's posterior. P is in (0, 1], the\n"
    "manifest's by default. N in [1, 65536] are the samples pushed at a time; the lines do not\n"
    "depend on it. The second call replays the golden pair that golden.py wrote into FOLDER.\n";

typedef struct {
    bool golden;
    const char *bundle;
    const char *input;    /* the recording, or the golden pair's folder */
    double threshold;     /* 0: the manifest's */
    size_t block_samples; /* 320, 20 ms at 16 kHz, as a microphone would give them */
} Call;

typedef struct {
    const Manifest *manifest;
    double threshold;
} Printer;

static void print_labels(const Manifest *manifest) {
    printf("end_samples\tkeyword");
    for (size_t index = 0; index < manifest->num_labels; index++) {
        printf("\t%s", manifest->labels[index]);
    }
    printf("\n");
}

static void print_answer(void *context, const float *posteriors, int64_t end_samples) {
    const Printer *printer = context;
    const Manifest *manifest = printer->manifest;
    const char *keyword = "-";
    float best = 0.0f;
    for (size_t index = 0; index < manifest->num_labels; index++) {
        if (manifest->is_keyword[index] && posteriors[index] > best) {
            best = posteriors[index];
            keyword = (double)best >= printer->threshold ? manifest->labels[index] : "-";
        }
    }
    printf("%lld\t%s", (long long)end_samples, keyword);
    for (size_t index = 0; index < manifest->num_labels; index++) {
        printf("\t%.9g", (double)posteriors[index]); /* nine digits give a float back whole */
    }
    printf("\n");
}

static bool push_recording(Stream *stream, Wav *wav, size_t block_samples, Fault *fault) {
    float *block = malloc(block_samples * sizeof *block);
    if (block == NULL) {
        return fail(fault, "no memory for a block of %zu samples", block_samples);
    }
    size_t num_samples;
    bool ok = true;
    do {
        ok = wav_read(wav, block, block_samples, &num_samples, fault) &&
             stream_push(stream, block, num_samples, fault);
    } while (ok && num_samples > 0);
    free(block);
    return ok && stream_flush(stream, fault);
}

static bool run_stream(const Call *call, const Manifest *manifest, Engine *engine, Fault *fault) {
    Printer printer = {manifest, call->threshold > 0.0 ? call->threshold : manifest->threshold};
    Wav wav;
    Stream stream;
    if (!wav_open(call->input, manifest->sample_rate, &wav, fault)) {
        return false;
    }
    bool ok = stream_open(&stream, manifest, engine, print_answer, &printer, fault);
    if (ok) {
        print_labels(manifest);
        ok = push_recording(&stream, &wav, call->block_samples, fault);
        stream_close(&stream);
    }
    wav_close(&wav);
    return ok;
}

static bool run_golden(const Call *call, const Manifest *manifest, Engine *engine, Fault *fault) {
    Comparison found;
    Fault reason;
    if (!golden_compare(call->input, manifest, engine, &found, &reason)) {
        return fail(fault, "golden pair in %.150s: %.340s", call->input, reason.text);
    }
    if (!(found.max_error <= found.tolerance)) {
        return fail(fault, "the golden posteriors differ by up to %.3g, and %.3g is allowed: "
                           "onnxruntime %s does not compute here what was exported",
                    found.max_error, found.tolerance, engine_version());
    }
    printf("golden: largest difference %.3g, %.3g is allowed (onnxruntime %s)\n", found.max_error,
           found.tolerance, engine_version());
    return true;
}

/* A number in (0, most] as the whole of a word. */
static bool parse_number(const char *word, double most, double *number) {
    char *end;
    errno = 0;
    *number = word == NULL ? 0.0 : strtod(word, &end);
    return word != NULL && end != word && *end == '\0' && *number > 0.0 && *number <= most;
}

static bool parse_call(char **words, Call *call) {
    const char *places[2] = {NULL, NULL};
    size_t num_places = 0;
    double number;
    *call = (Call){.block_samples = 320};
    for (; *words != NULL; words++) {
        if (strcmp(*words, "--golden") == 0) {
            call->golden = true;
        } else if (strcmp(*words, "--threshold") == 0) {
            if (!parse_number(*++words, 1.0, &call->threshold)) {
                return false;
            }
        } else if (strcmp(*words, "--block-samples") == 0) {
            if (!parse_number(*++words, MAX_BLOCK_SAMPLES, &number) || number != floor(number)) {
                return false;
            }
            call->block_samples = (size_t)number;
        } else if (num_places == 2 || (*words)[0] == '-') {
            return false;
        } else {
            places[num_places++] = *words;
        }
    }
    call->bundle = places[0];
    call->input = places[1];
    return num_places == 2;
}

int main(int num_words, char **words) {
    Call call;
    if (num_words == 2 && strcmp(words[1], "--help") == 0) {
        fputs(USAGE, stdout);
        return EXIT_SUCCESS;
    }
    if (num_words < 1 || !parse_call(words + 1, &call)) {
        fputs(USAGE, stderr);
        return 2;
    }
    Fault fault;
    Manifest manifest;
    bool ok = manifest_read(call.bundle, &manifest, &fault);
    if (ok) {
        Engine *engine = engine_open(call.bundle, &fault);
        ok = engine != NULL && (call.golden ? run_golden : run_stream)(&call, &manifest, engine,
                                                                       &fault);
        engine_close(engine);
        manifest_free(&manifest);
    }
    if (ok && fflush(stdout) != 0) {
        ok = fail(&fault, "the output cannot be written: %s", strerror(errno));
    }
    if (!ok) {
        fflush(stdout);
        fprintf(stderr, "error: %s\n", fault.text);
    }
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
