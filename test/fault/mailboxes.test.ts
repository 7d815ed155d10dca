/** Another process of the machine sends to every mailbox that it finds: leases are granted all the same. */
import { beforeAll, expect, test } from "bun:test";
import { readFileSync, readdirSync, readlinkSync } from "node:fs";
import { MailSender } from "../../ffi/descriptors.ts";
import { invoker } from "../../src/index.ts";
import { RFAAS, ServedNode } from "../support/executable.ts";
import { descendants } from "../support/processes.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

const LEASES = 5;
const LIMIT_MS = 60_000;

beforeAll(() => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
});

/** Names that the kernel has picked for sockets of these processes: other tests of this machine have theirs. */
function names(pids: readonly number[]): string[] {
  const own = new Set(pids.flatMap(inodesOf));
  return readFileSync("/proc/net/unix", "latin1")
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , , , , , inode, name = ""]) => /^@[0-9a-f]{5}$/.test(name) && own.has(inode!))
    .map(([, , , , , , , name]) => name!.slice(1));
}

function inodesOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? [];
      } catch {
        return [];
      }
    });
  } catch {
    return [];
  }
}

test(
  "a stranger fills no mailbox of a node, of its hosts or of its clients, and waiting hosts have no name",
  async () => {
    using scratch = new Scratch();
    await using node = await ServedNode.start(scratch.join("node.sock"), ["--cores", "1"]);
    await using rf = await invoker({ node: node.address });
    await until(async () => (await rf.status()).prewarmedHosts === 1, "a host waits", LIMIT_MS);
    expect(names(descendants(node.pid))).toEqual([]);

    const stranger = new MailSender();
    const own = new TextDecoder().decode(stranger.name);
    const tried = new Set<string>();
    const accepted: string[] = [];
    const flood = setInterval(() => {
      for (const name of names([process.pid, node.pid])) {
        if (name === own) continue;
        tried.add(name);
        try {
          for (;;) {
            stranger.send(new TextEncoder().encode(name), new Uint8Array(16), [0]);
            accepted.push(name);
          }
        } catch {
          // It takes none, or no more.
        }
      }
    }, 1);
    try {
      for (let i = 0; i < LEASES; i++) {
        await using lease = await rf.allocate("rfaas:echo", { memory: "1MiB" });
        const input = lease.input(Uint8Array, 1);
        input[0] = 7;
        const output = lease.output(Uint8Array, 1);
        expect(lease.invoke("echo", input, output)).toBe(1);
        expect(output[0]).toBe(7);
      }
    } finally {
      clearInterval(flood);
      stranger.close();
    }
    // The node's sender has a name all the time.
    expect(tried.size).toBeGreaterThan(0);
    expect(accepted).toEqual([]);
  },
  LIMIT_MS,
);
