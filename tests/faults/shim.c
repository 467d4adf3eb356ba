/* What a process does to the files below one directory, recorded; and faults put in its way.
 *
 * What it is: an LD_PRELOAD library. Each change is appended to a record, whole and in order, so
 * that `powercut.py` can tell what a disk may hold at any moment; rules in a shared page
 * (`control.py`) make the n-th call of a kind fail. What it is not: a model of a disk; this file
 * only tells what happened.
 *
 * Invariants:
 * - a change and its entry are made under one lock, and the entry is there before the call
 *   returns: whoever was told of a change finds it in the record;
 * - a sync is recorded after it succeeded, with the number of the last entry before it began: what
 *   came meanwhile is not covered. sync_file_range promises nothing and is not recorded;
 * - the record lies outside of the directory and is written by the kernel at once, so that SIGKILL
 *   leaves all but a torn last entry;
 * - what it cannot follow (shared writable mappings, stdio that writes) is recorded as such, and
 *   the power cut is refused.
 *
 * Environment: FAULTS_ROOT (absolute, without links), FAULTS_RECORD, FAULTS_CONTROL (optional).
 * The real calls are made by number, so that no wrapper calls another.
 *
 * Tested in tests/faults/test_shim.py.
 */
#include "shim.h"

static char root[PATH_MAX];
static size_t root_len;
static int record = -1;
struct control *shim_control;
pthread_mutex_t shim_lock = PTHREAD_MUTEX_INITIALIZER;
uint64_t shim_numbers;
static uint32_t handles;
struct slot shim_slots[FDS_MAX];

static void die(const char *why) {
    dprintf(2, "shim: %s: %s\n", why, strerror(errno));
    abort();
}

__attribute__((constructor)) static void begin(void) {
    const char *at = getenv("FAULTS_ROOT"), *to = getenv("FAULTS_RECORD");
    if (at == NULL || to == NULL) return;
    int low = syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (low < 0) die(to);
    record = syscall(SYS_fcntl, low, F_DUPFD_CLOEXEC, RECORD_FD_MIN);
    if (record < 0) record = low;
    else syscall(SYS_close, low);
    const char *page = getenv("FAULTS_CONTROL");
    if (page != NULL) {
        int fd = syscall(SYS_openat, AT_FDCWD, page, O_RDWR | O_CLOEXEC, 0);
        if (fd < 0) die(page);
        shim_control = (void *)syscall(SYS_mmap, NULL, sizeof *shim_control, PROT_READ | PROT_WRITE,
                                  MAP_SHARED, fd, 0);
        if (shim_control == MAP_FAILED) die(page);
        syscall(SYS_close, fd);
    }
    handles = (uint32_t)getpid() << 8; /* children add to the same record */
    root_len = strlen(at);
    memcpy(root, at, root_len + 1);
}

const char *shim_inside(int dir, const char *path, char buffer[PATH_MAX]) {
    if (!root_len || path == NULL || !*path) return NULL;
    char whole[2 * PATH_MAX], parent[PATH_MAX];
    int kept = errno;
    if (*path == '/') snprintf(whole, sizeof whole, "%s", path);
    else {
        char link[64];
        ssize_t length;
        snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
        if (dir == AT_FDCWD) strcpy(link, "/proc/self/cwd");
        length = syscall(SYS_readlinkat, AT_FDCWD, link, parent, sizeof parent - 1);
        if (length < 0) return errno = kept, NULL;
        snprintf(whole, sizeof whole, "%.*s/%s", (int)length, parent, path);
    }
    size_t end = strlen(whole);
    while (end > 1 && whole[end - 1] == '/') whole[--end] = 0;
    char *base = strrchr(whole, '/');
    if (!strcmp(base, "/.") || !strcmp(base, "/..")) {
        if (realpath(whole, buffer) == NULL) return errno = kept, NULL;
    } else {
        *base = 0;
        const char *real = realpath(*whole ? whole : "/", parent);
        errno = kept;
        if (real == NULL || strlen(parent) + strlen(base + 1) + 2 > PATH_MAX) return NULL;
        strcpy(buffer, strcmp(parent, "/") ? parent : "");
        strcat(strcat(buffer, "/"), base + 1);
    }
    if (strncmp(buffer, root, root_len) || (buffer[root_len] && buffer[root_len] != '/')) return NULL;
    return buffer[root_len] ? buffer + root_len + 1 : "";
}

