/* What a disk may do: calls of the system on the files of one folder fail, or end the process, when they
 * are told to. A shared library, to be preloaded into a command (LD_PRELOAD) or loaded by a program.
 *
 * The calls themselves are caught, by seccomp: much of what opens, writes and renames files does so without
 * a function that could be replaced. Each raises SIGSYS, whose handler makes the call, or answers instead.
 *
 * A command is told by its environment: FAULT_FOLDER, FAULT_CALLS, FAULT_AT and FAULT_KIND are what
 * `disk_fault` takes, and FAULT_LOG is a file that gets a line for each call that counts. */
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

/* The one place whose calls are not caught: they are this file's own. */
long disk_pass(long number, long a, long b, long c, long d, long e, long f);
extern const char disk_passed[];
__asm__(".text\n"
        ".globl disk_pass, disk_passed\n"
        ".type disk_pass, @function\n"
        "disk_pass:\n"
        "    mov %rdi, %rax\n"
        "    mov %rsi, %rdi\n"
        "    mov %rdx, %rsi\n"
        "    mov %rcx, %rdx\n"
        "    mov %r8, %r10\n"
        "    mov %r9, %r8\n"
        "    mov 8(%rsp), %r9\n"
        "    syscall\n"
        "disk_passed:\n"
        "    ret\n"
        ".size disk_pass, .-disk_pass\n");

enum place { PATH, PATH_AT, DESCRIPTOR, DESCRIPTOR_OF_MAP };
enum effect { OPEN, READ, WRITE, STAT, MAP, SYNC, CHANGE };

static const struct call {
    long number;
    const char *name;
    enum place place;
    enum effect effect;
} calls[] = {
    {SYS_open, "open", PATH, OPEN},
    {SYS_openat, "open", PATH_AT, OPEN},
    {SYS_read, "read", DESCRIPTOR, READ},
    {SYS_pread64, "read", DESCRIPTOR, READ},
    {SYS_readv, "read", DESCRIPTOR, READ},
    {SYS_stat, "stat", PATH, STAT},
    {SYS_fstat, "stat", DESCRIPTOR, STAT},
    {SYS_newfstatat, "stat", PATH_AT, STAT},
    {SYS_statx, "stat", PATH_AT, STAT},
    {SYS_mmap, "mmap", DESCRIPTOR_OF_MAP, MAP},
    {SYS_write, "write", DESCRIPTOR, WRITE},
    {SYS_pwrite64, "write", DESCRIPTOR, WRITE},
    {SYS_writev, "write", DESCRIPTOR, WRITE},
    {SYS_fsync, "sync", DESCRIPTOR, SYNC},
    {SYS_fdatasync, "sync", DESCRIPTOR, SYNC},
    {SYS_ftruncate, "truncate", DESCRIPTOR, CHANGE},
    {SYS_fallocate, "allocate", DESCRIPTOR, CHANGE},
    {SYS_fchmod, "chmod", DESCRIPTOR, CHANGE},
    {SYS_chmod, "chmod", PATH, CHANGE},
    {SYS_rename, "rename", PATH, CHANGE},
    {SYS_renameat, "rename", PATH_AT, CHANGE},
    {SYS_renameat2, "rename", PATH_AT, CHANGE},
};
#define CALLS (sizeof calls / sizeof calls[0])

static char folder[PATH_MAX];
static int reads, fails_on;
static long at, seen;
static enum { ERROR, FULL, SHORT, INTERRUPTED, EMPTY, KILL, TEAR } kind;
static int error;
static int log_file = -1;

static long pass(long number, const long *a) { return disk_pass(number, a[0], a[1], a[2], a[3], a[4], a[5]); }

