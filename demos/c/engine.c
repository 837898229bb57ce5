#include "engine.h"

#include <math.h>
#include <onnxruntime_c_api.h>
#include <stdlib.h>

enum { MAX_MODEL_BYTES = 512 << 20 };

/* As runtime/backends/onnx.py sets them: threads that spin between two windows drain a battery,
 * and a bundle is whole, so weights that lie elsewhere must not be found anywhere. */
static const char SPINNING[] = "session.intra_op.allow_spinning";
static const char WEIGHTS_FOLDER[] = "session.model_external_initializers_file_folder_path";

struct Engine {
    const OrtApi *api;
    OrtEnv *environment;
    OrtSession *session;
    OrtMemoryInfo *memory;
};

/* A status of the library's as a fault; true where there is none. */
static bool passed(const OrtApi *api, OrtStatus *status, const char *doing, Fault *fault) {
    if (status == NULL) {
        return true;
    }
    fail(fault, "onnxruntime %s cannot %s: %.350s", engine_version(), doing,
         api->GetErrorMessage(status));
    api->ReleaseStatus(status);
    return false;
}

const char *engine_version(void) {
    return OrtGetApiBase()->GetVersionString();
}

/* A library serves every older header and no newer one; asked for one, it would print more. */
static const OrtApi *find_api(Fault *fault) {
    const char *version = engine_version();
    char *minor;
    long major = strtol(version, &minor, 10);
    if (major == 1 && *minor == '.' && strtol(minor + 1, NULL, 10) < ORT_API_VERSION) {
        fail(fault, "onnxruntime %s is older than the header of 1.%d that this was built with. "
                    "Build with the header of 1.x.y up to that version.",
             version, ORT_API_VERSION);
        return NULL;
    }
    const OrtApi *api = OrtGetApiBase()->GetApi(ORT_API_VERSION);
    if (api == NULL) {
        fail(fault, "onnxruntime %s does not serve the header's API %d", version, ORT_API_VERSION);
    }
    return api;
}

static bool set_options(const OrtApi *api, OrtSessionOptions *options, Fault *fault) {
    const char *doing = "set its options";
    return passed(api, api->SetIntraOpNumThreads(options, 1), doing, fault) &&
           passed(api, api->SetInterOpNumThreads(options, 1), doing, fault) &&
           passed(api, api->SetSessionLogSeverityLevel(options, ORT_LOGGING_LEVEL_FATAL), doing,
                  fault) &&
           passed(api, api->AddSessionConfigEntry(options, SPINNING, "0"), doing, fault) &&
           passed(api, api->AddSessionConfigEntry(options, WEIGHTS_FOLDER, "/dev/null"), doing,
                  fault);
}

static bool start(Engine *engine, const char *model, size_t num_bytes, Fault *fault) {
    const OrtApi *api = engine->api;
    OrtSessionOptions *options = NULL;
    bool ok =
        passed(api, api->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "otolite", &engine->environment),
               "start", fault) &&
        passed(api,
               api->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &engine->memory),
               "start", fault) &&
        passed(api, api->CreateSessionOptions(&options), "start", fault) &&
        set_options(api, options, fault) &&
        passed(api,
               api->CreateSessionFromArray(engine->environment, model, num_bytes, options,
                                           &engine->session),
               "load the model", fault);
    if (options != NULL) {
        api->ReleaseSessionOptions(options);
    }
    return ok;
}

Engine *engine_open(const char *folder, Fault *fault) {
    const OrtApi *api = find_api(fault);
    char *path = api == NULL ? NULL : join_path(folder, "model.onnx", fault);
    char *model = NULL;
    size_t num_bytes;
    Engine *engine = NULL;
    if (path != NULL && read_file(path, MAX_MODEL_BYTES, &model, &num_bytes, fault)) {
        engine = calloc(1, sizeof *engine);
        if (engine == NULL) {
            fail(fault, "no memory for an engine");
        } else {
            Fault reason;
            engine->api = api;
            if (!start(engine, model, num_bytes, &reason)) {
                fail(fault, "%.150s: %.350s", path, reason.text);
                engine_close(engine);
                engine = NULL;
            }
        }
    }
    free(model); /* the session holds its own copy */
    free(path);
    return engine;
}

/* A tensor over the caller's memory: nothing is copied. */
static OrtValue *wrap(const Engine *engine, float *values, int64_t rows, int64_t columns,
                      Fault *fault) {
    OrtValue *tensor = NULL;
    const int64_t shape[] = {rows, columns};
    OrtStatus *status = engine->api->CreateTensorWithDataAsOrtValue(
        engine->memory, values, (size_t)rows * (size_t)columns * sizeof *values, shape, 2,
        ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &tensor);
    return passed(engine->api, status, "take a tensor", fault) ? tensor : NULL;
}

bool engine_run(Engine *engine, const float *pcm, int64_t batch, int64_t samples,
                float *posteriors, int64_t num_labels, Fault *fault) {
    const OrtApi *api = engine->api;
    static const char *const inputs[] = {"pcm"}, *const outputs[] = {"posteriors"};
    /* The library only reads an input, and has no type that says so. */
    OrtValue *input = wrap(engine, (float *)pcm, batch, samples, fault);
    OrtValue *output = input == NULL ? NULL : wrap(engine, posteriors, batch, num_labels, fault);
    bool ok = output != NULL;
    if (ok) {
        const OrtValue *const feeds[] = {input};
        ok = passed(api, api->Run(engine->session, NULL, inputs, feeds, 1, outputs, 1, &output),
                    "run the model", fault);
    }
    for (int64_t index = 0; ok && index < batch * num_labels; index++) {
        if (!isfinite(posteriors[index])) {
            ok = fail(fault, "the model answers with NaN or infinity. Export again.");
        }
    }
    if (output != NULL) {
        api->ReleaseValue(output);
    }
    if (input != NULL) {
        api->ReleaseValue(input);
    }
    return ok;
}

void engine_close(Engine *engine) {
    if (engine == NULL) {
        return;
    }
    const OrtApi *api = engine->api;
    if (engine->session != NULL) {
        api->ReleaseSession(engine->session);
    }
    if (engine->memory != NULL) {
        api->ReleaseMemoryInfo(engine->memory);
    }
    if (engine->environment != NULL) {
        api->ReleaseEnv(engine->environment);
    }
    free(engine);
}
