/* What a host's scratch folder holds where that is one of the node's disk: the agent asks, and a thread of its own looks, since functions may
 * have left a million files there. It counts blocks, as sizes are what a function likes to call them. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../core/rfaas.h"
#include "look.h"
#include "tree.h"

/* Each level takes a descriptor. What nests deeper counts as a folder that is full. */
enum { MAX_DEPTH = 64, BLOCK = 512 };

struct folder_look {
  struct look look;
  int pid;
  /* What a file costs besides its blocks; and where to stop. */
  double per_file, most;
  double bytes;
  dev_t device;
  /* Those that have lost their names and were counted. */
  ino_t *nameless;
  int count, room;
  char folder[];
};

/* By the call itself: until glibc 2.33, fstatat is no function of libc.so.6. */
static int status_of(int folder, const char *name, struct stat *out, int flags) {
  return (int)syscall(SYS_newfstatat, folder, name, out, flags);
}

/* Functions may have taken the right to read it away from the node's user, whose it is. A link in its place is not followed. */
static int open_folder(int parent, const char *name) {
  enum { HOW = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };
  int fd = openat(parent, name, HOW);
  if (fd >= 0 || errno != EACCES) return fd;
  int place = openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (place < 0) return -1;
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", place);
  if (chmod(path, 0700) == 0) fd = openat(parent, name, HOW);
  close(place);
  return fd;
}

/* Takes the descriptor. */
static void count_folder(struct folder_look *look, int fd, int depth) {
  DIR *entries = fdopendir(fd);
  if (!entries) {
    close(fd);
    return;
  }
  for (struct dirent *entry; look->bytes <= look->most && (entry = readdir(entries));) {
    struct stat found;
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (status_of(dirfd(entries), entry->d_name, &found, AT_SYMLINK_NOFOLLOW) != 0 || found.st_dev != look->device) continue;
    int is_folder = S_ISDIR(found.st_mode);
    /* All names of a file are in here. */
    look->bytes += look->per_file + BLOCK * (double)found.st_blocks / (is_folder || found.st_nlink == 0 ? 1.0 : (double)found.st_nlink);
    if (!is_folder) continue;
    int inner = depth < MAX_DEPTH ? open_folder(dirfd(entries), entry->d_name) : -1;
    if (inner >= 0) count_folder(look, inner, depth + 1);
    else if (depth == MAX_DEPTH) look->bytes += look->most;
  }
  closedir(entries);
}

static int is_counted(struct folder_look *look, ino_t file) {
  for (int i = 0; i < look->count; i++)
    if (look->nameless[i] == file) return 1;
  if (look->count == look->room) {
    int wider = look->room ? 2 * look->room : 64;
    ino_t *moved = realloc(look->nameless, (size_t)wider * sizeof *moved);
    if (!moved) return 0;
    look->nameless = moved;
    look->room = wider;
  }
  look->nameless[look->count++] = file;
  return 0;
}

/* What a process has open of the folder's file system and no name leads to. */
static void count_open(struct folder_look *look, int pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/fd", pid);
  DIR *entries = opendir(path);
  if (!entries) return;
  for (struct dirent *entry; look->bytes <= look->most && (entry = readdir(entries));) {
    struct stat found;
    if (entry->d_name[0] == '.' || status_of(dirfd(entries), entry->d_name, &found, 0) != 0) continue;
    if (!S_ISREG(found.st_mode) || found.st_nlink > 0 || found.st_dev != look->device || is_counted(look, found.st_ino)) continue;
    look->bytes += look->per_file + BLOCK * (double)found.st_blocks;
  }
  closedir(entries);
}

static void count_all(struct folder_look *look) {
  struct stat own;
  int fd = openat(AT_FDCWD, look->folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 || status_of(fd, "", &own, AT_EMPTY_PATH) != 0) {
    if (fd >= 0) close(fd);
    return;
  }
  look->device = own.st_dev;
  count_folder(look, fd, 0);
  struct tree tree = rfaas_tree_of(look->pid);
  for (int at = 0; at < tree.count && look->bytes <= look->most; at++) {
    count_open(look, tree.all[at].pid);
    rfaas_tree_grow(&tree, tree.all[at].pid, 0);
  }
  rfaas_tree_free(&tree);
}

static void work(struct look *base) {
  struct folder_look *look = (struct folder_look *)base;
  count_all(look);
  base->found[0] = look->bytes;
  free(look->nameless);
}

/* Begins a look at a folder, and at what a process and its descendants have open, up to so many bytes; each file costs `per_file` besides its blocks.
 * Returns what the bytes are to be taken from, or 0 where the machine has no thread or memory for it. */
RFAAS_EXPORT double rfaas_folder_look(const char *folder, int32_t pid, double per_file, double most) {
  size_t length = strlen(folder) + 1;
  struct folder_look *look = calloc(1, sizeof *look + length);
  if (!look) return 0;
  memcpy(look->folder, folder, length);
  look->pid = pid;
  look->per_file = per_file;
  look->most = most;
  return rfaas_look_begin(&look->look, work);
}
