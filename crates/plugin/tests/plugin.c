/* A plug-in in C: what it is asked, it answers, tensors and all. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef VERSION
#define VERSION 2
#endif
#ifndef RELEASE
#define RELEASE "0.1.0"
#endif

struct request {
    const char *text;
    size_t length;
    void *const *tensors;
    size_t count;
    const struct stream *stream;
    void (*log)(int32_t level, const char *text, size_t length);
};

struct stream {
    int32_t device;
    void *handle;
};

struct reply {
    const char *text;
    size_t length;
    void *const *tensors;
    size_t count;
    void *owner;
    void (*release)(void *owner);
};

struct interface {
    uint32_t version;
    const char *release;
    void (*call)(const struct request *request, struct reply *reply);
};

struct kept {
    char *text;
    void **tensors;
};

static void release(void *owner) {
    struct kept *kept = owner;
    free(kept->text);
    free(kept->tensors);
    free(kept);
}

static void call(const struct request *request, struct reply *reply) {
    struct kept *kept = malloc(sizeof *kept);
    if (request->log != NULL) {
        char text[64];
        int length = request->stream == NULL
                         ? snprintf(text, sizeof text, "on no stream")
                         : snprintf(text, sizeof text, "on stream %d of device %d",
                                    (int)(intptr_t)request->stream->handle, (int)request->stream->device);
        request->log(request->stream == NULL ? 2 : 1, text, (size_t)length);
    }
    size_t size = request->count * sizeof *request->tensors;
    kept->text = malloc(request->length + 1);
    kept->tensors = malloc(size + 1);
    memcpy(kept->text, request->text, request->length);
    memcpy(kept->tensors, request->tensors, size);
    reply->text = kept->text;
    reply->length = request->length;
    reply->tensors = kept->tensors;
    reply->count = request->count;
    reply->owner = kept;
    reply->release = release;
}

static const struct interface OFFERED = {VERSION, RELEASE, call};

const struct interface *bertscript_torch_interface(void) { return &OFFERED; }
