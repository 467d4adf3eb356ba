/* The shim's part about the contents of files: writes, sizes, mappings. See shim.c. */
#include "shim.h"

/* `at` -1: at the file's own offset. */
static ssize_t write_it(int fd, const struct iovec *data, int parts, off_t at, int flags) {
    size_t length = 0, kept;
    struct iovec cut;
    struct stat was;
    for (int i = 0; i < parts; i++) length += data[i].iov_len;
    pthread_mutex_lock(&shim_lock);
    struct slot *slot = shim_slot(fd);
    ssize_t done = -1;
    int error = slot == NULL ? 0 : shim_fault(ON_WRITE, slot->name);
    if (error > 0 && (errno = error)) goto out;
    kept = !parts ? 0 : error == SHORT ? (data[0].iov_len + 1) / 2 : data[0].iov_len;
    if (slot != NULL && shim_control != NULL && shim_control->budget >= 0 && !fstat(fd, &was)) {
        off_t from = slot->flags & O_APPEND ? was.st_size : at >= 0 ? at : lseek(fd, 0, SEEK_CUR);
        off_t room = was.st_size - from + shim_control->budget;
        if (room <= 0 && length && (errno = ENOSPC)) goto out;
        if ((off_t)length > room && kept > (size_t)room) kept = room;
    }
    if (parts && kept < data[0].iov_len) {
        cut = (struct iovec){data[0].iov_base, kept};
        data = &cut, parts = 1;
    }
    if (slot == NULL) pthread_mutex_unlock(&shim_lock); /* may block: a pipe, a socket */
    else fstat(fd, &was);
    if (at < 0) done = syscall(SYS_writev, fd, data, parts);
    else done = syscall(SYS_pwritev2, fd, data, parts, (long)at, 0L, flags);
    if (slot == NULL) return done;
    if (done > 0) {
        struct entry e = {.kind = 'W', .handle = slot->handle, .b = done};
        off_t end = at >= 0 && !(slot->flags & O_APPEND) ? at + done : lseek(fd, 0, SEEK_CUR);
        e.a = end - done;
        shim_append(e, "", "", data, parts);
        if (end > was.st_size) shim_charge(end - was.st_size);
        if (slot->flags & O_DSYNC)
            shim_append((struct entry){.kind = 'S', .handle = slot->handle, .a = shim_numbers}, "", "", NULL, 0);
    }
out:
    pthread_mutex_unlock(&shim_lock);
    return done;
}

ssize_t write(int fd, const void *data, size_t length) {
    if (fd < 0 || fd >= FDS_MAX || !shim_slots[fd].handle) return syscall(SYS_write, fd, data, length);
    return write_it(fd, &(struct iovec){(void *)data, length}, 1, -1, 0);
}
ssize_t writev(int fd, const struct iovec *data, int parts) {
    if (fd < 0 || fd >= FDS_MAX || !shim_slots[fd].handle) return syscall(SYS_writev, fd, data, parts);
    return write_it(fd, data, parts, -1, 0);
}
ssize_t pwrite(int fd, const void *data, size_t length, off_t at) {
    return write_it(fd, &(struct iovec){(void *)data, length}, 1, at, 0);
}
ssize_t pwrite64(int fd, const void *data, size_t length, off_t at) {
    return pwrite(fd, data, length, at);
}
ssize_t pwritev(int fd, const struct iovec *data, int parts, off_t at) {
    return write_it(fd, data, parts, at, 0);
}
ssize_t pwritev64(int fd, const struct iovec *data, int parts, off_t at) {
    return write_it(fd, data, parts, at, 0);
}

