/** What functions start ends with their lease, however it was started and however the lease ends; and it is billed. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Invoker, type Lease, invoker } from "../../src/index.ts";
import { FUNCTIONS, RFAAS, ServedNode } from "../support/executable.ts";
import { alive, marked } from "../support/processes.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";
import { KINDS } from "../functions/starts.ts";

type Starts = typeof import("../functions/starts.ts");
const STARTS = join(FUNCTIONS, "starts.ts");
const LIMIT_MS = 60_000;
const scratch = new Scratch();
beforeAll(() => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
});
afterAll(() => {
  scratch[Symbol.dispose]();
});

let marks = 0;
/** A number of seconds that nobody else sleeps. */
const newMark = (): string => `${10_000_000 + process.pid}.${++marks}`;

const gone = (mark: string): Promise<void> =>
  until(() => marked(mark).length === 0, `all that was started with ${mark} is gone`, LIMIT_MS);

async function begin(
  lease: Lease<Starts>,
  name: "start" | "startAndSpin" | "startAndDie" | "startForEver" | "compute",
  kind: string,
): Promise<string> {
  const mark = newMark();
  const seen = scratch.join(mark);
  const text = new TextEncoder().encode(`${kind}\n${mark}\n${seen}`);
  const input = lease.input(Uint8Array, text.length);
  input.set(text);
  lease.submit(name, input, lease.output(Uint8Array, 8)).catch(() => {});
  await until(() => marked(mark).length > 0, `${kind} has started`, LIMIT_MS);
  writeFileSync(seen, "");
  return mark;
}

const take = (rf: Invoker, options: object = {}): Promise<Lease<Starts>> =>
  rf.allocate<Starts>(STARTS, { memory: "1MiB", polling: "warm", processes: true, ...options });

