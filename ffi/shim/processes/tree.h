/* The descendants of a process, as /proc shows them. */
#ifndef RFAAS_TREE_H
#define RFAAS_TREE_H

#include <stddef.h>

/* A process, and when it was started where that was asked for, as the kernel counts. */
struct process {
  int pid, parent;
  unsigned long long started;
};

/* Processes, each before its children. */
struct tree {
  struct process *all;
  int count, capacity;
  /* Where the children of one are listed. */
  int *listed, room;
};

/* A process alone; without it where there is no memory. */
struct tree rfaas_tree_of(int root);
/* Adds all children of a process, however many; those of its only thread, if it has one. */
void rfaas_tree_grow(struct tree *tree, int pid, int has_one_thread);
void rfaas_tree_free(struct tree *tree);

struct stat_line {
  char state;
  int parent;
  unsigned long user, system;
  long children_user, children_system;
  unsigned long long started;
};

/* Returns whether the process is there. Its name may hold anything, also a parenthesis. */
int rfaas_read_stat(int pid, struct stat_line *out);

/* All of a small file of a process. Returns whether there is such a file. */
int rfaas_read_text(int pid, const char *name, char *out, size_t capacity);

/* Children of all threads of a process, zombies among them. Returns how many. */
int rfaas_children_of(int parent, int *out, int capacity);

/* Those of one thread, by its number. Returns -1 where the kernel lists none, or the thread is gone. */
int rfaas_children_of_thread(int thread, int *out, int capacity);

/* Whether a thread of this name is one that the engine has started for itself. */
int rfaas_is_engines(const char *name);

#endif
