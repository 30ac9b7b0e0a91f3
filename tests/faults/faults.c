/* A library for LD_PRELOAD that lets chosen system calls fail on chosen paths, while the program runs.
 *
 * FAULTS_RULES names a file of rules, which is read again whenever it has changed. One rule a line:
 *
 *     CALL ACTION SKIP COUNT PATTERN
 *
 * CALL     create, open, read, write, truncate, sync, rename, link, mkdir, rmdir, unlink, sendfile, or * for any.
 * ACTION   the number of an errno, or 0 to die by SIGKILL in the place of the call.
 * SKIP     how many matching calls go through first, counted in each process.
 * COUNT    how many fail after that; -1 for all.
 * PATTERN  of fnmatch(3), against the absolute path; * matches slashes too. A rename or link matches by either path.
 *
 * FAULTS_LOG names a file to which every call that a rule's PATTERN fits is appended, one a line:
 * CALL, result (0, an errno, or "fault" when it was ours), path, second path, with tabs between.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST_RULES 32
#define LONGEST_PATTERN 512

struct rule {
    char call[16];
    int action;
    long skip;
    long count;
    char pattern[LONGEST_PATTERN];
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct rule rules[MOST_RULES];
static int rule_count;
static struct stat read_as;

/* Our own files are read and written by bare system calls, so that no rule meets them. */
static void read_rules(void) {
    const char *name = getenv("FAULTS_RULES");
    struct stat now;
    char text[16384];
    if (!name || syscall(SYS_newfstatat, AT_FDCWD, name, &now, 0) != 0) {
        rule_count = 0;
        return;
    }
    if (now.st_ino == read_as.st_ino && now.st_size == read_as.st_size &&
        now.st_mtim.tv_sec == read_as.st_mtim.tv_sec && now.st_mtim.tv_nsec == read_as.st_mtim.tv_nsec)
        return;
    int fd = syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC, 0);
    long length = fd < 0 ? 0 : syscall(SYS_read, fd, text, sizeof text - 1);
    if (fd >= 0)
        syscall(SYS_close, fd);
    text[length > 0 ? length : 0] = 0;
    read_as = now;
    rule_count = 0;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line && rule_count < MOST_RULES; line = strtok_r(NULL, "\n", &rest)) {
        struct rule *rule = &rules[rule_count];
        if (sscanf(line, "%15s %d %ld %ld %511[^\n]", rule->call, &rule->action, &rule->skip, &rule->count,
                   rule->pattern) == 5)
            rule_count++;
    }
}

static void note(const char *call, const char *result, const char *path, const char *other) {
    char line[2 * PATH_MAX + 64];
    const char *name = getenv("FAULTS_LOG");
    if (!name)
        return;
    int fd = syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0)
        return;
    int length = snprintf(line, sizeof line, "%s\t%s\t%s\t%s\n", call, result, path, other ? other : "");
    syscall(SYS_write, fd, line, length);
    syscall(SYS_close, fd);
}

/* Whether to log this call; *failure is the errno to fail with, or 0. */
static int judge(const char *call, const char *path, const char *other, int *failure) {
    int wanted = 0, deadly = 0;
    *failure = 0;
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < rule_count; i++) {
        struct rule *rule = &rules[i];
        if (fnmatch(rule->pattern, path, 0) != 0 && (!other || fnmatch(rule->pattern, other, 0) != 0))
            continue;
        wanted = 1;
        if (*failure || deadly || (strcmp(rule->call, "*") != 0 && strcmp(rule->call, call) != 0))
            continue;
        if (rule->skip > 0)
            rule->skip--;
        else if (rule->count != 0) {
            if (rule->count > 0)
                rule->count--;
            *failure = rule->action;
            deadly = rule->action == 0;
        }
    }
    pthread_mutex_unlock(&mutex);
    if (*failure || deadly)
        note(call, "fault", path, other);
    if (deadly)
        syscall(SYS_kill, getpid(), SIGKILL);
    return wanted;
}

static int active(void) {
    pthread_mutex_lock(&mutex);
    read_rules();
    int count = rule_count;
    pthread_mutex_unlock(&mutex);
    return count > 0;
}

