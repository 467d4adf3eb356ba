/* The shim's part about names and syncs: directories, renames, fsync, space. See shim.c. */
#include "shim.h"

/* --- syncs ------------------------------------------------------------------------------------ */

static int sync_it(int fd, long call) {
    pthread_mutex_lock(&shim_lock);
    struct slot *slot = shim_slot(fd);
    if (slot == NULL) {
        pthread_mutex_unlock(&shim_lock);
        return syscall(call, fd);
    }
    struct entry e = {.kind = 'S', .handle = slot->handle, .a = shim_numbers};
    int error = shim_fault(ON_SYNC, slot->name), done = 0;
    pthread_mutex_unlock(&shim_lock);
    /* Without the lock: the other threads write meanwhile, and are not covered. */
    if (error == LIE) return 0;
    if (error > 0) done = -1, errno = error;
    else if (shim_control == NULL || shim_control->sync_us < 0) done = syscall(call, fd);
    else if (shim_control->sync_us > 0) usleep(shim_control->sync_us);
    pthread_mutex_lock(&shim_lock);
    if (done) e.kind = 'F'; /* the kernel forgets such pages: no later sync helps them */
    else if (shim_control != NULL) shim_control->syncs++;
    shim_append(e, "", "", NULL, 0);
    pthread_mutex_unlock(&shim_lock);
    return done;
}
int fsync(int fd) { return sync_it(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_it(fd, SYS_fdatasync); }

/* Starts the writing, and promises nothing: what it was called for may be lost. */
int sync_file_range(int fd, off_t from, off_t length, unsigned flags) {
    pthread_mutex_lock(&shim_lock);
    if (shim_slot(fd) != NULL && shim_control != NULL) shim_control->loose++;
    pthread_mutex_unlock(&shim_lock);
    return syscall(SYS_sync_file_range, fd, from, length, flags);
}

static void everything(void) {
    pthread_mutex_lock(&shim_lock);
    if (shim_tracing()) shim_append((struct entry){.kind = 'Y', .a = shim_numbers}, "", "", NULL, 0);
    pthread_mutex_unlock(&shim_lock);
}
void sync(void) {
    syscall(SYS_sync);
    everything();
}
int syncfs(int fd) {
    int done = syscall(SYS_syncfs, fd);
    if (!done) everything();
    return done;
}

/* --- names ------------------------------------------------------------------------------------ */

static void note(char kind, const char *name, const char *other) {
    shim_append((struct entry){.kind = kind}, name, other, NULL, 0);
}

static int mkdir_it(int dir, const char *path, mode_t mode) {
    char buffer[PATH_MAX];
    const char *name = shim_inside(dir, path, buffer);
    if (name == NULL) return syscall(SYS_mkdirat, dir, path, mode);
    pthread_mutex_lock(&shim_lock);
    int error = shim_fault(ON_MKDIR, name), done = -1;
    if (error > 0) errno = error;
    else done = syscall(SYS_mkdirat, dir, path, mode);
    if (!done) note('M', name, "");
    pthread_mutex_unlock(&shim_lock);
    return done;
}
int mkdir(const char *path, mode_t mode) { return mkdir_it(AT_FDCWD, path, mode); }
int mkdirat(int dir, const char *path, mode_t mode) { return mkdir_it(dir, path, mode); }

static int unlink_it(int dir, const char *path, int flags) {
    char buffer[PATH_MAX];
    struct stat was = {0};
    const char *name = shim_inside(dir, path, buffer);
    if (name == NULL) return syscall(SYS_unlinkat, dir, path, flags);
    pthread_mutex_lock(&shim_lock);
    int error = shim_fault(ON_UNLINK, name), done = -1;
    fstatat(dir, path, &was, AT_SYMLINK_NOFOLLOW);
    if (error > 0) errno = error;
    else done = syscall(SYS_unlinkat, dir, path, flags);
    if (!done) note('U', name, "");
    if (!done && S_ISREG(was.st_mode) && was.st_nlink == 1) shim_charge(-was.st_size);
    pthread_mutex_unlock(&shim_lock);
    return done;
}
int unlink(const char *path) { return unlink_it(AT_FDCWD, path, 0); }
int unlinkat(int dir, const char *path, int flags) { return unlink_it(dir, path, flags); }
int rmdir(const char *path) { return unlink_it(AT_FDCWD, path, AT_REMOVEDIR); }
int remove(const char *path) {
    int done = unlink_it(AT_FDCWD, path, 0);
    return done && errno == EISDIR ? unlink_it(AT_FDCWD, path, AT_REMOVEDIR) : done;
}

static int rename_it(int from, const char *path, int to, const char *goal, unsigned flags) {
    char buffer[PATH_MAX], other[PATH_MAX];
    const char *name = shim_inside(from, path, buffer), *into = shim_inside(to, goal, other);
    if (name == NULL && into == NULL) return syscall(SYS_renameat2, from, path, to, goal, flags);
    pthread_mutex_lock(&shim_lock);
    int error = shim_fault(ON_RENAME, into ? into : name), done = -1;
    if (error > 0) errno = error;
    else done = syscall(SYS_renameat2, from, path, to, goal, flags);
    if (!done && (name == NULL || into == NULL || (flags & ~RENAME_NOREPLACE)))
        note('!', name ? name : into, "a rename across the root, or an exchange");
    else if (!done) note('N', name, into);
    pthread_mutex_unlock(&shim_lock);
    return done;
}
int rename(const char *path, const char *goal) {
    return rename_it(AT_FDCWD, path, AT_FDCWD, goal, 0);
}
int renameat(int from, const char *path, int to, const char *goal) {
    return rename_it(from, path, to, goal, 0);
}
int renameat2(int from, const char *path, int to, const char *goal, unsigned flags) {
    return rename_it(from, path, to, goal, flags);
}

static int link_it(int from, const char *path, int to, const char *goal, int flags) {
    char buffer[PATH_MAX], other[PATH_MAX];
    const char *name = shim_inside(from, path, buffer), *into = shim_inside(to, goal, other);
    pthread_mutex_lock(&shim_lock);
    int done = syscall(SYS_linkat, from, path, to, goal, flags);
    if (!done && into != NULL) note(name ? 'L' : '!', name ? name : into, name ? into : "a link");
    pthread_mutex_unlock(&shim_lock);
    return done;
}
int link(const char *path, const char *goal) { return link_it(AT_FDCWD, path, AT_FDCWD, goal, 0); }
int linkat(int from, const char *path, int to, const char *goal, int flags) {
    return link_it(from, path, to, goal, flags);
}
int symlinkat(const char *target, int dir, const char *path) {
    char buffer[PATH_MAX];
    const char *name = shim_inside(dir, path, buffer);
    pthread_mutex_lock(&shim_lock);
    if (name != NULL) note('!', name, "a symbolic link");
    pthread_mutex_unlock(&shim_lock);
    return syscall(SYS_symlinkat, target, dir, path);
}
int symlink(const char *target, const char *path) { return symlinkat(target, AT_FDCWD, path); }

/* --- space ------------------------------------------------------------------------------------ */

/* What the directory's device seems to be. */
#define STATVFS(symbol, type, argument)                                                  \
    int symbol(type argument, struct STATVFS_OF_##symbol *space) {                       \
        int (*real)(type, struct STATVFS_OF_##symbol *) = dlsym(RTLD_NEXT, #symbol);     \
        int done = real(argument, space);                                                \
        if (done || shim_control == NULL) return done;                                   \
        if (shim_control->device > 0) space->f_blocks = shim_control->device / space->f_frsize; \
        fsblkcnt_t left = shim_control->budget / (int64_t)space->f_frsize;               \
        if (shim_control->budget >= 0 && space->f_bavail > left)                         \
            space->f_bavail = space->f_bfree = left;                                     \
        return done;                                                                     \
    }
#define STATVFS_OF_statvfs statvfs
#define STATVFS_OF_fstatvfs statvfs
#define STATVFS_OF_statvfs64 statvfs64
#define STATVFS_OF_fstatvfs64 statvfs64
STATVFS(statvfs, const char *, path) STATVFS(statvfs64, const char *, path)
STATVFS(fstatvfs, int, fd) STATVFS(fstatvfs64, int, fd)
