/* What the generated torture program stands on: the handles that its calls take, and the judge of
 * what they return. `tests/src/torture.rs` writes the calls. */

#define _DEFAULT_SOURCE
#include <ATen/dlpack.h>
#include <bertscript/bertscript.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

/* No call may work longer, or make the process grow by more. Time of the processors, which waits for nobody. */
#define MAX_SECONDS 60.0
#define MAX_KILOBYTES (2L << 20)

/* A tool that slows the program down fifty times gets less: every call, but once, with a place for the
 * error; options are set, but not used. */
#ifdef BRIEF
#define TIMES 1
#define USES 0
#define FLIPS 4
#else
#define TIMES 2
#define USES 1
#define FLIPS 64
#endif

/* Where a case says nothing of the status, or only that it is none of success. */
#define ANY (-1)
#define REFUSED (-2)

/* Where outputs go: filled with what no call writes by itself. */
union room {
    unsigned char bytes[256];
    void *pointers[32];
};

#define FILL 0xA5
#define UNTOUCHED ((void *)0xA5A5A5A5A5A5A5A5)

/* Whether there is no libtorch: what requires it is refused, and there is no model to call. */
static int alone;

static FILE *report;
static const char *current_function = "", *current_case = "";
static unsigned calls, failures;
static double began;
static long size_before;

static void fail(const char *what) {
    failures++;
    fprintf(report, "FAIL %s(%s): %s\n", current_function, current_case, what);
    fflush(report);
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* The most memory that the process ever had. */
static long kilobytes(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

/* Written before the call: the last line of a program that crashed names the culprit. */
static void begin(const char *function, const char *which) {
    current_function = function;
    current_case = which;
    calls++;
    fprintf(report, "CALL %s(%s)", function, which);
    fflush(report);
    size_before = kilobytes();
    began = seconds();
}

static void ended(const char *outcome) {
    const double took = seconds() - began;
    const long grown = kilobytes() - size_before;
    fprintf(report, " %s %.3f s %ld kB\n", outcome, took, grown);
    if (took > MAX_SECONDS) {
        fail("it took too long");
    }
    if (grown > MAX_KILOBYTES) {
        fail("it took too much memory");
    }
}

static int is_refused_alone(bertscript_status status) {
    const int of_models = strncmp(current_function, "bertscript_model_", 17) == 0;
    return status == BERTSCRIPT_TORCH_UNAVAILABLE || (of_models && status == BERTSCRIPT_NULL_POINTER);
}

/* What holds for every call that can fail. */
static void end(bertscript_status status, int32_t expected, int told, bertscript_error *error) {
    const char *name = bertscript_status_name(status);
    ended(name);
    if (strcmp(name, "UNKNOWN") == 0) {
        fail("the status has no name");
    }
    if (status >= BERTSCRIPT_INTERNAL || status == BERTSCRIPT_POISONED) {
        fail(name);
    }
    const int is_other = expected >= 0 ? status != expected : expected == REFUSED && status == BERTSCRIPT_OK;
    if (is_other && !(alone && is_refused_alone(status))) {
        fprintf(report, "expected %s\n", expected < 0 ? "a refusal" : bertscript_status_name(expected));
        fail(name);
    }
    if (status == BERTSCRIPT_OK || !told) {
        if (error != UNTOUCHED) {
            fail("the error was written");
        }
        return;
    }
    if (error == UNTOUCHED || error == NULL) {
        fail("there is no error");
        return;
    }
    const char *message = bertscript_error_message(error);
    if (bertscript_error_status(error) != status) {
        fail("the error has another status");
    }
    if (*message == '\0' || strpbrk(message, "\r\n") != NULL) {
        fail("the message is not one line");
    }
    fprintf(report, "     %s\n", message);
    bertscript_error_free(error);
}

static union room empty_room(void) {
    union room room;
    memset(room.bytes, FILL, sizeof room.bytes);
    return room;
}

static void kept(const union room *room) {
    size_t i;
    for (i = 0; i < sizeof room->bytes; i++) {
        if (room->bytes[i] != FILL) {
            fail("an output was written");
            return;
        }
    }
}

typedef struct DLManagedTensorVersioned managed_tensor;

static void managed_tensor_free(managed_tensor *managed) {
    if (managed != NULL) {
        managed->deleter(managed);
    }
}

/* Every case of a function that can fail: with a place for the error, and without. */
#define ROUNDS(count, ...)                                                          \
    static const int32_t expected[] = __VA_ARGS__;                                  \
    int at, told;                                                                   \
    for (at = 0; at < (count); at++)                                                \
        for (told = 1; told > 1 - TIMES; told--)

#define ROUNDS_OF_GETTER(count) \
    int at;                     \
    for (at = 0; at < (count); at++)

#define OUTPUT(type, name)                  \
    union room room_##name = empty_room();  \
    type name = (type)(void *)room_##name.bytes

/* An output is written by success only, but for the size of a room that would do. */
#define SETTLE(name)                 \
    if (status != BERTSCRIPT_OK) {   \
        kept(&room_##name);          \
    }
#define SETTLE_SIZE(name)                                                       \
    if (status != BERTSCRIPT_OK && status != BERTSCRIPT_BUFFER_TOO_SMALL) {     \
        kept(&room_##name);                                                     \
    }

/* Handles that a call gave out are freed. */
#define SETTLE_HANDLES(type, name)                                                               \
    SETTLE(name)                                                                                 \
    else {                                                                                       \
        size_t slot_;                                                                            \
        if (name != NULL && room_##name.pointers[0] == UNTOUCHED) {                              \
            fail("an output was not written");                                                   \
        }                                                                                        \
        for (slot_ = 0; slot_ < 32 && room_##name.pointers[slot_] != UNTOUCHED; slot_++) {       \
            type##_free(room_##name.pointers[slot_]);                                            \
        }                                                                                        \
    }

/* A handle of the call's own: one that it changed, took if it succeeded, or freed unless it got NULL. */
#define SETTLE_CHANGED(type)                           \
    if (USES && status == BERTSCRIPT_OK && told) {     \
        use_##type(fresh);                             \
    }                                                  \
    type##_free(fresh)
#define SETTLE_TAKEN(type)           \
    if (status != BERTSCRIPT_OK) {   \
        type##_free(fresh);          \
    }
#define SETTLE_FREED(function, nothing) \
    ended("returned");                  \
    if (nothing) {                      \
        function(fresh);                \
    }

/* Every number and text is read, so that a sanitizer sees where it lies. */
static volatile int64_t sink;

static void saw_number(int64_t found, int nothing) {
    ended("returned");
    if (nothing && found != 0 && found != -1) {
        fail("something was found in NULL");
    }
}

static void saw_text(const char *found, int nothing) {
    ended("returned");
    sink = found == NULL ? 0 : (int64_t)strlen(found);
    if (nothing && sink != 0) {
        fail("something was found in NULL");
    }
}

static void saw_place(const void *found, int nothing) {
    ended("returned");
    sink = found == NULL ? 0 : *(const unsigned char *)found;
    if (nothing && found != NULL) {
        fail("something was found in NULL");
    }
}

/* A handle that is returned, and not borrowed. */
#define SAW_HANDLE(type, call, nothing) \
    type *const found = (call);         \
    saw_place(found, nothing);          \
    type##_free(found)

#include "handles.h"