/* Whether a call is on a file of the folder, and on which. */
static int is_of_folder(const struct call *call, const long *a, char path[PATH_MAX]) {
    const size_t length = strlen(folder);
    const char *named = "";
    long descriptor = -1;
    switch (call->place) {
        case PATH: named = (const char *)a[0]; break;
        case PATH_AT: named = (const char *)a[1]; descriptor = a[0]; break;
        case DESCRIPTOR: descriptor = a[0]; break;
        case DESCRIPTOR_OF_MAP: descriptor = a[4]; break;
    }
    path[0] = '\0';
    if (named != NULL && named[0] != '\0') {
        strncat(path, named, PATH_MAX - 1);
    } else if ((int)descriptor >= 0) {
        char link[32];
        long read;
        snprintf(link, sizeof link, "/proc/self/fd/%d", (int)descriptor);
        read = disk_pass(SYS_readlink, (long)link, (long)path, PATH_MAX - 1, 0, 0, 0);
        path[read > 0 ? read : 0] = '\0';
    }
    return length > 0 && strncmp(path, folder, length) == 0 && path[length] == '/';
}

/* Whether a call is of the kind that counts. */
static int counts(const struct call *call, const long *a) {
    if (call->effect == OPEN) {
        const long flags = call->place == PATH ? a[1] : a[2];
        return reads == ((flags & (O_ACCMODE | O_CREAT | O_TRUNC)) == O_RDONLY);
    }
    return reads == (call->effect == READ || call->effect == STAT || call->effect == MAP);
}

/* A write of half of what it was given. */
static long half(const struct call *call, const long *a) {
    if (call->number == SYS_writev) {
        const struct iovec *first = (const struct iovec *)a[1];
        return disk_pass(SYS_write, a[0], (long)first->iov_base, (long)((first->iov_len + 1) / 2), 0, 0, 0);
    }
    return disk_pass(call->number, a[0], a[1], (a[2] + 1) / 2, a[3], 0, 0);
}

/* What the call that is struck returns. */
static long struck(const struct call *call, const long *a) {
    switch (kind) {
        case ERROR: return -error;
        case FULL:
            __atomic_store_n(&fails_on, 1, __ATOMIC_RELAXED);
            return call->effect == WRITE ? half(call, a) : -ENOSPC;
        case SHORT: return call->effect == WRITE ? half(call, a) : pass(call->number, a);
        case INTERRUPTED:
            return call->effect == STAT || call->effect == MAP || call->effect == CHANGE ? pass(call->number, a)
                                                                                         : -EINTR;
        case EMPTY: return call->effect == READ ? 0 : pass(call->number, a);
        case TEAR:
            if (call->effect == WRITE) {
                half(call, a);
            }
            /* fall through */
        case KILL:
            disk_pass(SYS_kill, disk_pass(SYS_getpid, 0, 0, 0, 0, 0, 0), SIGKILL, 0, 0, 0, 0);
    }
    return -ENOSYS;
}

static long answer(long number, const long *a) {
    const struct call *call = calls;
    char path[PATH_MAX];
    while (call < calls + CALLS && call->number != number) {
        call++;
    }
    if (call == calls + CALLS || !is_of_folder(call, a, path) || !counts(call, a)) {
        return pass(number, a);
    }
    if (log_file >= 0) {
        char line[PATH_MAX + 16];
        const int length = snprintf(line, sizeof line, "%s %s\n", call->name, path);
        disk_pass(SYS_write, log_file, (long)line, length, 0, 0, 0);
    }
    if (__atomic_add_fetch(&seen, 1, __ATOMIC_RELAXED) == at) {
        return struck(call, a);
    }
    if (__atomic_load_n(&fails_on, __ATOMIC_RELAXED) && (call->effect == WRITE || call->effect == OPEN)) {
        return -ENOSPC;
    }
    return pass(number, a);
}

static void caught(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const long arguments[] = {registers[REG_RDI], registers[REG_RSI], registers[REG_RDX],
                              registers[REG_R10], registers[REG_R8],  registers[REG_R9]};
    (void)number;
    registers[REG_RAX] = answer(info->si_syscall, arguments);
}