struct slot *shim_slot(int fd) {
    struct stat now;
    if (!root_len || fd < 0 || fd >= FDS_MAX || !shim_slots[fd].handle) return NULL;
    /* The number may have been closed behind our back, and be a socket now. */
    if (fstat(fd, &now) || now.st_dev != shim_slots[fd].dev || now.st_ino != shim_slots[fd].ino) {
        shim_slots[fd].handle = 0;
        return NULL;
    }
    return &shim_slots[fd];
}

/* With the shim_lock held. */
int shim_tracing(void) { return root_len > 0; }

void shim_append(struct entry e, const char *name, const char *other, const struct iovec *data,
                   int parts) {
    struct iovec all[3 + IOV_MAX];
    int count = 3, kept = errno;
    e.magic = MAGIC;
    e.number = ++shim_numbers;
    e.name_len = strlen(name);
    e.other_len = strlen(other);
    all[0] = (struct iovec){&e, sizeof e};
    all[1] = (struct iovec){(void *)name, e.name_len};
    all[2] = (struct iovec){(void *)other, e.other_len};
    size_t left = parts ? e.b : 0, want = sizeof e + e.name_len + e.other_len + left;
    for (int i = 0; i < parts && left && count < IOV_MAX; i++) {
        all[count] = data[i];
        if (all[count].iov_len > left) all[count].iov_len = left;
        left -= all[count++].iov_len;
    }
    if (syscall(SYS_writev, record, all, count) != (ssize_t)want) die("the record is not whole");
    errno = kept;
}

int shim_fault(enum kind kind, const char *name) {
    for (int i = 0; shim_control != NULL && i < RULES; i++) {
        struct rule *r = &shim_control->rules[i];
        if ((enum kind)r->kind != kind || fnmatch(r->pattern, name, 0)) continue;
        int64_t nth = __atomic_add_fetch(&r->matched, 1, __ATOMIC_SEQ_CST);
        if (nth <= r->skip || (r->times >= 0 && nth > r->skip + r->times)) continue;
        __atomic_add_fetch(&r->failed, 1, __ATOMIC_SEQ_CST);
        return r->error;
    }
    return 0;
}

void shim_charge(int64_t bytes) {
    if (shim_control != NULL && shim_control->budget >= 0) {
        int64_t left = __atomic_sub_fetch(&shim_control->budget, bytes, __ATOMIC_SEQ_CST);
        if (left < 0) __atomic_store_n(&shim_control->budget, 0, __ATOMIC_SEQ_CST);
    }
}

/* Calls whose effect is not followed: recorded, so that no power cut is drawn from half a truth. */
void shim_unfollowed(int fd, const char *what) {
    pthread_mutex_lock(&shim_lock);
    struct slot *slot = shim_slot(fd);
    if (slot != NULL) shim_append((struct entry){.kind = '!'}, slot->name, what, NULL, 0);
    pthread_mutex_unlock(&shim_lock);
}
/* --- opening and closing -------------------------------------------------------------------- */

