/** Leases whose data is encrypted: asked for by the program, demanded by the node, and refused where it cannot be. */
import { afterEach, describe, expect, test } from "bun:test";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import {
  FabricUnavailable,
  type Invoker,
  type Lease,
  LeaseRefused,
  invoker,
} from "../../src/index.ts";
import { Relay } from "../fabric/tcp-relay.ts";
import { FUNCTIONS, RFAAS, ServedNode, rfaas } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

type Good = typeof import("../functions/good.ts");
const GOOD = join(FUNCTIONS, "good.ts");
const LIMIT_MS = 60_000;
const WORDS = "what the client says to its function, and to nobody else. ";
process.env["RFAAS_EXECUTABLE"] = RFAAS;

const stack: (Disposable | AsyncDisposable)[] = [];
afterEach(async () => {
  for (const one of stack.splice(0).toReversed())
    if (Symbol.asyncDispose in one) await one[Symbol.asyncDispose]();
    else one[Symbol.dispose]();
});
function keep<T extends Disposable | AsyncDisposable>(one: T): T {
  stack.push(one);
  return one;
}

const serve = async (...args: string[]): Promise<ServedNode> =>
  keep(await ServedNode.start("127.0.0.1:0", ["--cores", "48", ...args]));
const connect = async (port: number, options: object = {}): Promise<Invoker> =>
  keep(await invoker({ node: `127.0.0.1:${port}`, ...options }));
const take = async (rf: Invoker, options: object = {}): Promise<Lease<Good>> =>
  keep(await rf.allocate<Good>(GOOD, { memory: "1MiB", ...options }));

async function echoes(held: Lease<Good>, bytes: number, worker = 0): Promise<void> {
  const input = held.input(Uint8Array, bytes);
  input.set(Buffer.from(WORDS.repeat(Math.ceil(bytes / WORDS.length))).subarray(0, bytes));
  const output = held.output(Uint8Array, bytes);
  expect(await held.submit("echo", input, output, { worker })).toBe(bytes);
  expect(Buffer.compare(Buffer.from(output), Buffer.from(input))).toBe(0);
}

describe("the data of a lease over tcp", () => {
  test.each<[string, string[], object, boolean]>([
    ["the program asks for it", [], { encrypt: true }, true],
    ["the node demands it", ["--encrypt"], {}, true],
    ["both do", ["--encrypt"], { encrypt: true }, true],
    ["neither does", [], { encrypt: false }, false],
  ])(
    "is encrypted where %s, which who listens sees of it",
    async (_, args, options, encrypted) => {
      const node = await serve("--fabric", "tcp", ...args);
      const relay = keep(await Relay.open(node.port));
      const held = await take(await connect(relay.port, options), { workers: 2 });
      expect([held.fabric, held.encrypted, held.parts[0]!.encrypted]).toEqual([
        "tcp",
        encrypted,
        encrypted,
      ]);
      for (const worker of [0, 1]) await echoes(held, 10_000, worker);
      expect(relay.seen.includes(WORDS)).toBe(!encrypted);
    },
    LIMIT_MS,
  );

  test(
    "is encrypted for every worker of many, and payloads of any size",
    async () => {
      const rf = await connect((await serve("--fabric", "tcp")).port, { encrypt: true });
      const held = await take(rf, { workers: 24, memory: "96MiB" });
      expect(held.encrypted).toBe(true);
      const each = Array.from({ length: 24 }, (_, worker) =>
        echoes(held, 10 + 1000 * worker, worker),
      );
      await Promise.all(each);
      const many = [1, 16_384, 16_385, 1_000_000, 4_000_000].map((bytes, i) =>
        echoes(held, bytes, i),
      );
      await Promise.all(many);
    },
    LIMIT_MS,
  );

  test(
    "is read and written in its region while its workers are busy, encrypted",
    async () => {
      const rf = await connect((await serve("--fabric", "tcp", "--encrypt")).port);
      const held = await take(rf);
      const never = held.submit("pending", held.input(Uint8Array, 8), held.output(Uint8Array, 8));
      never.catch(() => {});
      const remote = held.remote(40_000);
      const mine = held.input(Uint8Array, 40_000).fill(7);
      remote.write(0, mine);
      const back = held.output(Uint8Array, 40_000);
      remote.read(0, back);
      expect(Buffer.compare(Buffer.from(back), Buffer.from(mine))).toBe(0);
    },
    LIMIT_MS,
  );

  test("is not where nothing travels: one machine's memory needs no encryption", async () => {
    const rf = await connect((await serve("--encrypt")).port, { encrypt: true });
    const held = await take(rf);
    expect([held.fabric, held.encrypted]).toEqual(["shm", false]);
    await echoes(held, 100);
  });
});

const own = Object.values(networkInterfaces())
  .flatMap((addresses) => addresses ?? [])
  .find(({ family, internal }) => family === "IPv4" && !internal)?.address;