ssize_t pwritev2(int fd, const struct iovec *data, int parts, off_t at, int flags) {
    if (flags) shim_unfollowed(fd, "pwritev2 with flags");
    return write_it(fd, data, parts, at, flags);
}
ssize_t sendfile(int to, int from, off_t *at, size_t length) {
    shim_unfollowed(to, "sendfile");
    return syscall(SYS_sendfile, to, from, at, length);
}
ssize_t copy_file_range(int from, off_t *at, int to, off_t *into, size_t length, unsigned flags) {
    char piece[1 << 16];
    pthread_mutex_lock(&shim_lock);
    int ours = shim_slot(to) != NULL;
    pthread_mutex_unlock(&shim_lock);
    if (!ours) return syscall(SYS_copy_file_range, from, at, to, into, length, flags);
    if (length > sizeof piece) length = sizeof piece; /* it may copy less than it was asked to */
    ssize_t got = at ? syscall(SYS_pread64, from, piece, length, *at) : read(from, piece, length);
    if (got <= 0) return got;
    ssize_t done = into ? pwrite(to, piece, got, *into) : write(to, piece, got);
    if (done > 0 && at) *at += done;
    if (done > 0 && into) *into += done;
    return done;
}
static void *map_it(void *at, size_t length, int protection, int flags, int fd, off_t from) {
    if (fd >= 0 && (protection & PROT_WRITE) && (flags & MAP_TYPE) != MAP_PRIVATE)
        shim_unfollowed(fd, "a shared mapping that can be written");
    return (void *)syscall(SYS_mmap, at, length, protection, flags, fd, from);
}
void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t from) {
    return map_it(at, length, protection, flags, fd, from);
}
void *mmap64(void *at, size_t length, int protection, int flags, int fd, off_t from) {
    return map_it(at, length, protection, flags, fd, from);
}

static int resize(int fd, off_t size, int grow_only) {
    struct stat was;
    pthread_mutex_lock(&shim_lock);
    struct slot *slot = shim_slot(fd);
    int error = slot == NULL ? 0 : shim_fault(ON_TRUNCATE, slot->name), done = -1;
    int idle = !fstat(fd, &was) && grow_only && was.st_size >= size;
    /* Only an allocation takes space; a file that is cut gives it back. */
    int64_t taken = size < was.st_size || grow_only ? size - was.st_size : 0;
    int bounded = slot != NULL && shim_control != NULL && shim_control->budget >= 0;
    if (error > 0) errno = error;
    else if (idle) done = 0;
    else if (bounded && taken > shim_control->budget) errno = ENOSPC;
    else done = syscall(SYS_ftruncate, fd, size);
    if (!done && !idle && slot != NULL) {
        struct entry e = {.kind = 'T', .handle = slot->handle, .a = size};
        shim_append(e, "", "", NULL, 0);
        shim_charge(taken);
    }
    pthread_mutex_unlock(&shim_lock);
    return done;
}
int ftruncate(int fd, off_t size) { return resize(fd, size, 0); }
int ftruncate64(int fd, off_t size) { return resize(fd, size, 0); }
static int truncate_it(const char *path, off_t size) {
    int fd = shim_open(AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0) return -1;
    int done = resize(fd, size, 0), kept = errno;
    close(fd);
    return errno = kept, done;
}
int truncate(const char *path, off_t size) { return truncate_it(path, size); }
int truncate64(const char *path, off_t size) { return truncate_it(path, size); }
/* Space is not modelled, a size is; holes are not. */
static int allocate(int fd, int mode, off_t from, off_t length) {
    if (mode & ~FALLOC_FL_KEEP_SIZE) shim_unfollowed(fd, "fallocate");
    int done = syscall(SYS_fallocate, fd, mode | FALLOC_FL_KEEP_SIZE, from, length);
    return done || mode ? done : resize(fd, from + length, 1);
}
int fallocate(int fd, int mode, off_t at, off_t length) { return allocate(fd, mode, at, length); }
int fallocate64(int fd, int mode, off_t at, off_t length) { return allocate(fd, mode, at, length); }
int posix_fallocate(int fd, off_t at, off_t length) {
    return allocate(fd, 0, at, length) ? errno : 0;
}
int posix_fallocate64(int fd, off_t at, off_t length) { return posix_fallocate(fd, at, length); }
