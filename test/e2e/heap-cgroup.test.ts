/**
 * A node that bounds its hosts by control groups, of whichever version the machine has: the kernel ends what has more memory than its
 * lease may, however many processes it has, and starts no more of them than it may have. The groups are beneath one of the test's own,
 * root's or delegated to an ordinary user, and gone when the node is.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { accessSync, chownSync, constants, existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { number, readText } from "../../src/base/machine/cgroup.ts";
import { tasksFor } from "../../src/executor/limits/bounds.ts";
import { type Invoker, OutOfMemory, invoker } from "../../src/index.ts";
import { FUNCTIONS, RFAAS, ServedNode } from "../support/executable.ts";
import { OwnGroups, groupOf } from "../support/own-groups.ts";
import { alive } from "../support/processes.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

type Functions = typeof import("../functions/eats.ts");

const EATS = join(FUNCTIONS, "eats.ts");
const MIB = 2 ** 20;
const [MEMORY, HEAP] = [16 * MIB, 48 * MIB];
const MOST = 1.25 * (MEMORY + HEAP);
const NOBODY = 65_534;
/** In a guest, modules load slowly. */
const LOAD_LIMIT_MS = 100_000;
const SMALL = { memory: "1MiB", loadTimeoutMs: LOAD_LIMIT_MS } as const;
const WAYS = ["objects", "typedArrays", "native", "mappings", "memories", "children"] as const;

/** Why a node of this user cannot be tried, if so. */
function whyNot(user: number): string | undefined {
  if (process.getuid!() !== 0) return "only root can make them for a test";
  try {
    using _ = OwnGroups.make(user);
    if (user === 0) return undefined;
    if (!Bun.which("setpriv")) return "setpriv is missing; apt-get install util-linux";
    accessSync(RFAAS, constants.X_OK);
    const as = ["setpriv", ...other(user), "test", "-x", RFAAS];
    return Bun.spawnSync(as, { cwd: "/" }).success ? undefined : `${RFAAS} is closed to others`;
  } catch (error) {
    return (error as Error).message;
  }
}

const other = (user: number): string[] => [
  ...["--reuid", String(user), "--regid", String(user), "--clear-groups"],
];
const figure = (folder: string, ...names: string[]): number | undefined =>
  names.map((name) => number(readText(join(folder, name)))).find((value) => value !== undefined);

for (const [whose, user] of [
  ["root", 0],
  ["an ordinary user", NOBODY],
] as const) {
  const lack = whyNot(user);
  if (lack !== undefined) console.error(`SKIPPED: control groups of ${whose}: ${lack}`);
  else describe(`a node with control groups of ${whose}`, () => bounds(user));
}

function bounds(user: number): void {
  const scratch = new Scratch();
  let own: OwnGroups;
  let node: ServedNode;
  let rf: Invoker;
  beforeAll(async () => {
    own = OwnGroups.make(user);
    console.error(`control groups of version ${own.version}`);
    const home = scratch.join("home");
    mkdirSync(home);
    for (const path of [scratch.path, home]) chownSync(path, user, user);
    const places = ["HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_STATE_HOME"].map(
      (name) => `${name}=${home}`,
    );
    const args = ["--cores", "2", "--memory", "1GiB", "--sandbox", "none", "--fabric", "shm"];
    // Root reaches the socket of another user.
    node = await ServedNode.start(scratch.join("node.sock"), args, [
      ...own.within,
      ...(user === 0 ? [] : ["setpriv", ...other(user)]),
      ...["env", ...places, ...(user === 0 ? ["RFAAS_LIMITS=cgroup"] : [])],
    ]);
    rf = await invoker({ node: node.address });
  });
  afterAll(async () => {
    await rf?.close();
    await node?.[Symbol.asyncDispose]();
    scratch[Symbol.dispose]();
    own?.[Symbol.dispose]();
  });

  for (const name of WAYS) {
    test(`memory taken as ${name} never exceeds the bounds, and the lease ends with OutOfMemory`, async () => {
      await using neighbour = await rf.allocate<Functions>(EATS, SMALL);
      await using lease = await rf.allocate<Functions>(EATS, {
        ...{ memory: MEMORY, heap: HEAP, polling: "warm", loadTimeoutMs: LOAD_LIMIT_MS },
      });
      const group = groupOf(lease.hostPid, "memory");
      const bareBytes = figure(group, "memory.usage_in_bytes", "memory.current")!;
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
      expect(peakBytes - bareBytes).toBeGreaterThan(HEAP / 2);
      expect(peakBytes - bareBytes).toBeLessThanOrEqual(MOST);
      const echo = neighbour.output(Uint8Array, 8);
      expect(await neighbour.submit("echo", neighbour.input(Uint8Array, 8), echo)).toBe(8);
      await until(() => !alive(lease.hostPid) && !existsSync(group), "its group is gone");
    });
  }

  /** What calls end with when the node has ended the lease. */
  async function lossOf(lease: Awaited<ReturnType<typeof rf.allocate<Functions>>>) {
    const [input, output] = [lease.input(Uint8Array, 8), lease.output(Uint8Array, 8)];
    for (;;) {
      try {
        await lease.submit("echo", input, output);
      } catch (error) {
        return error;
      }
    }
  }

  test("processes and threads of a lease are bounded by the kernel", async () => {
    await using lease = await rf.allocate<Functions>(EATS, SMALL);
    expect(figure(groupOf(lease.hostPid, "pids"), "pids.max")).toBe(tasksFor(1));
  });

  test("a node that ends leaves no group of its hosts behind", async () => {
    await rf.close();
    expect(own.inside.some((name) => name.startsWith("rfaas-"))).toBe(true);
    node.kill("SIGTERM");
    expect(await node.exited).toBe(0);
    expect(own.inside.filter((name) => name.startsWith("rfaas-"))).toEqual([]);
  });
}