describe("what a function has started", () => {
  // Without a room no namespace ends them: the node does.
  const EACH = Object.keys(KINDS).flatMap((kind) =>
    (["process", "none"] as const).map((sandbox) => [kind, sandbox] as const),
  );
  test.each(EACH)(
    "ends with its lease: %s (sandbox %s)",
    async (kind, sandbox) => {
      await using rf = await invoker({ cores: 1, prewarm: 0, sandbox });
      const lease = await take(rf);
      const mark = await begin(lease, "start", kind);
      const { freeCores } = await rf.status();
      expect(freeCores).toBe(0);
      await lease.release();
      await gone(mark);
      // The core comes back when nothing uses it any more.
      await until(async () => (await rf.status()).freeCores === 1, "the core is back", LIMIT_MS);
      expect(marked(mark)).toEqual([]);
    },
    2 * LIMIT_MS,
  );

  test.each(["startAndSpin", "startAndDie", "startForEver"] as const)(
    "ends when the node kills its host, or the host dies: %s",
    async (name) => {
      await using rf = await invoker({ cores: 2, prewarm: 0 });
      await using other = await take(rf);
      const kept = await begin(other, "start", "in its own session");
      const lease = await take(rf);
      const mark = await begin(lease, name, "a daemon, forked twice");
      if (name !== "startAndDie") process.kill(lease.hostPid, "SIGKILL");
      await gone(mark);
      // Another lease's are its own.
      expect(marked(kept)).toHaveLength(1);
      await other.release();
      await gone(kept);
    },
    2 * LIMIT_MS,
  );

  test(
    "ends when the node is killed",
    async () => {
      const node = await ServedNode.start(scratch.join("killed.sock"), [
        ...["--cores", "2", "--allow-processes"],
      ]);
      await using rf = await invoker({ node: node.address });
      const lease = await take(rf);
      const quiet = await begin(lease, "start", "a family");
      const busy = await begin(await take(rf), "startForEver", "a daemon, forked twice");
      node.kill("SIGKILL");
      await node.exited;
      await Promise.all([gone(quiet), gone(busy)]);
      await until(() => !alive(lease.hostPid), "the host is gone", LIMIT_MS);
    },
    3 * LIMIT_MS,
  );

  test(
    "ends when the node is killed while the host is stopped",
    async () => {
      const node = await ServedNode.start(scratch.join("stopped.sock"), [
        ...["--cores", "1", "--allow-processes"],
      ]);
      await using rf = await invoker({ node: node.address });
      const lease = await take(rf);
      const mark = await begin(lease, "start", "stopped");
      process.kill(lease.hostPid, "SIGSTOP");
      node.kill("SIGKILL");
      await gone(mark);
      await until(() => !alive(lease.hostPid), "the host is gone", LIMIT_MS);
    },
    2 * LIMIT_MS,
  );

  test(
    "ends when the clients of private nodes are killed",
    async () => {
      const client = scratch.file(
        "client.ts",
        `import { invoker } from "${join(import.meta.dir, "../../src/index.ts")}";
        const rf = await invoker({ cores: 1, prewarm: 0 });
        const lease = await rf.allocate(${JSON.stringify(STARTS)}, { memory: "1MiB", processes: true });
        const text = new TextEncoder().encode("a daemon, forked twice\\n" + process.argv[2]);
        const input = lease.input(Uint8Array, text.length);
        input.set(text);
        await lease.submit("start", input, lease.output(Uint8Array, 8));
        await new Promise(() => setInterval(() => {}, 1000));`,
      );
      // Several, since their nodes end at moments of their own.
      await Promise.all(
        Array.from({ length: 4 }, async () => {
          const mark = newMark();
          const child = Bun.spawn([process.execPath, client, mark], { stdio: ["ignore", 2, 2] });
          const started = () => marked(mark).some((pid) => pid !== child.pid);
          await until(started, "it has started", LIMIT_MS);
          child.kill("SIGKILL");
          await gone(mark);
        }),
      );
    },
    2 * LIMIT_MS,
  );

  test(
    "is no zombie while the lease goes on, and what functions start themselves is waited for by them",
    async () => {
      await using rf = await invoker({ cores: 1, prewarm: 0 });
      await using lease = await take(rf);
      const text = new TextEncoder().encode(`a daemon, forked twice\n0.1`);
      const input = lease.input(Uint8Array, text.length);
      input.set(text);
      const output = lease.output(Uint8Array, 8);
      for (let i = 0; i < 20; i++) await lease.submit("start", input, output);
      for (let i = 0; i < 3; i++) {
        await lease.submit("computeAndWait", input, output);
        expect(output[0]).toBe(1);
      }
      await until(
        async () => {
          await lease.submit("zombies", input, output);
          return output[0] === 0;
        },
        "none is left unburied",
        LIMIT_MS,
      );
    },
    2 * LIMIT_MS,
  );
});

describe("its CPU time is billed", () => {
  test(
    "while it runs, though its parents are gone",
    async () => {
      await using rf = await invoker({ cores: 1, prewarm: 0 });
      const lease = await take(rf);
      const mark = await begin(lease, "compute", "");
      const before = (await lease.usage()).executionNs;
      await until(
        async () => (await lease.usage()).executionNs - before > 500e6,
        "half a second of it is billed",
        LIMIT_MS,
      );
      await lease.release();
      await gone(mark);
    },
    2 * LIMIT_MS,
  );

  test(
    "when a function has waited for it",
    async () => {
      await using rf = await invoker({ cores: 1, prewarm: 0 });
      await using lease = await take(rf);
      const input = lease.input(Uint8Array, 8);
      const output = lease.output(Uint8Array, 8);
      const before = (await lease.usage()).executionNs;
      for (let i = 0; i < 3; i++) await lease.submit("computeAndWait", input, output);
      await until(
        async () => (await lease.usage()).executionNs - before > 50e6,
        "what the children used is billed",
        LIMIT_MS,
      );
    },
    2 * LIMIT_MS,
  );

  test(
    "up to the lease's budget, which ends both",
    async () => {
      await using rf = await invoker({ cores: 1, prewarm: 0 });
      const lease = await take(rf, { budget: { executionNs: 1e9 } });
      const lost = new Promise<unknown>((resolve) => lease.on("lost", resolve));
      const mark = await begin(lease, "compute", "");
      await lost;
      await gone(mark);
      const input = lease.input(Uint8Array, 8);
      expect(() => lease.invoke("compute", input, lease.output(Uint8Array, 8))).toThrow(
        "its budget is spent",
      );
    },
    2 * LIMIT_MS,
  );
});
