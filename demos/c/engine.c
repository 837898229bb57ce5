#include "engine.h"

#include <math.h>
#include <onnxruntime_c_api.h>
#include <stdlib.h>

enum { MAX_MODEL_BYTES = 512 << 20 };

/* As runtime/backends/onnx.py sets them: threads that spin between two windows drain a battery,
 * and a bundle is whole, so weights that lie elsewhere must not be found anywhere. */
static const char SPINNING[] = "session.intra_op.allow_spinning";
static const char WEIGHTS_FOLDER[] = "session.model_external_initializers_file_folder_path";

/* A tensor's memory. */
typedef struct {
    const float *values;
    size_t num_values;
} Stretch;

struct Engine {
    const OrtApi *api;
    OrtEnv *environment;
    OrtSession *session;
    OrtMemoryInfo *memory;
};

struct Binding {
    Engine *engine;
    size_t num_pairs;
    const char **names; /* (2 * num_pairs,): inputs, then outputs, as in the two below */
    OrtValue **tensors;
    Stretch *stretches;
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

/* A run names what it lacks only when it gets there, so the numbers are compared before. */
static bool check_face(const Engine *engine, size_t num_pairs, Fault *fault) {
    const OrtApi *api = engine->api;
    size_t num_inputs, num_outputs;
    const char *doing = "tell the model's inputs";
    if (!passed(api, api->SessionGetInputCount(engine->session, &num_inputs), doing, fault) ||
        !passed(api, api->SessionGetOutputCount(engine->session, &num_outputs), doing, fault)) {
        return false;
    }
    if (num_inputs != num_pairs || num_outputs != num_pairs) {
        return fail(fault, "the model has %zu inputs and %zu outputs, and its manifest states %zu "
                           "of each. Export again.",
                    num_inputs, num_outputs, num_pairs);
    }
    return true;
}

/* Make the library's tensor over the caller's memory. */
static bool wrap(Binding *binding, size_t index, const Tensor *tensor, Fault *fault) {
    const Engine *engine = binding->engine;
    size_t num_values = 1;
    for (size_t dimension = 0; dimension < tensor->num_dimensions; dimension++) {
        num_values *= (size_t)tensor->shape[dimension];
    }
    binding->names[index] = tensor->name;
    binding->stretches[index] = (Stretch){tensor->values, num_values};
    OrtStatus *status = engine->api->CreateTensorWithDataAsOrtValue(
        engine->memory, tensor->values, num_values * sizeof(float), tensor->shape,
        tensor->num_dimensions, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &binding->tensors[index]);
    return passed(engine->api, status, "take a tensor", fault);
}

Binding *engine_bind(Engine *engine, const Tensor *inputs, const Tensor *outputs,
                     size_t num_pairs, Fault *fault) {
    if (!check_face(engine, num_pairs, fault)) {
        return NULL;
    }
    Binding *binding = calloc(1, sizeof *binding);
    if (binding == NULL) {
        fail(fault, "no memory for a binding");
        return NULL;
    }
    *binding = (Binding){
        .engine = engine,
        .num_pairs = num_pairs,
        .names = calloc(2 * num_pairs, sizeof *binding->names),
        .tensors = calloc(2 * num_pairs, sizeof *binding->tensors),
        .stretches = calloc(2 * num_pairs, sizeof *binding->stretches),
    };
    bool ok = binding->names != NULL && binding->tensors != NULL && binding->stretches != NULL;
    if (!ok) {
        fail(fault, "no memory for %zu tensors", 2 * num_pairs);
    }
    for (size_t index = 0; ok && index < num_pairs; index++) {
        ok = wrap(binding, index, &inputs[index], fault) &&
             wrap(binding, num_pairs + index, &outputs[index], fault);
    }
    if (!ok) {
        binding_close(binding);
        return NULL;
    }
    return binding;
}

bool binding_run(Binding *binding, Fault *fault) {
    const OrtApi *api = binding->engine->api;
    size_t num_pairs = binding->num_pairs;
    OrtStatus *status =
        api->Run(binding->engine->session, NULL, binding->names,
                 (const OrtValue *const *)binding->tensors, num_pairs, binding->names + num_pairs,
                 num_pairs, binding->tensors + num_pairs);
    if (!passed(api, status, "run the model", fault)) {
        return false;
    }
    for (size_t index = num_pairs; index < 2 * num_pairs; index++) {
        Stretch stretch = binding->stretches[index];
        for (size_t place = 0; place < stretch.num_values; place++) {
            if (!isfinite(stretch.values[place])) {
                return fail(fault, "the model's %.100s hold NaN or infinity. Export again.",
                            binding->names[index]);
            }
        }
    }
    return true;
}

void binding_close(Binding *binding) {
    if (binding == NULL) {
        return;
    }
    for (size_t index = 0; binding->tensors != NULL && index < 2 * binding->num_pairs; index++) {
        if (binding->tensors[index] != NULL) {
            binding->engine->api->ReleaseValue(binding->tensors[index]);
        }
    }
    free(binding->names);
    free(binding->tensors);
    free(binding->stretches);
    free(binding);
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
