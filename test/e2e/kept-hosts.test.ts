/** Hosts that are kept after their lease (`keepWarmMs`): for whom, until when, and what keeps them from it. */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type AllocateOptions, type Invoker, type Lease, invoker } from "../support/library.ts";
import { FUNCTIONS, RFAAS, ServedNode } from "../support/executable.ts";
import { onOneMachine } from "../support/fabric.ts";
import { alive, descendants } from "../support/processes.ts";
import { Scratch } from "../support/scratch.ts";
import { SigningCluster } from "../support/tokens.ts";
import { until } from "../support/until.ts";

type Keeps = typeof import("../functions/keeps.ts");

const MODULE = join(FUNCTIONS, "keeps.ts");
const KEEP = { keepWarmMs: 600_000, memory: "1MiB", polling: "warm" } as const;

process.env["RFAAS_EXECUTABLE"] = RFAAS;

const node = (more = {}): Promise<Invoker> => invoker({ cores: 2, prewarm: 0, ...more });
const take = (rf: Invoker, more: AllocateOptions = {}): Promise<Lease<Keeps>> =>
  rf.allocate<Keeps>(MODULE, { ...KEEP, ...more });
const kept = async (rf: Invoker): Promise<number> => (await rf.status()).keptHosts;

/** Calls since the module was loaded, whether the worker was cold, how often `init` has run. */
async function count(lease: Lease<Keeps>): Promise<[calls: number, cold: number, inits: number]> {
  const output = lease.output(Uint32Array, 4);
  await lease.submit("count", lease.input(Uint8Array, 0), output);
  return [output[0]!, output[1]!, output[2]!];
}

/** Takes a lease, calls this function and releases it. Returns its host. */
async function leave(rf: Invoker, name: Exclude<keyof Keeps, "hooks">, more?: AllocateOptions) {
  const lease = await take(rf, more);
  await lease.submit(name, lease.input(Uint8Array, 8), lease.output(Uint8Array, 64));
  await lease.release();
  return lease.hostPid;
}

const { describe } = onOneMachine("hosts are kept");

