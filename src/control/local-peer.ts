/** Whether a connection comes from the node's or manager's own user: the kernel knows who opened the socket at its other end. */
import { readFileSync } from "node:fs";
import { type TcpEnd, peerUid, peerUidAt } from "../../ffi/system.ts";

/** The size of a user namespace that maps every user id: none is shown as the overflow id. */
const ALL_USERS = 0xffffffff;
/** The overflow id, as which the kernel shows unmapped users; used where the kernel does not tell it. */
const USUAL_OVERFLOW_UID = 65_534;

/**
 * Whether the process that opened the other end of the socket `fd` runs as this process's user, or as root. False whenever the kernel
 * does not vouch for it, as for every peer that did not come over loopback of this network namespace.
 */
export function isOwnUser(fd: number): boolean {
  return isOwn(peerUid(fd));
}

/** As {@link isOwnUser}, of a TCP connection by its two ends. */
export function isOwnUserAt(peer: TcpEnd, own: TcpEnd): boolean {
  return isOwn(peerUidAt(peer, own));
}

function isOwn(uid: number | undefined): boolean {
  if (uid === undefined) return false;
  return uid === 0 || (uid === process.getuid?.() && !isAnybody(uid));
}

/** In a user namespace that does not map all users, the unmapped ones share the overflow id with the user whose id it really is. */
function isAnybody(uid: number): boolean {
  return uid === overflowUid() && usersKnown() < ALL_USERS;
}

function overflowUid(): number {
  try {
    return Number(readFileSync("/proc/sys/kernel/overflowuid", "utf8"));
  } catch {
    return USUAL_OVERFLOW_UID;
  }
}

function usersKnown(): number {
  try {
    const ranges = readFileSync("/proc/self/uid_map", "utf8").trim().split("\n");
    return ranges.reduce((sum, range) => sum + Number(range.trim().split(/\s+/)[2]), 0);
  } catch {
    return 0;
  }
}
