/** A node of root's that gives each of its users a user of the machine (`--uid-range`), by each sandbox that can. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Invoker, type Lease, invoker } from "../../src/index.ts";
import { driverNamed } from "../../src/executor/sandbox/registry.ts";
import { type Docker, openDocker, whyNoDocker } from "../support/docker.ts";
import { FUNCTIONS, RFAAS, ServedNode, rfaas } from "../support/executable.ts";
import { alive } from "../support/processes.ts";
import { whyNoPodman, withPodman } from "../support/podman.ts";
import { Scratch } from "../support/scratch.ts";
import { SigningCluster } from "../support/tokens.ts";
import { until } from "../support/until.ts";

type User = typeof import("../functions/user.ts");
const MODULE = join(FUNCTIONS, "user.ts");
const LIMIT_MS = 120_000;
/** Of no account of this machine's, which a node would say. */
const FROM = 1_879_048_192;
const IS_ROOT = process.getuid!() === 0;
if (!IS_ROOT) console.error("SKIPPED: users of the machine's for functions: only root can be them");

process.env["RFAAS_EXECUTABLE"] = RFAAS;
const scratch = new Scratch();
afterAll(() => scratch[Symbol.dispose]());
const cluster = new SigningCluster();
let nodes = 0;

async function serve(
  sandbox: string,
  count: number,
  args: readonly string[] = [],
): Promise<ServedNode> {
  const name = `${nodes++}`;
  return await ServedNode.start(
    scratch.join(`${name}.sock`),
    [
      ...["--sandbox", sandbox, "--uid-range", `${FROM}-${FROM + count - 1}`, "--cores", "8"],
      ...["--state", scratch.join(`state-${name}`), "--fabric", "shm", "--allow-processes"],
      ...["--token-key", scratch.file(`key-${name}`, cluster.publicKey), ...args],
    ],
    within(sandbox),
  );
}

let docker: Docker | undefined;
afterAll(async () => await docker?.[Symbol.asyncDispose](), LIMIT_MS);

/** What comes before a node's command. */
function within(sandbox: string): readonly string[] {
  if (sandbox === "docker") return docker!.within;
  return sandbox === "podman" ? withPodman : [];
}

function whyNot(sandbox: string): string | undefined {
  if (sandbox === "docker") return whyNoDocker();
  if (sandbox === "podman") return whyNoPodman();
  const lack = driverNamed(sandbox)!.whyNot();
  return lack && `${lack.found}; run: ${lack.fix}`;
}

const as = async (node: ServedNode, user: string): Promise<Invoker> =>
  await invoker({ node: node.address, token: await cluster.token({ user }) });

const take = (rf: Invoker, options: object = {}): Promise<Lease<User>> =>
  rf.allocate<User>(MODULE, { memory: "1MiB", ...options });

/** The one user and group that all threads of a lease's host are. */
async function userOf(lease: Lease<User>): Promise<number> {
  const { ids, rights } = await lease.function("is")("");
  expect(ids).toHaveLength(1);
  expect(rights).toEqual(["0000000000000000"]);
  return ids[0]!;
}

describe.each(["process", "bwrap", "podman", "docker"])("by the sandbox %s", (sandbox) => {
  const lack = whyNot(sandbox);
  if (lack !== undefined) console.error(`SKIPPED: users by ${sandbox}: ${lack}`);
  const usable = test.skipIf(!IS_ROOT || lack !== undefined);
  let node: ServedNode;
  let ada: Invoker;
  let bob: Invoker;
  beforeAll(async () => {
    if (!IS_ROOT || lack !== undefined) return;
    if (sandbox === "docker") docker = await openDocker();
    node = await serve(sandbox, 8);
    [ada, bob] = [await as(node, "ada"), await as(node, "bob")];
  }, LIMIT_MS);
  afterAll(async () => {
    await ada?.close();
    await bob?.close();
    await node?.[Symbol.asyncDispose]();
  }, LIMIT_MS);

  usable(
    "all threads of a user's hosts, and what they start, are one user, and each user is another",
    async () => {
      await using first = await take(ada, { workers: 2 });
      await using second = await take(ada, { processes: true });
      await using other = await take(bob);
      const [one, same, another] = [
        await userOf(first),
        await userOf(second),
        await userOf(other),
      ] as const;
      expect(one).toBeGreaterThanOrEqual(FROM);
      expect(one).toBeLessThan(FROM + 8);
      expect(same).toBe(one);
      expect(another).not.toBe(one);
      expect(await second.function("runs")("/usr/bin/id")).toBe(String(one));
      // So many threads as all leases that a node of eight cores could have, and hosts that it could keep.
      expect(await first.function("tasks")("")).toBe(String(16 * (512 + 64)));
    },
    LIMIT_MS,
  );

  usable(
    "a package is the node's, to be read, and the scratch folder a file system that the room alone has",
    async () => {
      await using lease = await take(ada);
      expect(await lease.function("owns")("")).toEqual({
        module: [0, 0o444],
        scratch: [0, 0o777],
      });
    },
    LIMIT_MS,
  );

  usable(
    "a user leaves nothing to the next one who gets their uid",
    async () => {
      const mark = `rfaas-left-${process.pid}`;
      const held = await take(ada);
      const uid = await userOf(held);
      // Where a room lets it make one at all.
      await held.function("segment")("make");
      await held.function("litters")(mark);
      const { hostPid } = held;
      await held.release();
      await until(() => !alive(hostPid!), "the host is gone", LIMIT_MS);
      for (const folder of ["/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run/lock"])
        expect([folder, existsSync(join(folder, mark))]).toEqual([folder, false]);
      expect(readFileSync("/proc/sysvipc/shm", "latin1")).not.toContain(` ${uid} `);
      for (let i = 0; i < 8; i++) {
        await using next = await take(bob);
        if ((await userOf(next)) === uid)
          expect(await next.function("segment")("find")).toBe("false");
      }
    },
    LIMIT_MS,
  );

  usable(
    "hosts end with their node, however it dies, after they have become users",
    async () => {
      const dying = await serve(sandbox, 8);
      const rf = await as(dying, "ada");
      const hosts = [await take(rf), await take(rf)].map(({ hostPid }) => hostPid!);
      expect(hosts.map(alive)).toEqual([true, true]);
      dying.kill("SIGKILL");
      await until(() => !hosts.some(alive), "the hosts are gone", LIMIT_MS);
      await rf.close().catch(() => {});
    },
    LIMIT_MS,
  );
});

