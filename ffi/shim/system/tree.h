/* The descendants of a process, as /proc shows them. */
#ifndef RFAAS_TREE_H
#define RFAAS_TREE_H

#define RFAAS_MAX_CHILDREN 1024
/* Trees that are deeper than this are looked at no further. */
#define RFAAS_MAX_DEPTH 64

struct stat_line {
  char state;
  int parent;
  unsigned long user, system;
  long children_user, children_system;
};

/* Returns whether the process is there. Its name may hold anything, also a parenthesis. */
int rfaas_read_stat(int pid, struct stat_line *out);

/* Children of all threads of a process, zombies among them. Returns how many. */
int rfaas_children_of(int parent, int *out, int capacity);

/* Those of one thread, by its number. Returns -1 where the kernel lists none, or the thread is gone. */
int rfaas_children_of_thread(int thread, int *out, int capacity);

/* Whether a thread of this name is one that the engine has started for itself. */
int rfaas_is_engines(const char *name);

#endif