int shim_open(int dir, const char *path, int flags, mode_t mode) {
    char buffer[PATH_MAX];
    const char *name = shim_inside(dir, path, buffer);
    if (name == NULL) return syscall(SYS_openat, dir, path, flags, mode);
    pthread_mutex_lock(&shim_lock);
    struct stat was, is;
    int existed = !fstatat(dir, path, &was, 0), error = 0, fd = -1;
    if ((flags & O_CREAT) && !existed) error = shim_fault(ON_CREATE, name);
    if (error > 0) errno = error;
    else fd = syscall(SYS_openat, dir, path, flags, mode);
    if (fd >= 0 && fd < FDS_MAX && !fstat(fd, &is)) {
        struct entry e = {.kind = 'O', .handle = ++handles};
        int writes = (flags & O_ACCMODE) != O_RDONLY;
        if (!existed) e.flags |= CREATED;
        else if ((flags & O_TRUNC) && writes) e.flags |= TRUNCATED, shim_charge(-was.st_size);
        if (flags & O_DSYNC) e.flags |= SYNCHRONOUS;
        if (S_ISDIR(is.st_mode)) e.flags |= DIRECTORY;
        shim_append(e, name, (flags & O_TMPFILE) == O_TMPFILE ? "O_TMPFILE" : "", NULL, 0);
        shim_slots[fd] = (struct slot){e.handle, flags, is.st_dev, is.st_ino, strdup(name)};
    }
    pthread_mutex_unlock(&shim_lock);
    return fd;
}

#define MODE_OF(flags, last)                                       \
    mode_t mode = 0;                                               \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                       \
        va_list more;                                              \
        va_start(more, last);                                      \
        mode = va_arg(more, mode_t);                               \
        va_end(more);                                              \
    }
#define OPEN(symbol)                                               \
    int symbol(const char *path, int flags, ...) {                 \
        MODE_OF(flags, flags)                                      \
        return shim_open(AT_FDCWD, path, flags, mode);               \
    }
#define OPENAT(symbol)                                             \
    int symbol(int dir, const char *path, int flags, ...) {        \
        MODE_OF(flags, flags)                                      \
        return shim_open(dir, path, flags, mode);                    \
    }
OPEN(open) OPEN(open64) OPENAT(openat) OPENAT(openat64)
int __open_2(const char *path, int flags) { return shim_open(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return shim_open(AT_FDCWD, path, flags, 0); }
int creat(const char *path, mode_t mode) {
    return shim_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

/* stdio writes by ways that cannot be seen from here. */
#define FOPEN(symbol)                                                                     \
    FILE *symbol(const char *path, const char *how) {                                     \
        char buffer[PATH_MAX];                                                            \
        const char *name = strpbrk(how, "wa+") ? shim_inside(AT_FDCWD, path, buffer) : NULL;   \
        if (name != NULL) {                                                               \
            pthread_mutex_lock(&shim_lock);                                                    \
            shim_append((struct entry){.kind = '!'}, name, #symbol, NULL, 0);                  \
            pthread_mutex_unlock(&shim_lock);                                                  \
        }                                                                                 \
        FILE *(*real)(const char *, const char *) = dlsym(RTLD_NEXT, #symbol);            \
        return real(path, how);                                                           \
    }
FOPEN(fopen) FOPEN(fopen64)

int close(int fd) {
    if (fd == record && record >= 0) return errno = EBADF, -1;
    if (fd >= 0 && fd < FDS_MAX) shim_slots[fd].handle = 0;
    return syscall(SYS_close, fd);
}

static int duplicated(int from, int to) {
    if (to >= 0 && to < FDS_MAX && from >= 0 && from < FDS_MAX) shim_slots[to] = shim_slots[from];
    return to;
}
int dup(int fd) { return duplicated(fd, syscall(SYS_dup, fd)); }
int dup2(int fd, int to) {
    return duplicated(fd, fd == to ? syscall(SYS_fcntl, fd, F_GETFD) < 0 ? -1 : to
                                   : syscall(SYS_dup3, fd, to, 0));
}
int dup3(int fd, int to, int flags) { return duplicated(fd, syscall(SYS_dup3, fd, to, flags)); }
#define FCNTL(symbol)                                                                     \
    int symbol(int fd, int command, ...) {                                                \
        va_list more;                                                                     \
        va_start(more, command);                                                          \
        long given = va_arg(more, long);                                                  \
        va_end(more);                                                                     \
        int done = syscall(SYS_fcntl, fd, command, given);                                \
        return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? duplicated(fd, done) : done; \
    }
FCNTL(fcntl) FCNTL(fcntl64)
