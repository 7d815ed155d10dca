/* Files that are not the room's. */
#include "escape.h"

#include <dlfcn.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/xattr.h>

static int read_outside(void) { return opens(in("outside", "secret"), O_RDONLY); }
static int write_outside(void) { return opens(in("outside", "target"), O_WRONLY); }
static int create_outside(void) {
  const char *path = in("outside", "created-native");
  int failed = opens(path, O_WRONLY | O_CREAT | O_EXCL);
  unlink(path);
  return failed;
}
static int truncate_outside(void) { return made(truncate(in("outside", "target"), 0)); }
static int remove_outside(void) { return made(unlink(in("outside", "removable"))); }
static int chmod_outside(void) { return made(chmod(in("outside", "target"), 0666)); }
static int chown_outside(void) { return made(chown(in("outside", "target"), geteuid() == 65534 ? 1 : 65534, (gid_t)-1)); }
static int touch_outside(void) { return made(utimensat(AT_FDCWD, in("outside", "target"), NULL, 0)); }
static int label_outside(void) { return made(setxattr(in("outside", "target"), "user.escape", "1", 1, 0)); }
static int link_outside(void) {
  int failed = made(link(in("outside", "secret"), scratch("hard")));
  unlink(scratch("hard"));
  return failed;
}
static int symlink_outside(void) {
  const char *path = scratch("soft");
  if (symlink(in("outside", "secret"), path) != 0) return errno;
  int failed = opens(path, O_RDONLY);
  unlink(path);
  return failed;
}
static int rename_outside(void) {
  const char *from = scratch("renamed");
  opens(from, O_WRONLY | O_CREAT);
  int failed = made(rename(from, in("outside", "renamed")));
  unlink(from);
  unlink(in("outside", "renamed"));
  return failed;
}
static int exchange_outside(void) {
  const char *from = scratch("exchanged");
  opens(from, O_WRONLY | O_CREAT);
  int failed = CALL(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, in("outside", "target"), 2 /* RENAME_EXCHANGE */);
  unlink(from);
  return failed;
}
static int path_descriptor(void) {
  int fd = open(in("outside", "secret"), O_PATH | O_CLOEXEC);
  if (fd < 0) return errno;
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  int failed = opens(path, O_RDONLY);
  close(fd);
  return failed;
}
static int by_handle(void) {
  union {
    struct file_handle handle;
    char bytes[sizeof(struct file_handle) + 128];
  } name = {.handle.handle_bytes = 128};
  int mount;
  if (name_to_handle_at(AT_FDCWD, in("outside", "secret"), &name.handle, &mount, 0) != 0) return errno;
  int root = open(fact("outside"), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (root < 0) return errno;
  int fd = open_by_handle_at(root, &name.handle, O_RDONLY);
  int failed = fd < 0 ? errno : 0;
  if (fd < 0 && failed == EBADF) {
    int folder = open(fact("outside"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    fd = folder < 0 ? -1 : open_by_handle_at(folder, &name.handle, O_RDONLY);
    failed = fd < 0 ? errno : 0;
    if (folder >= 0) close(folder);
  }
  if (fd >= 0) close(fd);
  close(root);
  return failed;
}
static int by_other_root(void) {
  char path[4200];
  snprintf(path, sizeof path, "/proc/%ld/root%s/secret", number("decoy"), fact("outside"));
  return opens(path, O_RDONLY);
}
static int by_other_folder(void) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%ld/cwd/secret", number("decoy"));
  return opens(path, O_RDONLY);
}
static int make_device(void) {
  int failed = made(mknod(scratch("device"), S_IFCHR | 0600, 0x103));
  unlink(scratch("device"));
  return failed;
}
static int shared_memory_file(void) {
  char path[64];
  snprintf(path, sizeof path, "/dev/shm/escape-%d", (int)getpid());
  int failed = opens(path, O_RDWR | O_CREAT);
  unlink(path);
  return failed;
}
/* Opening is enough: what is written there is the machine's. */
static int core_pattern(void) { return opens("/proc/sys/kernel/core_pattern", O_WRONLY); }
static int system_setting(void) { return opens("/sys/kernel/mm/transparent_hugepage/defrag", O_WRONLY); }
static int watch_outside(void) {
  int fd = inotify_init1(IN_CLOEXEC);
  if (fd < 0) return errno;
  int failed = made(inotify_add_watch(fd, fact("outside"), IN_ALL_EVENTS));
  close(fd);
  return failed;
}
static int watch_all(void) {
  int fd = (int)syscall(SYS_fanotify_init, 0, O_RDONLY);
  if (fd < 0) return errno;
  close(fd);
  return 0;
}
/* The package that this library is of. */
static const char *own_library(void) {
  Dl_info about;
  return dladdr((void *)own_library, &about) ? about.dli_fname : "";
}
static int write_package(void) {
  const char *path = own_library();
  chmod(path, 0755);
  return opens(path, O_WRONLY);
}
static int add_to_package(void) {
  char path[4200];
  snprintf(path, sizeof path, "%s", own_library());
  *strrchr(path, '/') = 0;
  chmod(path, 0755);
  snprintf(path, sizeof path, "%s.added", own_library());
  int failed = opens(path, O_WRONLY | O_CREAT);
  unlink(path);
  return failed;
}
/* A link to the package's own file, whose mode and contents all leases share. */
static int relink_package(void) {
  int failed = made(link(own_library(), scratch("relinked")));
  if (!failed) failed = opens(scratch("relinked"), O_WRONLY);
  unlink(scratch("relinked"));
  return failed;
}
static int other_room(void) { return opens(fact("victimFile"), O_RDONLY); }
static int write_state(void) { return opens(in("state", "decoy"), O_WRONLY); }
static int read_state(void) { return opens(in("state", "decoy"), O_RDONLY); }
static int read_cache(void) { return opens(in("cache", "decoy"), O_RDONLY); }
static int write_cache(void) { return opens(in("cache", "decoy"), O_WRONLY); }

const struct attempt file_attempts[] = {
  {"read-outside", read_outside}, {"write-outside", write_outside}, {"create-outside", create_outside},
  {"truncate-outside", truncate_outside}, {"remove-outside", remove_outside}, {"chmod-outside", chmod_outside},
  {"chown-outside", chown_outside}, {"touch-outside", touch_outside}, {"label-outside", label_outside},
  {"link-outside", link_outside}, {"symlink-outside", symlink_outside}, {"rename-outside", rename_outside},
  {"exchange-outside", exchange_outside}, {"path-descriptor", path_descriptor}, {"by-handle", by_handle},
  {"by-other-root", by_other_root}, {"by-other-folder", by_other_folder}, {"make-device", make_device},
  {"shared-memory-file", shared_memory_file}, {"core-pattern", core_pattern},
  {"system-setting", system_setting}, {"watch-outside", watch_outside},
  {"watch-all", watch_all}, {"write-package", write_package},
  {"add-to-package", add_to_package}, {"relink-package", relink_package}, {"other-room", other_room},
  {"write-state", write_state}, {"read-state", read_state}, {"read-cache", read_cache}, {"write-cache", write_cache},
  {NULL, NULL},
};