describe("a host that is kept", () => {
  test("serves the next lease of its kind: the module's variables and its state are as they were", async () => {
    await using rf = await node();
    const first = await take(rf);
    expect([await count(first), await count(first)]).toEqual([
      [1, 1, 1],
      [2, 0, 1],
    ]);
    expect(first.phases.kept).toBe(false);
    await first.release();
    expect(await kept(rf)).toBe(1);
    for (let calls = 3; calls < 20; calls++) {
      await using lease = await take(rf);
      expect([lease.hostPid, lease.phases.kept]).toEqual([first.hostPid, true]);
      expect(await count(lease)).toEqual([calls, 0, 1]);
      expect((await lease.usage()).calls).toBe(1);
    }
  });

  test("comes to rest again when its lease is released before its workers have woken", async () => {
    await using rf = await node();
    const host = await leave(rf, "count");
    for (let round = 0; round < 20; round++) {
      const lease = await take(rf);
      expect([lease.hostPid, lease.phases.kept]).toEqual([host, true]);
      await lease.release();
    }
    expect(await leave(rf, "count")).toBe(host);
  });

  test("is none without the wish of both leases", async () => {
    await using rf = await node();
    const host = await leave(rf, "count", { keepWarmMs: 0 });
    expect([await kept(rf), alive(host)]).toEqual([0, false]);
    await leave(rf, "count");
    expect(await kept(rf)).toBe(1);
    await using lease = await take(rf, { keepWarmMs: 0 });
    expect(await count(lease)).toEqual([1, 1, 1]);
  });

  test("is for leases of the same package, workers, memory, slots and polling", async () => {
    await using rf = await node();
    const others: [module: string, more: AllocateOptions][] = [
      [join(FUNCTIONS, "good.ts"), {}],
      [MODULE, { workers: 2 }],
      [MODULE, { coresPerWorker: 2 }],
      [MODULE, { memory: "2MiB" }],
      [MODULE, { slots: 8 }],
      [MODULE, { polling: "adaptive" }],
    ];
    const host = await leave(rf, "count");
    for (const [module, more] of others) {
      await using lease = await rf.allocate(module, { ...KEEP, ...more });
      expect([more, lease.phases.kept, lease.hostPid === host]).toEqual([more, false, false]);
    }
  });

  test("is for the same user", async () => {
    using scratch = new Scratch();
    const cluster = new SigningCluster();
    writeFileSync(scratch.join("key"), cluster.publicKey);
    await using served = await ServedNode.start(scratch.join("node.sock"), [
      ...["--token-key", scratch.join("key"), "--cores", "2", "--prewarm", "0"],
    ]);
    const as = async (user: string) =>
      await invoker({ node: served.address, token: await cluster.token({ user }) });
    await using ada = await as("ada");
    await using bob = await as("bob");
    const host = await leave(ada, "count");
    expect(await leave(bob, "count")).not.toBe(host);
    expect(await kept(ada)).toBe(2);
    await using again = await as("ada");
    expect(await leave(again, "count")).toBe(host);
  });

  test("has several workers, and memory that earlier calls still look at is no harm", async () => {
    await using rf = await node();
    let host: number | undefined;
    for (let round = 0; round < 5; round++) {
      await using lease = await take(rf, { workers: 2, memory: "8MiB" });
      host ??= lease.hostPid;
      expect(lease.hostPid).toBe(host);
      const input = lease.input(Uint8Array, 4096).fill(7);
      const output = lease.output(Uint8Array, 4096);
      for (const worker of [0, 1]) {
        await lease.submit("hold", input, output, { worker });
        await lease.submit("hold", lease.input(Uint8Array, 4), lease.output(Uint8Array, 4), {
          worker,
        });
      }
    }
  });

  test("names calls by their lease, and tells what functions have thrown", async () => {
    await using rf = await node();
    const names: string[] = [];
    for (let round = 0; round < 3; round++) {
      await using lease = await take(rf);
      const [input, output] = [lease.input(Uint8Array, 0), lease.output(Uint8Array, 64)];
      const length = await lease.submit("id", input, output);
      names.push(new TextDecoder().decode(output.subarray(0, length)));
      const failing = lease.submit("fail", input, output).then(
        () => "nothing",
        (error: unknown) => (error as Error).message,
      );
      expect(await failing).toContain("as it should");
    }
    expect(new Set(names).size).toBe(3);
  });

  test("has the title that it had, and listens to what its module listens to", async () => {
    await using rf = await node();
    const met: string[] = [];
    for (let round = 0; round < 3; round++) {
      await using lease = await take(rf);
      expect(lease.phases.kept).toBe(round > 0);
      const output = lease.output(Uint8Array, 64);
      const length = await lease.submit("changesProcess", lease.input(Uint8Array, 0), output);
      met.push(new TextDecoder().decode(output.subarray(0, length)));
    }
    expect(met[0]).toStartWith("1 ");
    expect(met).toEqual([met[0]!, met[0]!, met[0]!]);
  });

  test("is not ended by a function that speaks for its worker or for its host", async () => {
    await using rf = await node();
    const host = await leave(rf, "forges");
    expect([await kept(rf), alive(host)]).toEqual([1, true]);
    await using lease = await take(rf);
    await lease.submit("forges", lease.input(Uint8Array, 0), lease.output(Uint8Array, 0));
    expect(await count(lease)).toEqual([1, 0, 1]);
    expect(lease.hostPid).toBe(host);
  });
});

describe("a host is not kept", () => {
  const OPEN = { network: true, processes: true };
  const LEAVES = [
    ["timer", "a timer"],
    ["sleep", "a timer"],
    ["child", "a child process"],
    ["orphan", "a child process"],
    ["socket", "an open handle"],
    ["file", "an open file or socket"],
    ["thread", "a thread"],
    ["timeout", "a timer"],
    ["waits", "an Atomics.waitAsync"],
    ["enciphers", "an operation of WebCrypto"],
    ["signals", "a signal handler"],
  ] as const;

  test("when functions have left something behind, and the log says what", async () => {
    using scratch = new Scratch();
    await using served = await ServedNode.start(scratch.join("node.sock"), [
      ...["--prewarm", "0", "--allow-network", "--allow-processes"],
    ]);
    await using rf = await invoker({ node: served.address });
    for (const [name, what] of LEAVES) {
      const host = await leave(rf, name, OPEN);
      expect([name, await kept(rf), alive(host)]).toEqual([name, 0, false]);
      await until(() => served.stderr.includes(`not kept, since functions left ${what}`), what);
      served.stderr = "";
    }
  }, 120_000);

  test("when a call has not ended, or a thread was replaced", async () => {
    await using rf = await node();
    const lease = await take(rf);
    const call = lease.submit("pending", lease.input(Uint8Array, 0), lease.output(Uint8Array, 8));
    call.catch(() => {});
    await count(lease);
    await lease.release();
    expect(await kept(rf)).toBe(0);
    const stuck = await take(rf);
    const [input, output] = [stuck.input(Uint8Array, 0), stuck.output(Uint8Array, 8)];
    const late = stuck.submit("spin", input, output, { deadlineMs: 50 });
    await late.catch(() => {});
    // Its worker has another thread.
    await until(async () => (await count(stuck))[0] > 0, "it calls again");
    await stuck.release();
    expect(await kept(rf)).toBe(0);
  });

  test("when a fetch goes on, or leaves a connection open, but is when both are over", async () => {
    await using rf = await node();
    using server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: ({ url }) =>
        url.endsWith("never") ? new Promise<Response>(() => {}) : new Response("here"),
    });
    const fetching = async (name: "fetches" | "connects" | "asks") => {
      await using lease = await take(rf, OPEN);
      const input = lease.input(Uint16Array, 1).fill(server.port!);
      await lease.submit(name, input, lease.output(Uint8Array, 8));
      return lease.hostPid;
    };
    let host: number | undefined;
    await until(async () => {
      host = await fetching("fetches");
      return (await kept(rf)) === 1;
    }, "its connection was closed in time");
    expect(await fetching("fetches")).toBe(host!);
    for (const name of ["connects", "asks"] as const) {
      await fetching(name);
      expect([name, await kept(rf)]).toEqual([name, 0]);
    }
  });

  test("when its lease did not end by a release", async () => {
    await using rf = await node();
    const lease = await take(rf);
    process.kill(lease.hostPid, "SIGKILL");
    await until(() => lease.parts[0]!.state === "lost", "it is lost");
    await lease.release();
    expect(await kept(rf)).toBe(0);
  });

  test("but is when they have tidied up", async () => {
    await using rf = await node();
    const host = await leave(rf, "tidy", OPEN);
    expect(await kept(rf)).toBe(1);
    expect(await leave(rf, "tidy", OPEN)).toBe(host);
  });
});