if (own === undefined) console.warn("skipped, this machine is in no network: what leaves it");
test.skipIf(own === undefined)(
  "who listens at the network sees neither what is asked for nor what is called",
  async () => {
    const state = keep(new Scratch());
    const args = ["--cores", "1", "--fabric", "tcp", "--encrypt", "--allow-remote"];
    const node = keep(await ServedNode.start(`${own}:0`, [...args, "--state", state.path]));
    await until(() => node.stderr.includes("?key=sha256:"), "it says by which key it is known");
    const key = /\?(key=sha256:[0-9a-f]+)/.exec(node.stderr)![1]!;
    const relay = keep(await Relay.open(node.port, own));
    const rf = keep(await invoker({ node: `rfaas://${own}:${relay.port}?${key}` }));
    const held = await take(rf);
    expect(held.encrypted).toBe(true);
    await echoes(held, 10_000);
    // Two connections of data and one of control.
    expect(relay.passages).toHaveLength(3);
    for (const words of [WORDS, "allocate", "package:"])
      expect(relay.seen.includes(words)).toBe(false);
  },
  LIMIT_MS,
);

describe("what cannot be encrypted", () => {
  test("is refused where RDMA is asked for, by name", async () => {
    const why = "the fabric verbs does not encrypt what it sends; take tcp, or leave --encrypt out";
    for (const command of [["serve"], ["invoke", `${GOOD}#echo`, "--json", "7"]]) {
      const { exitCode, stderr } = await rfaas([...command, "--fabric", "verbs", "--encrypt"]);
      expect(stderr).toContain(why);
      expect(exitCode).toBe(1);
    }
    await expect(invoker({ fabric: "verbs", encrypt: true })).rejects.toBeInstanceOf(
      FabricUnavailable,
    );
  });

  test("is what who listens could decrypt: a secret in clear is refused on both sides", async () => {
    const served = await rfaas(["serve", "--listen", "127.0.0.1:0", "--encrypt", "--insecure"]);
    expect(served.stderr).toContain("--insecure lets the secrets travel in clear");
    expect(served.exitCode).toBe(2);
    // An address of documentation, which is not asked.
    const args = ["invoke", `${GOOD}#echo`, "--json", "7", "--node", "192.0.2.1:7700"];
    const invoked = await rfaas([...args, "--encrypt", "--insecure"]);
    expect(invoked.stderr).toContain("the connection to 192.0.2.1:7700 would be in clear");
    expect(invoked.exitCode).toBe(2);
  });

  describe("without libssl", () => {
    /** The loader finds a file of its name that is no library. */
    const without = (): { LD_LIBRARY_PATH: string } => {
      const scratch = keep(new Scratch());
      scratch.file("libssl.so.3", "no library");
      return { LD_LIBRARY_PATH: scratch.path };
    };
    const WHY = "libssl.so.3 cannot be opened; install OpenSSL 3: libssl3 (Debian, Ubuntu)";

    test("is refused by a node that is to demand it, and by a client that wants it", async () => {
      const env = without();
      const served = await rfaas(["serve", "--listen", "127.0.0.1:0", "--encrypt"], { env });
      expect(served.stderr).toContain(WHY);
      expect(served.exitCode).toBe(1);
      const node = await serve("--fabric", "tcp");
      const args = ["invoke", `${GOOD}#echo`, "--json", "7", "--node", `127.0.0.1:${node.port}`];
      const invoked = await rfaas([...args, "--encrypt"], { env });
      expect(invoked.stderr).toContain(WHY);
      expect(invoked.exitCode).toBe(1);
      expect(await rfaas(args, { env })).toMatchObject({ exitCode: 0, stdout: "7\n" });
    });

    test("is refused by a client whose node demands it, and by a node whose client wants it", async () => {
      const env = without();
      const demanding = await serve("--fabric", "tcp", "--encrypt");
      const args = ["invoke", `${GOOD}#echo`, "--json", "7", "--node"];
      const refused = await rfaas([...args, `127.0.0.1:${demanding.port}`], { env });
      expect(refused.stderr).toContain(`the node asks for encrypted data, and ${WHY}`);
      const lacking = keep(
        await ServedNode.start(
          "127.0.0.1:0",
          ["--fabric", "tcp", "--cores", "2"],
          ["env", `LD_LIBRARY_PATH=${env.LD_LIBRARY_PATH}`],
        ),
      );
      const rf = await connect(lacking.port, { encrypt: true });
      const error: unknown = await take(rf).catch((error: unknown) => error);
      expect(error).toBeInstanceOf(LeaseRefused);
      expect((error as LeaseRefused).message).toContain(
        `on the node, what the fabric tcp sends cannot be encrypted: ${WHY}`,
      );
      await echoes(await take(await connect(lacking.port)), 100);
    });
  });
});