static void must(int condition, const char *what) {
    if (!condition) {
        perror(what);
        _exit(99);
    }
}

/* Lets the kernel raise SIGSYS for the calls of the table, except here, and except for maps of no file. */
static void catch_calls(void) {
    const uint64_t here = (uint64_t)(uintptr_t)disk_passed;
    struct sock_filter filter[10 + 2 * CALLS];
    struct sock_fprog program = {0, filter};
    struct sigaction action;
    unsigned short n = 0;
    size_t i;
#define LOAD(field, offset) \
    (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offsetof(struct seccomp_data, field) + (offset))
#define IF(value, yes, no) (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)(value), yes, no)
#define RETURN(value) (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, value)
    filter[n++] = LOAD(instruction_pointer, 0);
    filter[n++] = IF(here, 0, 3);
    filter[n++] = LOAD(instruction_pointer, 4);
    filter[n++] = IF(here >> 32, 0, 1);
    filter[n++] = RETURN(SECCOMP_RET_ALLOW);
    filter[n++] = LOAD(args[4], 0);
    filter[n++] = IF(-1, 0, 2);
    filter[n++] = LOAD(nr, 0);
    filter[n++] = IF(SYS_mmap, (unsigned char)(2 * CALLS + 1), 0);
    filter[n++] = LOAD(nr, 0);
    for (i = 0; i < CALLS; i++) {
        filter[n++] = IF(calls[i].number, 0, 1);
        filter[n++] = RETURN(SECCOMP_RET_TRAP);
    }
    filter[n++] = RETURN(SECCOMP_RET_ALLOW);
    program.len = n;

    memset(&action, 0, sizeof action);
    action.sa_sigaction = caught;
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART;
    must(sigaction(SIGSYS, &action, NULL) == 0, "sigaction");
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no new privileges");
    must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0, "seccomp");
}

/* From now on, counts calls on files below the folder `where`, a path from the root: those that write if
 * `which` is "writes", those that read if it is "reads"; of this thread, and of those that it starts. At the
 * call of this number, from 1, happens `what`:
 *
 *   ENOENT, EACCES, EIO  it fails so, and others do not
 *   full                 half is written; that and all later writes and new files fail with ENOSPC
 *   short                half is written
 *   interrupted          EINTR, where a call may be interrupted
 *   empty                a read finds the end of the file
 *   kill                 the process ends
 *   tear                 half is written, and the process ends */
void disk_fault(const char *where, const char *which, long number, const char *what) {
    static __thread int is_caught = 0;
    if (!is_caught) {
        is_caught = 1;
        catch_calls();
    }
    snprintf(folder, sizeof folder, "%s", where);
    reads = strcmp(which, "reads") == 0;
    kind = strcmp(what, "full") == 0          ? FULL
           : strcmp(what, "short") == 0       ? SHORT
           : strcmp(what, "interrupted") == 0 ? INTERRUPTED
           : strcmp(what, "empty") == 0       ? EMPTY
           : strcmp(what, "kill") == 0        ? KILL
           : strcmp(what, "tear") == 0        ? TEAR
                                              : ERROR;
    error = strcmp(what, "EIO") == 0 ? EIO : strcmp(what, "EACCES") == 0 ? EACCES : ENOENT;
    must(kind != ERROR || error != ENOENT || strcmp(what, "ENOENT") == 0, what);
    fails_on = 0;
    seen = 0;
    at = number;
}

/* How many calls there were. */
long disk_calls(void) { return seen; }

__attribute__((constructor)) static void from_environment(void) {
    const char *where = getenv("FAULT_FOLDER");
    if (where == NULL) {
        return;
    }
    log_file = open(getenv("FAULT_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    must(log_file >= 0, "the log");
    disk_fault(where, getenv("FAULT_CALLS"), atol(getenv("FAULT_AT")), getenv("FAULT_KIND"));
}
