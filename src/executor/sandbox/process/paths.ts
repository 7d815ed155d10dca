/** What a host in a room may reach of the file system, besides its own folders and what the operator allows. */
import { readdirSync } from "node:fs";
import type { RoomRule } from "../../../../ffi/sandbox.ts";
import type { HostStart } from "../driver.ts";

/** The system's libraries and what they read: of `/etc` no more than what names and certificates need, since it has secrets, too. */
const LIBRARIES = ["/usr", "/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin", "/nix/store"];
const SETTINGS = [
  ...["ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "timezone", "locale.alias"],
  ...["os-release", "hostname", "hosts", "host.conf", "resolv.conf", "nsswitch.conf", "gai.conf"],
  ...["services", "protocols", "passwd", "group", "mime.types", "alternatives", "fonts"],
  ...["ssl", "ca-certificates", "ca-certificates.conf", "pki", "libibverbs.d", "rdma"],
].map((name) => `/etc/${name}`);
/** What tells of processors, memory, limits and network devices. */
const MACHINE = [
  ...["/sys/devices", "/sys/class", "/sys/fs/cgroup", "/sys/kernel/mm/transparent_hugepage"],
  ...["/sys/bus/pci/devices", "/run/systemd/resolve/stub-resolv.conf"],
];
const DEVICES = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
/** Of fabrics: a lease over RDMA goes on to ask its device after the room is sealed. */
const OF_FABRICS = /^(?:infiniband|cxi\d+|hfi1(?:_\d+)?)$/;
function fabricDevices(): string[] {
  try {
    const names = readdirSync("/dev").filter((name) => OF_FABRICS.test(name));
    return names.map((name) => `/dev/${name}`);
  } catch {
    // A room within a room sees no more than that one.
    return [];
  }
}
/** The kernel executes it with every program that is linked dynamically. */
const LOADERS = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];

export function rulesFor({ terms, folders, program }: HostStart): RoomRule[] {
  const runs = terms.processes;
  const rule =
    (permits: RoomRule["permits"]) =>
    (path: string): RoomRule => ({ permits, path });
  return [
    ...LIBRARIES.map(rule(runs ? "readAndExecute" : "read")),
    ...[...SETTINGS, ...MACHINE].map(rule("read")),
    ...[...DEVICES, ...fabricDevices()].map(rule("device")),
    ...[...LOADERS, ...program].map(rule("readAndExecute")),
    ...terms.readPaths.map(rule(runs ? "readAndExecute" : "read")),
    rule(runs ? "readAndExecute" : "read")(folders!.package),
    rule(runs ? "writeAndExecute" : "write")(folders!.scratch),
  ];
}
