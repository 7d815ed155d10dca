/* Lets a process of root's, which has kept the right to, become the user to whom its lease belongs, before any of that user's code is
 * loaded: it was started before anyone knew who that would be. */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox.h"

static int has_capabilities(void) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[2] = {{0}};
  if (syscall(SYS_capget, &header, data) != 0) return 1;
  return (data[0].permitted | data[1].permitted | data[0].effective | data[1].effective) != 0;
}

static int bound_tasks(uint32_t tasks) {
  struct rlimit most;
  if (getrlimit(RLIMIT_NPROC, &most) != 0) return 0;
  if (most.rlim_max > tasks) most.rlim_max = tasks;
  most.rlim_cur = most.rlim_max;
  return setrlimit(RLIMIT_NPROC, &most) == 0;
}

/* Makes this process, with all of its threads, one of the user and the group `id`, for which there is no way back. All processes of that user
 * have at most `tasks` threads together. Returns 0 or -errno. */
RFAAS_EXPORT int32_t rfaas_become(uint32_t id, uint32_t tasks) {
  int at_parents_end = 0;
  if (id == 0 || id == UINT32_MAX) return -EINVAL;
  if (!bound_tasks(tasks) || prctl(PR_GET_PDEATHSIG, &at_parents_end) != 0) return -errno;
  /* The C library has every thread do each: one less where there is nothing to do. */
  if (getgroups(0, NULL) != 0 && setgroups(0, NULL) != 0) return -errno;
  if (setresgid(id, id, id) != 0 || setresuid(id, id, id) != 0) return -errno;
  if (has_capabilities()) return -EPERM;
  /* The kernel takes both from who becomes another. A parent that has gone meanwhile has closed its end of the connection. */
  if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0) return -errno;
  return at_parents_end == 0 || prctl(PR_SET_PDEATHSIG, at_parents_end, 0, 0, 0) == 0 ? 0 : -errno;
}