static void path_of(int fd, char *path) {
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    long length = syscall(SYS_readlink, name, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
}

static void absolute(int folder, const char *name, char *path) {
    if (name[0] == '/') {
        snprintf(path, PATH_MAX, "%s", name);
        return;
    }
    char base[PATH_MAX];
    if (folder == AT_FDCWD) {
        if (!getcwd(base, sizeof base))
            base[0] = 0;
    } else
        path_of(folder, base);
    if (snprintf(path, PATH_MAX, "%s/%s", base, name) >= PATH_MAX)
        path[PATH_MAX - 1] = 0;
}

static void after(const char *call, long result, const char *path, const char *other) {
    char text[16];
    int number = errno;
    snprintf(text, sizeof text, "%d", result < 0 ? number : 0);
    note(call, text, path, other);
    errno = number;
}

/* The body of a wrapper: fail if a rule says so, else call the real function and log it. */
#define GUARDED(call, path, other, invocation)                                                                         \
    do {                                                                                                               \
        int failure, wanted = judge(call, path, other, &failure);                                                      \
        if (failure) {                                                                                                 \
            errno = failure;                                                                                           \
            return -1;                                                                                                 \
        }                                                                                                              \
        long result = (invocation);                                                                                    \
        if (wanted)                                                                                                    \
            after(call, result, path, other);                                                                          \
        return result;                                                                                                 \
    } while (0)

#define REAL(type, name, ...)                                                                                          \
    static type (*real)(__VA_ARGS__);                                                                                  \
    if (!real)                                                                                                         \
    real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

#define BY_DESCRIPTOR(type, name, call, declared, passed, ...)                                                         \
    type name declared {                                                                                               \
        REAL(type, #name, __VA_ARGS__);                                                                                \
        if (!active())                                                                                                 \
            return real passed;                                                                                        \
        char path[PATH_MAX];                                                                                           \
        path_of(fd, path);                                                                                             \
        GUARDED(call, path, NULL, real passed);                                                                        \
    }

BY_DESCRIPTOR(ssize_t, read, "read", (int fd, void *b, size_t n), (fd, b, n), int, void *, size_t)
BY_DESCRIPTOR(ssize_t, pread, "read", (int fd, void *b, size_t n, off_t o), (fd, b, n, o), int, void *, size_t, off_t)
BY_DESCRIPTOR(ssize_t, pread64, "read", (int fd, void *b, size_t n, off64_t o), (fd, b, n, o), int, void *, size_t,
              off64_t)
BY_DESCRIPTOR(ssize_t, write, "write", (int fd, const void *b, size_t n), (fd, b, n), int, const void *, size_t)
BY_DESCRIPTOR(ssize_t, writev, "write", (int fd, const struct iovec *b, int n), (fd, b, n), int, const struct iovec *,
              int)
BY_DESCRIPTOR(ssize_t, pwrite, "write", (int fd, const void *b, size_t n, off_t o), (fd, b, n, o), int, const void *,
              size_t, off_t)
BY_DESCRIPTOR(ssize_t, pwrite64, "write", (int fd, const void *b, size_t n, off64_t o), (fd, b, n, o), int,
              const void *, size_t, off64_t)
BY_DESCRIPTOR(int, ftruncate, "truncate", (int fd, off_t n), (fd, n), int, off_t)
BY_DESCRIPTOR(int, ftruncate64, "truncate", (int fd, off64_t n), (fd, n), int, off64_t)
BY_DESCRIPTOR(int, fsync, "sync", (int fd), (fd), int)
BY_DESCRIPTOR(int, fdatasync, "sync", (int fd), (fd), int)
BY_DESCRIPTOR(int, syncfs, "syncfs", (int fd), (fd), int)

#define SENDFILE(name, offset)                                                                                         \
    ssize_t name(int out, int fd, offset *o, size_t n) {                                                               \
        REAL(ssize_t, #name, int, int, offset *, size_t);                                                              \
        if (!active())                                                                                                 \
            return real(out, fd, o, n);                                                                                \
        char path[PATH_MAX];                                                                                           \
        path_of(fd, path);                                                                                             \
        GUARDED("sendfile", path, NULL, real(out, fd, o, n));                                                          \
    }
SENDFILE(sendfile, off_t)
SENDFILE(sendfile64, off64_t)

#define OPENAT(name)                                                                                                   \
    int name(int folder, const char *file, int flags, ...) {                                                           \
        mode_t mode = 0;                                                                                               \
        if (flags & (O_CREAT | O_TMPFILE)) {                                                                           \
            va_list rest;                                                                                              \
            va_start(rest, flags);                                                                                     \
            mode = va_arg(rest, mode_t);                                                                               \
            va_end(rest);                                                                                              \
        }                                                                                                              \
        REAL(int, #name, int, const char *, int, ...);                                                                 \
        if (!active())                                                                                                 \
            return real(folder, file, flags, mode);                                                                    \
        char path[PATH_MAX];                                                                                           \
        absolute(folder, file, path);                                                                                  \
        const char *call = flags & O_CREAT ? "create" : "open";                                                        \
        GUARDED(call, path, NULL, real(folder, file, flags, mode));                                                    \
    }
OPENAT(openat)
OPENAT(openat64)

#define OPEN(name, at)                                                                                                 \
    int name(const char *file, int flags, ...) {                                                                       \
        mode_t mode = 0;                                                                                               \
        if (flags & (O_CREAT | O_TMPFILE)) {                                                                           \
            va_list rest;                                                                                              \
            va_start(rest, flags);                                                                                     \
            mode = va_arg(rest, mode_t);                                                                               \
            va_end(rest);                                                                                              \
        }                                                                                                              \
        return at(AT_FDCWD, file, flags, mode);                                                                        \
    }
OPEN(open, openat)
OPEN(open64, openat64)

/* What a program compiled with _FORTIFY_SOURCE calls when it passes no mode. */
int __open_2(const char *file, int flags) { return openat(AT_FDCWD, file, flags); }
int __open64_2(const char *file, int flags) { return openat64(AT_FDCWD, file, flags); }

#define BY_NAME(name, call, folder, file, declared, passed, ...)                                                       \
    int name declared {                                                                                                \
        REAL(int, #name, __VA_ARGS__);                                                                                 \
        if (!active())                                                                                                 \
            return real passed;                                                                                        \
        char path[PATH_MAX];                                                                                           \
        absolute(folder, file, path);                                                                                  \
        GUARDED(call, path, NULL, real passed);                                                                        \
    }
BY_NAME(mkdir, "mkdir", AT_FDCWD, p, (const char *p, mode_t m), (p, m), const char *, mode_t)
BY_NAME(mkdirat, "mkdir", d, p, (int d, const char *p, mode_t m), (d, p, m), int, const char *, mode_t)
BY_NAME(rmdir, "rmdir", AT_FDCWD, p, (const char *p), (p), const char *)
BY_NAME(unlink, "unlink", AT_FDCWD, p, (const char *p), (p), const char *)
BY_NAME(unlinkat, "unlink", d, p, (int d, const char *p, int f), (d, p, f), int, const char *, int)

#define BY_TWO_NAMES(name, call, from, to, declared, passed, ...)                                                      \
    int name declared {                                                                                                \
        REAL(int, #name, __VA_ARGS__);                                                                                 \
        if (!active())                                                                                                 \
            return real passed;                                                                                        \
        char path[PATH_MAX], other[PATH_MAX];                                                                          \
        absolute(from, a, path);                                                                                       \
        absolute(to, b, other);                                                                                        \
        GUARDED(call, path, other, real passed);                                                                       \
    }
BY_TWO_NAMES(rename, "rename", AT_FDCWD, AT_FDCWD, (const char *a, const char *b), (a, b), const char *, const char *)
BY_TWO_NAMES(renameat, "rename", c, d, (int c, const char *a, int d, const char *b), (c, a, d, b), int, const char *,
             int, const char *)
BY_TWO_NAMES(link, "link", AT_FDCWD, AT_FDCWD, (const char *a, const char *b), (a, b), const char *, const char *)
BY_TWO_NAMES(linkat, "link", c, d, (int c, const char *a, int d, const char *b, int f), (c, a, d, b, f), int,
             const char *, int, const char *, int)