function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

describe("a kept host ends", () => {
  test("when its time is over", async () => {
    await using rf = await node();
    const host = await leave(rf, "count", { keepWarmMs: 100 });
    await until(() => !alive(host), "it is gone");
    expect(await kept(rf)).toBe(0);
    await using lease = await take(rf);
    expect(await count(lease)).toEqual([1, 1, 1]);
  });

  test("when the node keeps no more than it is told to", async () => {
    await using rf = await node({ keptHosts: 1 });
    const first = await leave(rf, "count", { slots: 8 });
    const second = await leave(rf, "count", { slots: 16 });
    await until(() => !alive(first), "the one that was kept longer is gone");
    expect([await kept(rf), alive(second)]).toEqual([1, true]);
  });

  test("when another lease needs the memory", async () => {
    await using rf = await node({ memory: "256MiB" });
    const host = await leave(rf, "count");
    expect(await kept(rf)).toBe(1);
    await using _ = await take(rf, { memory: "255MiB", keepWarmMs: 0 });
    await until(() => !alive(host), "it is gone");
    expect(await kept(rf)).toBe(0);
  });

  test("when it is killed, and the next lease has a host of its own", async () => {
    await using rf = await node();
    const host = await leave(rf, "count");
    process.kill(host, "SIGKILL");
    await until(async () => (await kept(rf)) === 0, "the node knows");
    expect(await leave(rf, "count")).not.toBe(host);
  });

  test("when it is killed as it is granted, and the lease gets another host", async () => {
    await using rf = await node();
    const ECHO = "rfaas:echo";
    const first = await rf.allocate(ECHO, KEEP);
    await first.release();
    const taking = rf.allocate(ECHO, KEEP);
    // The request is on its way when the promises before it have settled; then the node grants, and this process hears nothing.
    for (let turns = 0; turns < 100; turns++) await undefined;
    const grantedBy = performance.now() + 200;
    while (performance.now() < grantedBy);
    process.kill(first.hostPid, "SIGKILL");
    // With all of its threads: a process whose first one is over may still be ending.
    while (isThere(first.hostPid));
    await using lease = await taking;
    expect(lease.hostPid).not.toBe(first.hostPid);
    const buffer = lease.input(Uint8Array, 8);
    expect(await lease.submit("echo", buffer, buffer)).toBe(8);
  });

  test("when one of its workers fails while it rests, and the next lease has a host of its own", async () => {
    await using rf = await node();
    const host = await leave(rf, "late");
    await until(() => !alive(host), "it is gone");
    await until(async () => (await kept(rf)) === 0, "the node knows");
    await using lease = await take(rf);
    expect(await count(lease)).toEqual([1, 1, 1]);
  });

  test("with its node, which disposes of it when it drains", async () => {
    using scratch = new Scratch();
    await using served = await ServedNode.start(scratch.join("node.sock"), ["--prewarm", "0"]);
    const rf = await invoker({ node: served.address });
    const host = await leave(rf, "count");
    expect(descendants(served.pid)).toContain(host);
    await rf.close();
    expect(alive(host)).toBe(true);
    served.kill("SIGTERM");
    expect(await served.exited).toBe(0);
    expect(alive(host)).toBe(false);
    expect(served.stderr).toContain("disposed");
  });
});
