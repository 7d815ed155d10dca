/** Tokens over their life, with a real manager and nodes: revoked while leases run, renewed in place, their key replaced. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { renameSync, writeFileSync } from "node:fs";
import { type Invoker, type Lease, type LeaseEvent, invoker } from "../../src/index.ts";
import { FUNCTIONS, RFAAS, ServedNode, rfaas } from "../support/executable.ts";
import { RunningManager } from "../support/manager.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

type Good = typeof import("../functions/good.ts");
const GOOD = `${FUNCTIONS}/good.ts`;
const LIMIT_MS = 120_000;

let scratch: Scratch;
let manager: RunningManager;
let node: ServedNode;

beforeAll(async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  delete process.env["RFAAS_TOKEN"];
  scratch = new Scratch();
  const made = await rfaas([
    "token",
    "create",
    "--user",
    "root",
    "--scope",
    "admin",
    "--state",
    scratch.join("state"),
  ]);
  expect(made.exitCode).toBe(0);
  manager = await RunningManager.start(scratch.path, ["--http", "127.0.0.1:0"]);
  node = await serve("n1");
}, LIMIT_MS);
afterAll(async () => {
  await node?.[Symbol.asyncDispose]();
  await manager?.[Symbol.asyncDispose]();
  scratch[Symbol.dispose]();
});

/** What the command prints, in the manager's state directory. */
async function token(...args: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await rfaas([
    ...["token", ...args, "--state", manager?.state ?? scratch.join("state")],
  ]);
  if (exitCode !== 0) throw new Error(stderr);
  return stdout.trim();
}

async function serve(name: string): Promise<ServedNode> {
  const shown = await token("create", "--user", name, "--scope", "node", "--node", name);
  const args = ["--manager", manager.address, "--name", name, "--cores", "2", "--prewarm", "0"];
  const served = await ServedNode.start(
    "127.0.0.1:0",
    [...args, "--state", scratch.join(name)],
    ["env", `RFAAS_TOKEN=${shown}`],
  );
  await until(() => served.stderr.includes("knows this node"), "the manager knows it");
  return served;
}

/** Where it listens, at a port that was free. */
const placeOf = ({ stderr }: ServedNode): string => / at (127\.0\.0\.1:\d+) /.exec(stderr)![1]!;

interface Held {
  rf: Invoker;
  lease: Lease<Good>;
  events: LeaseEvent[];
  of(type: LeaseEvent["type"]): LeaseEvent | undefined;
}

async function hold(options: {
  token?: string;
  tokenFile?: string;
  renewToken?(): string;
}): Promise<Held> {
  const rf = await invoker({ manager: manager.address, ...options });
  const lease = await rf.allocate<Good>(GOOD, { memory: "1MiB", polling: "warm" });
  const events: LeaseEvent[] = [];
  for (const type of ["revoking", "renewed", "lost"] as const)
    lease.on(type, (event) => void events.push(event));
  return { rf, lease, events, of: (type) => events.find((event) => event.type === type) };
}

/** Whether a call on the lease has its result. */
function calls({ lease }: Held): boolean {
  const input = lease.input(Uint8Array, 8).fill(7);
  const output = lease.output(Uint8Array, 8);
  try {
    return lease.invoke("echo", input, output) === 8;
  } finally {
    lease.free(input);
    lease.free(output);
  }
}

const idIn = async (user: string): Promise<string> => {
  const { tokens } = JSON.parse(await token("list", "--user", user, "--json")) as {
    tokens: { id: string }[];
  };
  return tokens[0]!.id;
};