describe.skipIf(!IS_ROOT)("a range with one uid", () => {
  let node: ServedNode;
  let ada: Invoker;
  let bob: Invoker;
  beforeAll(async () => {
    node = await serve("process", 1, ["--prewarm", "1"]);
    [ada, bob] = [await as(node, "ada"), await as(node, "bob")];
  });
  afterAll(async () => {
    await ada.close();
    await bob.close();
    await node[Symbol.asyncDispose]();
  });

  test(
    "is one user's, and another waits for it, or is refused and told so",
    async () => {
      const held = await take(ada);
      await using more = await take(ada);
      expect([await userOf(held), await userOf(more)]).toEqual([FROM, FROM]);
      await expect(take(bob)).rejects.toMatchObject({
        code: "RFAAS_NODE_FULL",
        message: expect.stringContaining("keeps users apart by 1 uid, and other users have all"),
      });
      const waits = take(bob, { wait: true });
      await held.release();
      await more.release();
      await using got = await waits;
      expect(await userOf(got)).toBe(FROM);
    },
    LIMIT_MS,
  );

  test(
    "is another user's at once where its user has but hosts that are kept",
    async () => {
      const held = await take(ada, { keepWarmMs: LIMIT_MS });
      const { hostPid } = held;
      await held.release();
      await until(async () => (await ada.status()).keptHosts === 1, "the host is kept", LIMIT_MS);
      await using got = await take(bob);
      expect(await userOf(got)).toBe(FROM);
      expect(alive(hostPid!)).toBe(false);
    },
    LIMIT_MS,
  );

  test(
    "stays a user's from one lease to the next of a kept host",
    async () => {
      for (let round = 0; round < 3; round++) {
        // Bob's host may not be gone yet.
        const held = await take(ada, { keepWarmMs: 1000, wait: true });
        expect(await userOf(held)).toBe(FROM);
        await held.release();
      }
      await until(async () => (await ada.status()).keptHosts === 0, "it goes", LIMIT_MS);
      await using got = await take(bob, { wait: true });
      expect(await userOf(got)).toBe(FROM);
    },
    LIMIT_MS,
  );
});

describe("a node does not serve", () => {
  const refused = async (args: readonly string[], within: readonly string[] = []) => {
    const state = ["--state", scratch.join("refused"), "--listen", scratch.join("refused.sock")];
    const words = ["serve", ...state, ...args];
    if (within.length === 0) return await rfaas(words);
    const child = Bun.spawnSync([...within, RFAAS, ...words], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    return { exitCode: child.exitCode, stderr: child.stderr.toString() };
  };

  test.each([
    ["as two words", "7000", "must be two numbers"],
    ["from above", "9-3", "must be two numbers"],
    ["of root's", "0-9", "must be two numbers"],
    ["beyond all uids", "7-4294967295", "must be two numbers"],
  ])("with a range %s", async (_, range, said) => {
    const { exitCode, stderr } = await refused(["--sandbox", "process", "--uid-range", range]);
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining(`--uid-range ${said}`)]);
  });

  const asRoot = test.skipIf(!IS_ROOT);
  asRoot("with users whom the machine has", async () => {
    const { exitCode, stderr } = await refused([
      "--sandbox",
      "process",
      "--uid-range",
      "60000-70000",
    ]);
    expect(exitCode).not.toBe(0);
    expect(stderr).toContain("65534 is the user nobody of /etc/passwd");
  });

  asRoot("with users where nothing keeps functions apart", async () => {
    const range = `${FROM}-${FROM}`;
    const { exitCode, stderr } = await refused(["--sandbox", "none", "--uid-range", range]);
    expect(exitCode).not.toBe(0);
    expect(stderr).toContain(
      "hosts of the sandbox none cannot become other users; serve with --sandbox process or",
    );
  });

  asRoot("with users where it is not root", async () => {
    const nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    const range = ["--sandbox", "process", "--uid-range", `${FROM}-${FROM}`];
    const { exitCode, stderr } = await refused(range, nobody);
    expect(exitCode).not.toBe(0);
    expect(stderr).toContain("only root can run functions as other users");
  });
});
