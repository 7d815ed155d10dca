/**
 * The oldest glibc on which executable and shim run: the one that has `memfd_create`, by which the executable opens its shim. It is
 * older than RHEL 8's (2.28) and Debian 10's; a test compares it with the symbols of both.
 */
export const OLDEST_GLIBC = "2.27";
