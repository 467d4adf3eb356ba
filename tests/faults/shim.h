/* What the parts of the shim share; shim.c tells what it is. */
#ifndef SHIM_H
#define SHIM_H
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#pragma GCC visibility push(hidden)

enum { FDS_MAX = 65536, RULES = 8, PATTERN = 64, RECORD_FD_MIN = 900, MAGIC = 0x5eedf11e };
enum { CREATED = 1, TRUNCATED = 2, SYNCHRONOUS = 4, DIRECTORY = 8 };
enum kind { ON_WRITE = 1, ON_SYNC, ON_RENAME, ON_CREATE, ON_UNLINK, ON_TRUNCATE, ON_MKDIR };

/* One entry; the two names and the data follow. The layout is that of record.py. */
struct entry {
    uint32_t magic;
    uint8_t kind; /* a letter, see record.py */
    uint8_t flags;
    uint16_t name_len, other_len, unused;
    uint32_t handle;
    uint64_t number, a, b;
};

/* The layout is that of control.py. */
struct rule {
    int32_t kind, error; /* kind 0: no rule; error: an errno, SHORT or LIE */
    int64_t skip, times; /* let `skip` calls pass, then fail `times` (-1: all) */
    int64_t matched, failed;
    char pattern[PATTERN];
};
struct control {
    int64_t sync_us;      /* -1: real syncs; else none, but as long a wait */
    int64_t budget;       /* bytes left on the device; -1: no bound */
    int64_t device;       /* its size as statvfs tells it; 0: the real one */
    int64_t syncs, loose; /* syncs that were recorded; calls of sync_file_range */
    struct rule rules[RULES];
};

struct slot {
    uint32_t handle; /* 0: not ours */
    int flags;
    dev_t dev;
    ino_t ino;
    char *name;
};

/* Errors of fault() below 1 are no errnos: a short write; a sync that is told and not done. */
enum { SHORT = -1, LIE = -2 };

extern pthread_mutex_t shim_lock;
extern struct slot shim_slots[FDS_MAX];
extern uint64_t shim_numbers; /* the entries so far */
extern struct control *shim_control; /* or NULL */

/* The name below the root ("" is the root itself) of a path, or NULL if it is not ours. */
const char *shim_inside(int dir, const char *path, char buffer[PATH_MAX]);
/* With the lock held: what an open file is to us, or NULL. */
struct slot *shim_slot(int fd);
/* With the lock held: add an entry; of `data` the first e.b bytes. */
void shim_append(struct entry e, const char *name, const char *other, const struct iovec *data,
                 int parts);
/* The error that a rule wants for this call, 0 for none, SHORT for a short write. */
int shim_fault(enum kind kind, const char *name);
/* Take from the budget, or give back. */
void shim_charge(int64_t bytes);
/* An effect that is not followed: no power cut may be drawn from half a truth. */
void shim_unfollowed(int fd, const char *what);
/* Is anything recorded at all? */
int shim_tracing(void);
int shim_open(int dir, const char *path, int flags, mode_t mode);

#pragma GCC visibility pop
#endif