describe("a token that is revoked", () => {
  test(
    "ends its leases by the deadline, after it has said so, and takes no other; leases of others go on",
    async () => {
      const stolen = await token("create", "--user", "eve", "--label", "on a laptop");
      const [eve, ada] = [
        await hold({ token: stolen }),
        await hold({ token: await token("create", "--user", "ada") }),
      ];
      expect(await token("list")).toContain("on a laptop");
      await token("revoke", await idIn("eve"), "--grace", "1s");
      await until(() => eve.of("revoking") !== undefined, "it is told");
      expect(eve.of("revoking")).toMatchObject({
        cause: "token-revoked",
        message: expect.stringContaining("was revoked"),
      });
      expect(eve.of("lost")).toBeUndefined();
      expect(eve.rf.allocate(GOOD, { memory: "1MiB" })).rejects.toThrow("was revoked");
      await until(() => eve.of("lost") !== undefined, "it is lost");
      expect(eve.of("lost")).toMatchObject({
        message: expect.stringContaining("the token that it was taken with was revoked"),
      });
      expect(calls(ada)).toBe(true);
      expect(ada.events.filter(({ type }) => type !== "renewed")).toEqual([]);
      expect(invoker({ manager: manager.address, token: stolen })).rejects.toThrow("was revoked");
      await Promise.all([eve.rf.close(), ada.rf.close()]);
    },
    LIMIT_MS,
  );

  test(
    "is so on a node that was away, and for a manager that was started anew",
    async () => {
      const other = await serve("n2");
      const text = await token("create", "--user", "bob");
      await other[Symbol.asyncDispose]();
      await token("revoke", "--user", "bob", "--grace", "0s");
      await manager.kill();
      await manager.restart();
      await using back = await serve("n2");
      expect(invoker({ manager: manager.address, token: text })).rejects.toThrow("was revoked");
      await until(async () => {
        const why = await invoker({ node: placeOf(back), token: text }).then(
          (rf) => rf.close(),
          (error: Error) => error.message,
        );
        return String(why).includes("was revoked");
      }, "the node refuses it, too");
      // And a new one of the same user counts.
      const fresh = await hold({ token: await token("create", "--user", "bob") });
      expect(calls(fresh)).toBe(true);
      await fresh.rf.close();
    },
    LIMIT_MS,
  );

  test(
    "is refused by a node without a manager once that has read the list again at SIGHUP, which ends its leases",
    async () => {
      const state = scratch.join("alone");
      const make = async (...args: string[]) =>
        (await rfaas(["token", ...args, "--state", state])).stdout.trim();
      const text = await make("create", "--user", "ada");
      await make("revoke", "--user", "nobody");
      await using alone = await ServedNode.start("127.0.0.1:0", [
        ...["--token-key", `${state}/token-key.pub`, "--cores", "1", "--prewarm", "0"],
        ...["--revoked-tokens", `${state}/revoked-tokens.json`, "--state", scratch.join("alone-n")],
      ]);
      await using rf = await invoker({ node: placeOf(alone), token: text });
      await using lease = await rf.allocate<Good>(GOOD, { memory: "1MiB" });
      const lost: string[] = [];
      lease.on("lost", ({ message }) => void lost.push(message));
      await make("revoke", "--user", "ada", "--grace", "0s");
      expect(lost).toEqual([]);
      process.kill(alone.pid, "SIGHUP");
      await until(() => lost.length > 0, "the lease ends");
      expect(lost[0]).toContain("was revoked");
      expect(invoker({ node: placeOf(alone), token: text })).rejects.toThrow("was revoked");
    },
    LIMIT_MS,
  );
});

describe("a lease whose token expires", () => {
  test(
    "hears of it first, and ends with it",
    async () => {
      const held = await hold({ token: await token("create", "--user", "ada", "--ttl", "6s") });
      await until(() => held.of("lost") !== undefined, "it ends", 30_000);
      expect(held.events.find(({ type }) => type !== "renewed")).toMatchObject({
        type: "revoking",
        cause: "token-expires",
      });
      expect(held.of("lost")).toMatchObject({ message: expect.stringContaining("has expired") });
      await held.rf.close();
    },
    LIMIT_MS,
  );

  test(
    "goes on by a newer token of its file, though it comes after the warning",
    async () => {
      const text = await token("create", "--user", "ada", "--ttl", "9s");
      const file = scratch.file("token", text);
      const held = await hold({ tokenFile: file });
      await until(() => held.of("revoking") !== undefined, "it is warned", 30_000);
      const expiresAt = (held.of("revoking") as { deadline: Date }).deadline.getTime();
      // It is printed without its holder's key, which the program has.
      const [newer] = /^[^.]+\.[^.]+\.[^.]+/.exec(await token("renew", text, "--ttl", "1h"))!;
      writeFileSync(`${file}.new`, newer);
      renameSync(`${file}.new`, file);
      await until(
        () => held.lease.parts[0]!.state === "up" && Date.now() > expiresAt + 500,
        "it goes on",
        30_000,
      );
      expect(held.of("lost")).toBeUndefined();
      expect(calls(held)).toBe(true);
      await held.rf.close();
    },
    LIMIT_MS,
  );

  test(
    "goes on by what the manager gives a token with the scope renew, again and again",
    async () => {
      const text = await token(
        "create",
        "--user",
        "ada",
        "--ttl",
        "4s",
        "--scope",
        "client,read,renew",
      );
      const startedMs = Date.now();
      const held = await hold({ token: text });
      await until(() => Date.now() > startedMs + 10_000, "two more lives are over", 30_000);
      expect(held.of("lost")).toBeUndefined();
      expect(calls(held)).toBe(true);
      await token("revoke", await idIn("ada"), "--grace", "0s");
      await until(() => held.of("lost") !== undefined, "all of them are revoked as one", 30_000);
      expect(held.of("lost")).toMatchObject({ message: expect.stringContaining("was revoked") });
      await held.rf.close();
    },
    LIMIT_MS,
  );

  test(
    "does not go on by a token of another user, or of another key",
    async () => {
      const given: string[] = [];
      const held = await hold({
        token: await token("create", "--user", "ada", "--ttl", "8s"),
        renewToken: () => given.at(-1)!,
      });
      given.push(await token("create", "--user", "eve"));
      await until(() => held.of("revoking") !== undefined, "it is warned", 30_000);
      given.push(await token("create", "--user", "ada"));
      await until(() => held.of("lost") !== undefined, "it ends", 30_000);
      expect(held.of("lost")).toMatchObject({ message: expect.stringContaining("has expired") });
      await held.rf.close();
    },
    LIMIT_MS,
  );
});

