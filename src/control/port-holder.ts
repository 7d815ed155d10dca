/** Why a process cannot listen at a TCP address of this machine: which other one does, as far as `/proc` tells, and what else is wrong. */
import { isIP } from "node:net";
import { networkInterfaces } from "node:os";
import { readFileSync, readdirSync, readlinkSync } from "node:fs";

import { reasonOf } from "../base/system-errors.ts";

const LISTENING = "0A";
const OWN_COMMAND_LENGTH = 80;

/** Says that the address is in use and, where `/proc` tells, by which process. `option` is the option that chose the address. */
export function portInUse(address: string, port: number, option: string): string {
  const holder = portHolder(port);
  return holder === undefined
    ? `${address} is in use; stop the process that has it or choose another ${option}`
    : `${address} is in use by ${holder}; stop it or choose another ${option}`;
}

/** Why a socket cannot listen at a host and port, also where the system's own code says little. */
export function whyNotListening(cause: unknown, host: string): string {
  const reason = reasonOf(cause);
  if (reason !== (cause as Error).message) return reason;
  if (isIP(host.split("%")[0]!) === 0) return `no address of this machine is found for ${host}`;
  const own = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
  return own.some(({ address }) => address === host.split("%")[0])
    ? reason
    : `this machine does not have the address ${host}`;
}

/** `process 123 (rfaas serve ..)`, or undefined where this user may not look at the process. */
export function portHolder(port: number): string | undefined {
  const inodes = new Set(
    ["/proc/net/tcp", "/proc/net/tcp6"].flatMap((table) => listeners(table, port)),
  );
  if (inodes.size === 0) return undefined;
  for (const pid of names("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    const holds = names(`/proc/${pid}/fd`).some((fd) => {
      const inode = /^socket:\[(\d+)\]$/.exec(linkOf(`/proc/${pid}/fd/${fd}`))?.[1];
      return inode !== undefined && inodes.has(inode);
    });
    if (holds) return `process ${pid} (${commandOf(pid)})`;
  }
  return undefined;
}

function listeners(table: string, port: number): string[] {
  const rows = textOf(table).split("\n").slice(1);
  return rows.flatMap((row) => {
    const [, local, , state, , , , , , inode] = row.trim().split(/\s+/);
    const at = Number.parseInt(local?.split(":")[1] ?? "", 16);
    return state === LISTENING && at === port && inode !== undefined ? [inode] : [];
  });
}

function commandOf(pid: string): string {
  const words = textOf(`/proc/${pid}/cmdline`).split("\0").filter(Boolean);
  const [program = "unknown", ...rest] = words;
  // Later words may be secret, and are of no use.
  const shown = [program.split("/").at(-1), ...rest.slice(0, 1)].join(" ");
  return shown.replace(/[\p{Cc}\p{Cf}]/gu, "?").slice(0, OWN_COMMAND_LENGTH);
}

/** Processes and descriptors go while they are looked at. */
function names(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
