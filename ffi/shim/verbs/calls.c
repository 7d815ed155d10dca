/* What is hot of calls over verbs, compiled in one file: the compiler sees through from one of these files to another. */
#include "client.c"
#include "end.c"
#include "worker.c"