test(
  "tokens that are made at once, where there is neither key nor folder yet, are all of one key, which a manager that starts then asks for",
  async () => {
    using folder = new Scratch();
    const state = folder.join("state");
    const users = ["ada", "bob", "carol", "dora"];
    const started = RunningManager.start(folder.path);
    const made = await Promise.all(
      users.map((user) => rfaas(["token", "create", "--user", user, "--state", state])),
    );
    await using together = await started;
    expect(made.map(({ exitCode }) => exitCode)).toEqual([0, 0, 0, 0]);
    expect(made.map(({ stderr }) => stderr).join("")).not.toMatch(/ERROR|\n +at /);
    const { stdout } = await rfaas(["token", "list", "--json", "--state", state]);
    const { tokens } = JSON.parse(stdout) as { tokens: { user: string }[] };
    expect(tokens.map(({ user }) => user).toSorted()).toEqual(users);
    for (const one of made) {
      await using rf = await invoker({ manager: together.address, token: one.stdout.trim() });
      expect(rf.nodes()).toEqual([]);
    }
    // It has begun without a key, or with it.
    await until(async () => {
      const open = await invoker({ manager: together.address }).catch((error: Error) => error);
      if (open instanceof Error) return open.message.includes("a token is needed");
      await open.close();
      return false;
    }, "it asks for tokens");
  },
  LIMIT_MS,
);

test(
  "a key that is replaced verifies for the overlap, on nodes, too, and leases go on",
  async () => {
    const before = await token("create", "--user", "carol");
    const held = await hold({ token: before });
    await token("rotate", "--overlap", "1h");
    const after = await token("create", "--user", "carol");
    await until(() => manager.stderr.includes("there is a new key"), "the manager has it");
    for (const text of [before, after]) {
      const other = await hold({ token: text });
      expect(calls(other)).toBe(true);
      await other.rf.close();
    }
    expect(calls(held)).toBe(true);
    expect(held.of("lost")).toBeUndefined();
    await held.rf.close();
  },
  LIMIT_MS,
);

describe("a lease whose token's key is replaced", () => {
  /** A lease of a node without a manager, whose key and tokens lie in a directory of its own. */
  async function alone(name: string) {
    await using made = new AsyncDisposableStack();
    const state = scratch.join(name);
    const command = async (...args: string[]): Promise<string> =>
      (await rfaas(["token", ...args, "--state", state])).stdout.trim();
    const first = await command("create", "--user", "ada");
    const served = made.use(
      await ServedNode.start("127.0.0.1:0", [
        ...["--token-key", `${state}/token-key.pub`, "--cores", "2", "--prewarm", "0"],
        ...["--state", scratch.join(`${name}-node`)],
      ]),
    );
    // A command that uses the key writes the file of the public key.
    const reload = async (): Promise<void> => {
      await command("list");
      process.kill(served.pid, "SIGHUP");
    };
    const rf = made.use(await invoker({ node: placeOf(served), token: first }));
    const lease = made.use(await rf.allocate<Good>(GOOD, { memory: "1MiB" }));
    const events: LeaseEvent[] = [];
    for (const type of ["revoking", "lost"] as const)
      lease.on(type, (event) => void events.push(event));
    const all = made.move();
    const end = () => all.disposeAsync();
    return { command, served, reload, rf, lease, events, [Symbol.asyncDispose]: end };
  }

  test(
    "ends when its overlap does, after it has said so",
    async () => {
      await using made = await alone("overlap");
      const { command, reload, events } = made;
      await command("rotate", "--overlap", "8s");
      await reload();
      await until(() => events.length === 2, "it ends", 30_000);
      expect(events).toMatchObject([
        { type: "revoking", cause: "token-expires" },
        { type: "lost", message: expect.stringContaining("has expired") },
      ]);
    },
    LIMIT_MS,
  );

  test(
    "without overlap is revoked: warned at once, of an end that is near, and its program gets no other",
    async () => {
      await using made = await alone("no-overlap");
      const { command, served, reload, rf, lease, events } = made;
      await command("rotate", "--overlap", "0s");
      await reload();
      await until(() => events.length > 0, "it is warned");
      expect(events[0]).toMatchObject({ type: "revoking", cause: "token-revoked" });
      const why = "signed with a key that this cluster has replaced";
      expect(rf.allocate(GOOD, { memory: "1MiB" })).rejects.toThrow(why);
      const second = await command("create", "--user", "ada");
      await using other = await invoker({ node: placeOf(served), token: second });
      await using fresh = await other.allocate<Good>(GOOD, { memory: "1MiB" });
      const [ends, goesOn] = [lease, fresh].map(({ parts }) => parts[0]!);
      expect([ends!.state, goesOn!.state]).toEqual(["revoking", "up"]);
      expect(ends!.expiresAt.getTime()).toBeLessThan(Date.now() + 30_500);
    },
    LIMIT_MS,
  );
});
