/** `rfaas ps --node`: what runs on one node, and who may see it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { EXIT } from "../../src/base/errors.ts";
import { invoker } from "../support/library.ts";
import { FrameReader, encodeFrame } from "../../src/protocol/frame.ts";
import type { Leases } from "../../src/protocol/messages.ts";
import { FUNCTIONS, RFAAS, ServedNode, rfaas } from "../support/executable.ts";
import { FABRIC, onOneMachine } from "../support/fabric.ts";
import { Scratch } from "../support/scratch.ts";
import { Stranger, hello } from "../support/stranger.ts";
import { SigningCluster } from "../support/tokens.ts";
import { until } from "../support/until.ts";

const GOOD = join(FUNCTIONS, "good.ts");
const NOBODY = 65_534;
const scratch = new Scratch();
const cluster = new SigningCluster();
let node: ServedNode;
let address: string;

beforeAll(async () => {
  const key = scratch.join("key.pub");
  writeFileSync(key, cluster.publicKey);
  node = await ServedNode.start("127.0.0.1:0", ["--cores", "4", "--token-key", key]);
  address = `127.0.0.1:${node.port}`;
});
afterAll(async () => {
  await node?.[Symbol.asyncDispose]();
  scratch[Symbol.dispose]();
});

/** Leases for two users, and a call for each worker of the first. */
async function twoLeases() {
  const stack = new AsyncDisposableStack();
  const [ada, bob] = [
    stack.use(await invoker({ node: address, token: await cluster.token({ user: "ada" }) })),
    stack.use(await invoker({ node: address, token: await cluster.token({ user: "bob" }) })),
  ];
  const lease = stack.use(await ada.allocate(GOOD, { workers: 2, memory: "1MiB" }));
  stack.use(await bob.allocate(GOOD, { memory: "1MiB" }));
  const view = lease.input(Uint8Array, 8);
  for (const worker of [0, 1]) await lease.submit("echo", view, view, { worker });
  return stack;
}

describe("rfaas ps --node", () => {
  test("shows the owner every lease, as a table and as JSON, without a manager", async () => {
    await using _ = await twoLeases();
    const { stdout, exitCode } = await rfaas(["ps", "--node", address]);
    expect(exitCode).toBe(EXIT.ok);
    expect(stdout).toMatch(new RegExp(`^${address} +up +1/4 `, "m"));
    expect(stdout).toMatch(/^\d+ +ada +good\.ts +active +2 +2 +\d+\.\d{3} +2 /m);
    expect(stdout).toMatch(/^\d+ +bob +good\.ts +active +1 +1 +\d+\.\d{3} +0 /m);

    const json = JSON.parse((await rfaas(["ps", "--node", address, "--json"])).stdout);
    expect(json.node).toMatchObject({ address, state: "up", cores: 4, freeCores: 1, leases: 2 });
    expect(
      json.leases.map(({ user, workers }: { user: string; workers: number }) => [user, workers]),
    ).toEqual([
      ["ada", 2],
      ["bob", 1],
    ]);
    expect(json.leases[0]).toMatchObject({ fabric: FABRIC, usage: { calls: 2, bytes: 32 } });
  });

  test("needs no option where RFAAS_NODE names the node, and says when nothing is leased", async () => {
    const { stdout } = await rfaas(["ps"], { env: { RFAAS_NODE: address, RFAAS_MANAGER: "" } });
    expect(stdout).toContain("no leases\n");
  });

  onOneMachine("a host is kept").test("says how many hosts are kept", async () => {
    await using rf = await invoker({ node: address, token: await cluster.token({ user: "ada" }) });
    const lease = await rf.allocate(join(FUNCTIONS, "keeps.ts"), { keepWarmMs: 60_000 });
    await lease.release();
    const { stdout } = await rfaas(["ps", "--node", address]);
    expect(stdout).toEndWith("\nhosts kept for another lease: 1\n");
  });

  test("shows it again until it is interrupted", async () => {
    const child = Bun.spawn([RFAAS, "ps", "--node", address, "--watch", "--json"], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let text = "";
    const reading = (async () => {
      for await (const part of child.stdout.pipeThrough(new TextDecoderStream())) text += part;
    })();
    const users = () =>
      text
        .trim()
        .split("\n")
        .map((line) => (line ? JSON.parse(line).leases.length : undefined));
    await until(() => text.includes("\n") && users()[0] === 0, "nothing is leased");
    {
      await using _ = await twoLeases();
      await until(() => users().includes(2), "both leases show");
    }
    await until(() => users().at(-1) === 0, "they are gone");
    child.kill("SIGINT");
    expect(await child.exited).toBe(EXIT.ok);
    await reading;
  }, 60_000);

  test.each([
    [
      "both a manager and a node",
      ["--manager", "a:1", "--node", "b:1"],
      EXIT.usage,
      "exclude each other",
    ],
    ["neither", [], EXIT.usage, "give --manager or --node"],
    ["a node that is not there", ["--node", "./no.sock"], EXIT.noExecutor, "no node answers at"],
  ])("refuses %s", async (_, args, code, says) => {
    const { exitCode, stderr } = await rfaas(["ps", ...args], {
      env: { RFAAS_NODE: "", RFAAS_MANAGER: "" },
    });
    expect(exitCode).toBe(code);
    expect(stderr).toContain(says);
  });
});

const asRoot = process.getuid?.() === 0;
if (!asRoot) console.warn("skipped, needs root: what another user sees of a node's leases");
describe.skipIf(!asRoot)("another user", () => {
  const stranger = asRoot ? new Stranger(scratch) : undefined;

  /** What a client with this token is answered. The last message is none, so that the node closes. */
  function ask(token: string | null): { t: string; code?: string }[] {
    const said = [
      hello(token),
      encodeFrame({ t: "list-leases", id: 1 }),
      encodeFrame({ t: "end" }),
    ];
    const heard = stranger!.connect(
      { uid: NOBODY, port: node.port, mode: "all" },
      Buffer.concat(said),
    );
    return new FrameReader().push(heard) as { t: string; code?: string }[];
  }

  test("sees the leases of the user that its token names, and how many there are", async () => {
    await using _ = await twoLeases();
    const listing = ask(await cluster.token({ user: "bob" })).find(
      ({ t }) => t === "list-leases-reply",
    ) as unknown as Leases;
    expect(listing.shown.map(({ user, workers }) => [user, workers])).toEqual([["bob", 1]]);
    expect(listing).toMatchObject({ total: 2, freeCores: 1 });
  });

  test("without a token sees nothing", () => {
    expect(ask(null)).toEqual([expect.objectContaining({ t: "refused", code: "RFAAS_FORBIDDEN" })]);
  });
});
