/* Finds the descendants of a process, as /proc has them. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../core/rfaas.h"
#include "tree.h"

/* More than any lease may have, whatever its cores. */
enum { MAX_PROCESSES = 1 << 17 };

/* Returns whether there is such a file. */
int rfaas_read_text(int pid, const char *name, char *out, size_t capacity) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  size_t length = 0;
  ssize_t more;
  while (length < capacity - 1 && (more = read(fd, out + length, capacity - 1 - length)) > 0) length += (size_t)more;
  close(fd);
  out[length] = 0;
  return length > 0;
}

/* Returns whether the process is there. Its name may hold anything, also a parenthesis. */
int rfaas_read_stat(int pid, struct stat_line *out) {
  char line[1024];
  const char *after = rfaas_read_text(pid, "stat", line, sizeof line) ? strrchr(line, ')') : NULL;
  return after && sscanf(after + 2, "%c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %ld %ld %*d %*d %*d %*d %llu", &out->state,
                         &out->parent, &out->user, &out->system, &out->children_user, &out->children_system, &out->started) == 7;
}

/* The file ends with a space, which ends the last number. */
static int read_children(const char *path, int *out, int capacity) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  char text[4096];
  int count = 0, pid = 0;
  for (ssize_t length; count < capacity && (length = read(fd, text, sizeof text)) > 0;)
    for (ssize_t i = 0; i < length && count < capacity; i++) {
      if (text[i] >= '0' && text[i] <= '9') {
        pid = 10 * pid + text[i] - '0';
      } else if (pid > 0) {
        out[count++] = pid;
        pid = 0;
      }
    }
  close(fd);
  return count;
}

int rfaas_children_of_thread(int thread, int *out, int capacity) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/task/%d/children", thread, thread);
  return read_children(path, out, capacity);
}

/* Where the kernel lists no children, all processes are asked who their parent is. */
static int search_children(int parent, int *out, int capacity) {
  DIR *all = opendir("/proc");
  if (!all) return 0;
  int count = 0;
  for (struct dirent *entry; count < capacity && (entry = readdir(all));) {
    struct stat_line stat;
    int pid = atoi(entry->d_name);
    if (pid > 0 && rfaas_read_stat(pid, &stat) && stat.parent == parent) out[count++] = pid;
  }
  closedir(all);
  return count;
}

/* Children of all threads of a process, zombies among them. */
int rfaas_children_of(int parent, int *out, int capacity) {
  char path[600];
  snprintf(path, sizeof path, "/proc/%d/task", parent);
  DIR *tasks = opendir(path);
  if (!tasks) return 0;
  int count = 0, listed = 0, asked = 0;
  for (struct dirent *task; count < capacity && (task = readdir(tasks));) {
    if (task->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "/proc/%d/task/%s/children", parent, task->d_name);
    asked = 1;
    int found = read_children(path, out + count, capacity - count);
    if (found < 0) continue;
    listed = 1;
    count += found;
  }
  closedir(tasks);
  return asked && !listed ? search_children(parent, out, capacity) : count;
}

struct tree rfaas_tree_of(int root) {
  struct tree tree = {.all = malloc(sizeof *tree.all), .capacity = 1};
  if (tree.all) tree.all[tree.count++] = (struct process){.pid = root};
  return tree;
}

void rfaas_tree_free(struct tree *tree) {
  free(tree->all);
  free(tree->listed);
}

/* Room for twice as much, or some at first. Returns whether there is memory for it. */
static int widen(void **array, int *capacity, size_t size) {
  int wider = *capacity ? 2 * *capacity : 256;
  void *moved = realloc(*array, (size_t)wider * size);
  if (!moved) return 0;
  *array = moved;
  *capacity = wider;
  return 1;
}

void rfaas_tree_grow(struct tree *tree, int pid, int has_one_thread) {
  int found = 0;
  do {
    if (found == tree->room && !widen((void **)&tree->listed, &tree->room, sizeof *tree->listed)) break;
    found = has_one_thread ? rfaas_children_of_thread(pid, tree->listed, tree->room) : -1;
    if (found < 0) found = rfaas_children_of(pid, tree->listed, tree->room);
    /* A list that is full may not be all. */
  } while (found == tree->room);
  for (int i = 0; i < found && tree->count < MAX_PROCESSES; i++) {
    if (tree->count == tree->capacity && !widen((void **)&tree->all, &tree->capacity, sizeof *tree->all)) return;
    tree->all[tree->count++] = (struct process){.pid = tree->listed[i], .parent = pid};
  }
}
