/**
 * A node that bounds its hosts by control groups: the kernel ends what has more memory than its lease may, however many processes it
 * has, and starts no more of them than it may have. The groups are beneath the test's own, and gone when the node is.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { groups, number, readText } from "../../src/base/machine/cgroup.ts";
import { CgroupLimiter } from "../../src/executor/limits/cgroup.ts";
import { tasksFor } from "../../src/executor/limits/bounds.ts";
import { type Invoker, OutOfMemory, invoker } from "../../src/index.ts";
import { FUNCTIONS, RFAAS, ServedNode } from "../support/executable.ts";
import { alive } from "../support/processes.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

type Functions = typeof import("../functions/eats.ts");

const EATS = join(FUNCTIONS, "eats.ts");
const MIB = 2 ** 20;
const [MEMORY, HEAP] = [16 * MIB, 48 * MIB];
const MOST = 1.25 * (MEMORY + HEAP);

const tried = CgroupLimiter.in();
await tried?.close();
if (!tried) console.log("skipped: no control group can be made beneath that of this test");

const scratch = new Scratch();
let node: ServedNode;
let rf: Invoker;
beforeAll(async () => {
  if (!tried) return;
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  const args = ["--cores", "2", "--memory", "1GiB", "--sandbox", "none"];
  const within = ["env", "RFAAS_LIMITS=cgroup"];
  node = await ServedNode.start(join(scratch.path, "node.sock"), args, within);
  rf = await invoker({ node: node.address });
});
afterAll(async () => {
  scratch[Symbol.dispose]();
});

/** The group of a process in which that is bounded. */
function groupOf(pid: number, controller: "memory" | "pids"): string {
  const all = groups("/");
  const own =
    all.find(({ version, controllers }) => version === 1 && controllers.includes(controller)) ??
    all.find(({ version }) => version === 2)!;
  const lines = readFileSync(`/proc/${pid}/cgroup`, "utf8")
    .split("\n")
    .map((line) => line.split(":"));
  const line =
    lines.find(([, controllers]) => controllers?.split(",").includes(controller)) ??
    lines.find(([id]) => id === "0")!;
  return join(own.folders.at(-1)!, line.slice(2).join(":"));
}

const figure = (folder: string, ...names: string[]): number | undefined =>
  names.map((name) => number(readText(join(folder, name)))).find((value) => value !== undefined);

for (const name of ["objects", "typedArrays", "native", "children"] as const) {
  test.skipIf(!tried)(
    `memory taken as ${name} never exceeds the bounds, and the lease ends with OutOfMemory`,
    async () => {
      await using neighbour = await rf.allocate<Functions>(EATS, { memory: "1MiB" });
      await using lease = await rf.allocate<Functions>(EATS, {
        ...{ memory: MEMORY, heap: HEAP, polling: "warm" },
      });
      const group = groupOf(lease.hostPid, "memory");
      let peakBytes = 0;
      const look = setInterval(() => {
        peakBytes = Math.max(
          peakBytes,
          figure(group, "memory.max_usage_in_bytes", "memory.peak") ?? 0,
        );
      }, 1);
      const input = lease.input(Float64Array, 1).fill(500);
      const call = lease.submit(name, input, lease.output(Uint8Array, 8));
      const error = await call.then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      // The kernel ends the largest of several processes, and the node then the lease.
      const later = error ?? (await lossOf(lease));
      clearInterval(look);
      expect(later).toBeInstanceOf(OutOfMemory);
      expect((later as OutOfMemory).heapBytes).toBe(HEAP);
      expect(peakBytes).toBeGreaterThan(HEAP / 2);
      expect(peakBytes).toBeLessThanOrEqual(MOST);
      const echo = neighbour.output(Uint8Array, 8);
      expect(await neighbour.submit("echo", neighbour.input(Uint8Array, 8), echo)).toBe(8);
      await until(() => !alive(lease.hostPid) && !existsSync(group), "its group is gone");
    },
  );
}

/** What calls end with when the node has ended the lease. */
async function lossOf(lease: Awaited<ReturnType<typeof rf.allocate<Functions>>>): Promise<unknown> {
  const [input, output] = [lease.input(Uint8Array, 8), lease.output(Uint8Array, 8)];
  for (;;) {
    try {
      await lease.submit("echo", input, output);
    } catch (error) {
      return error;
    }
  }
}

test.skipIf(!tried)("processes and threads of a lease are bounded by the kernel", async () => {
  await using lease = await rf.allocate<Functions>(EATS, { memory: "1MiB" });
  expect(figure(groupOf(lease.hostPid, "pids"), "pids.max")).toBe(tasksFor(1));
});

test.skipIf(!tried)("a node that ends leaves no group behind", async () => {
  await rf.close();
  node.kill("SIGTERM");
  expect(await node.exited).toBe(0);
  const left = groups("/").flatMap(({ folders }) =>
    readdirSync(folders[0]!).filter((name) => name.startsWith(`rfaas-${node.pid}-`)),
  );
  expect(left).toEqual([]);
});
