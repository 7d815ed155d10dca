/** Who is at the other end of a TCP connection from this machine: the kernel knows the owner of every socket. */
import { readFileSync } from "node:fs";

/** 127.0.0.1, ::1 and ::ffff:127.0.0.1 as /proc/net writes them. */
const LOOPBACK = [
  "0100007F",
  "00000000000000000000000001000000",
  "0000000000000000FFFF00000100007F",
];

/** The user id of the process on this machine that connected from `peerPort` to `ownPort`, or undefined for any other peer. */
export function localPeerUid(peerPort: number, ownPort: number): number | undefined {
  for (const table of ["/proc/net/tcp", "/proc/net/tcp6"]) {
    for (const line of readFileSync(table, "utf8").split("\n").slice(1)) {
      const [, local, remote, , , , , uid] = line.trim().split(/\s+/);
      if (local && remote && isAt(local, peerPort) && isAt(remote, ownPort)) return Number(uid);
    }
  }
  return undefined;
}

function isAt(address: string, port: number): boolean {
  const [host, hexPort] = address.split(":") as [string, string];
  return LOOPBACK.includes(host) && Number.parseInt(hexPort, 16) === port;
}
