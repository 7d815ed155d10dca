/**
 * A client that speaks the protocol and tries what is not its own: another user's leases, tokens that were not given, packages that lead
 * out of the cache, rooms that the node does not allow. Each time the same is said by who may, and is answered.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type AllocateOptions, type Lease, RfaasError, invoker } from "../../src/index.ts";
import { encodeManifest } from "../../src/package/contents/manifest.ts";
import { FrameReader, encodeFrame } from "../../src/protocol/frame.ts";
import { ServedNode } from "../support/executable.ts";
import { RawPeer } from "../support/raw-peer.ts";
import { Scratch } from "../support/scratch.ts";
import { Stranger, hello } from "../support/stranger.ts";
import { SigningCluster } from "../support/tokens.ts";
import { until } from "../support/until.ts";
import { FUNCTIONS } from "./stage.ts";
import { sandboxIsThere, SANDBOX } from "./which.ts";

const LIMIT_MS = 60_000;
const NOBODY = 65_534;
const VICTIM = join(FUNCTIONS, "victim.ts");
type Victim = typeof import("./functions/victim.ts");
const scratch = new Scratch();
const cluster = new SigningCluster();
let node: ServedNode;
let address: string;
let cache: string;

beforeAll(async () => {
  const key = scratch.join("key.pub");
  writeFileSync(key, cluster.publicKey);
  cache = scratch.join("cache");
  const args = ["--cores", "4", "--memory", "256MiB", "--token-key", key, "--fabric", "shm"];
  const places = ["--cache", cache, "--state", scratch.join("state")];
  const sandbox = ["--sandbox", sandboxIsThere ? SANDBOX : "none"];
  node = await ServedNode.start("127.0.0.1:0", [...args, ...places, ...sandbox]);
  address = `127.0.0.1:${node.port}`;
}, LIMIT_MS);
afterAll(async () => {
  await node?.[Symbol.asyncDispose]();
  scratch[Symbol.dispose]();
});

type Answer = { t: string; code?: string } & Record<string, unknown>;

/** What the node answers a client of this user to a request, after its greeting. */
async function asked(user: string, request: object): Promise<Answer> {
  using peer = await RawPeer.connect(address);
  peer.write(hello(await cluster.token({ user })));
  await until(() => peer.heard.length > 0, "a greeting");
  peer.send({ id: 1, ...request });
  await until(() => peer.heard.some((one) => one["id"] === 1) || peer.closed, "an answer");
  return (peer.heard.find((one) => one["id"] === 1) ?? peer.heard.at(-1)) as Answer;
}

/** What the node answers another user of its machine, who has bob's token. The last message is none, so that the node closes. */
async function strangerHears(...messages: object[]): Promise<Answer[]> {
  const said = [
    hello(await cluster.token({ user: "bob" })),
    ...messages.map((message) => encodeFrame(message)),
    encodeFrame({ t: "end" }),
  ];
  const where = { uid: NOBODY, port: node.port, mode: "all" } as const;
  return new FrameReader().push(stranger!.connect(where, Buffer.concat(said))) as Answer[];
}

async function adasLease() {
  const stack = new AsyncDisposableStack();
  const rf = stack.use(await invoker({ node: address, token: await cluster.token() }));
  const lease = stack.use(await rf.allocate<Victim>(VICTIM, { memory: "1MiB" }));
  const work = lease.function("work");
  expect(await work(4)).toBe(30);
  return { rf, lease, work, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

/** As the node numbers it: its only one, which its own user sees. */
async function numberOfLease(): Promise<number> {
  const { shown } = (await asked("ada", { t: "list-leases" })) as unknown as {
    shown: { lease: number }[];
  };
  return shown[0]!.lease;
}

const asRoot = process.getuid!() === 0;
if (!asRoot) console.error("SKIPPED: a client that is another user of the machine: it needs root");
const stranger = asRoot ? new Stranger(scratch) : undefined;

describe.skipIf(!asRoot)("of another user's lease, a client", () => {
  test.each([
    ["sees nothing", { t: "list-leases" }],
    ["renews nothing", { t: "renew", ttlMs: 1 }],
    ["reads no bill", { t: "get-usage" }],
    ["ends nothing", { t: "release" }],
  ])(
    "%s, though its own user does",
    async (_, request) => {
      await using held = await adasLease();
      const lease = await numberOfLease();
      const before = await held.lease.usage();
      const heard = await strangerHears({ id: 1, ...request, lease });
      // Of a lease that it has not, the answer to a release has nothing to wait for, nor the connection for it.
      const found = heard.find((one) => one["id"] === 1) ?? { t: "failed" };
      if (request.t === "list-leases") expect(found["shown"]).toEqual([]);
      else if (request.t !== "release") expect(found.t).toBe("failed");
      // Its own user is answered, and sees what it cost.
      const rights = await asked("ada", { t: "list-leases" });
      expect(rights["shown"]).toMatchObject([{ lease, user: "ada" }]);
      expect(await held.work(4)).toBe(30);
      const after = await held.lease.usage();
      expect(after.calls).toBe(before.calls + 1);
      await held.lease.release();
    },
    LIMIT_MS,
  );

  test(
    "aborts no call, and takes no notice for its own",
    async () => {
      await using held = await adasLease();
      const lease = await numberOfLease();
      const calls = Array.from({ length: 20 }, () => held.work(2_000_000));
      const notices = Array.from({ length: 8 }, (_, slot) =>
        ["abort", "redeem"].map((t) => ({ t, lease, worker: 0, slot, sequence: slot + 1 })),
      );
      const heard = await strangerHears(...notices.flat());
      expect(heard[0]!.t).toBe("welcome");
      const answers = new Set(await Promise.all(calls));
      expect(answers.size).toBe(1);
    },
    LIMIT_MS,
  );
});

/** The class and the code of an error of the library. */
async function refusal(run: () => Promise<unknown>): Promise<string> {
  try {
    await run();
    return "let in";
  } catch (error) {
    if (!(error instanceof RfaasError)) throw error;
    return String(error.code);
  }
}

describe("a token", () => {
  const greets = (token: string): Promise<string> =>
    refusal(async () => {
      await using rf = await invoker({ node: address, token });
      await rf.status();
    });
  const changed = async (change: (parts: string[]) => string[]): Promise<string> =>
    change((await cluster.token()).split(".")).join(".");
  const claims = (part: string, more: object): string =>
    Buffer.from(
      JSON.stringify({ ...JSON.parse(Buffer.from(part, "base64url").toString()), ...more }),
    ).toString("base64url");
  /** The part that holds the claims. */
  const PART = 1;
  const FORGERIES: [name: string, make: () => Promise<string>][] = [
    [
      "of which the user was changed",
      () =>
        changed((parts) =>
          parts.map((part, i) => (i === PART ? claims(part, { user: "bob" }) : part)),
        ),
    ],
    [
      "whose time was extended",
      () =>
        changed((parts) =>
          parts.map((part, i) => (i === PART ? claims(part, { expiresAtMs: null, iat: 1 }) : part)),
        ),
    ],
    ["without its signature", () => changed((parts) => [...parts.slice(0, -1), ""])],
    [
      "with a signature of zeros",
      () => changed((parts) => [...parts.slice(0, -1), "A".repeat(86)]),
    ],
    [
      "of another cluster with the same name",
      () => new SigningCluster("test").token({ user: "ada" }),
    ],
    ["of the past", () => cluster.token({ expiresAtMs: 1000 })],
    ["with a space before it", async () => ` ${await cluster.token()}`],
    ["that says that it needs no signature", async () => "eyJhbGciOiJub25lIn0.e30."],
  ];
  test.each(FORGERIES)(
    "%s is refused, and the one that was given is not",
    async (_, make) => {
      expect(await greets(await make())).toMatch(
        /^RFAAS_(?:FORBIDDEN|UNAUTHORIZED|TOKEN\w*|USAGE)$/,
      );
      expect(await greets(await cluster.token())).toBe("let in");
    },
    LIMIT_MS,
  );
});

describe("a package", () => {
  const text = new TextEncoder().encode("export const f = () => 0;");
  const sha256 = createHash("sha256").update(text).digest("hex");
  const manifest = (path: string): Uint8Array =>
    encodeManifest({
      ...{ format: 1, name: "f.js", entry: path },
      files: [{ path, bytes: text.length, sha256, executable: false }],
    });
  const hashOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
  const offered = (bytes: Uint8Array, hash = hashOf(bytes)): Promise<Answer> =>
    asked("bob", { t: "offer-package", upload: 1, hash, manifest: bytes });

  test.each([
    ...["../f.js", "a/../../f.js", "/tmp/f.js", "a//f.js", "./f.js", "a/..", "f.js/", ""],
    ...["a\\..\\f.js", "f\0.js", `${"a/".repeat(600)}f.js`],
  ])("with a file at %j is refused, as one within it is not", async (path) => {
    const refused = await offered(manifest(path));
    expect(refused.t).toBe("failed");
    expect((await offered(manifest("a/f.js"))).t).toBe("offer-package-reply");
    expect(readdirSync(join(cache, "packages-1", "stored"))).not.toContain("f.js");
  });

  test("with another hash than its own is refused", async () => {
    expect((await offered(manifest("g.js"), "0".repeat(64))).t).toBe("failed");
    expect((await offered(manifest("g.js"))).t).toBe("offer-package-reply");
  });

  test("of other bytes than it says is refused when they have come", async () => {
    using peer = await RawPeer.connect(address);
    peer.write(hello(await cluster.token({ user: "bob" })));
    const bytes = manifest("h.js");
    const send = (upload: number, content: Uint8Array): void =>
      peer.send(
        { t: "offer-package", id: upload, upload, hash: hashOf(bytes), manifest: bytes },
        { t: "package-chunk", id: upload + 10, upload, bytes: content },
      );
    const answer = (id: number) => peer.heard.find((one) => one["id"] === id);
    send(
      1,
      text.map((byte) => byte ^ 1),
    );
    await until(() => answer(11) !== undefined, "an answer to wrong bytes");
    expect(answer(11)!["t"]).toBe("failed");
    send(2, text);
    await until(() => answer(12) !== undefined, "an answer to right ones");
    expect(answer(12)).toMatchObject({ t: "package-chunk-reply", stored: true });
  });

  test(
    "that is offered without its bytes keeps no room from others",
    async () => {
      using peer = await RawPeer.connect(address);
      peer.write(hello(await cluster.token({ user: "bob" })));
      for (let upload = 1; upload <= 8; upload++) {
        const bytes = encodeManifest({
          ...{ format: 1, name: "big.js", entry: "big.js" },
          files: [
            {
              path: "big.js",
              bytes: 250_000_000,
              sha256: hashOf(new Uint8Array([upload])),
              executable: false,
            },
          ],
        });
        peer.send({ t: "offer-package", id: upload, upload, hash: hashOf(bytes), manifest: bytes });
      }
      await until(() => peer.heard.filter((one) => one["id"] !== undefined).length >= 8, "answers");
      const file = scratch.file("small.ts", "export const f = () => 0;");
      await using rf = await invoker({ node: address, token: await cluster.token() });
      await using lease = await rf.allocate(file, { memory: "1MiB" });
      const view = lease.input(Uint8Array, 8);
      expect(await lease.submit("f", view, view)).toBe(0);
    },
    LIMIT_MS,
  );
});

describe("a lease", () => {
  const allocated = (module: string, options: AllocateOptions = {}): Promise<string> =>
    refusal(async () => {
      await using rf = await invoker({ node: address, token: await cluster.token() });
      await using lease: Lease = await rf.allocate(module, { memory: "1MiB", ...options });
      expect(lease.functions.length).toBeGreaterThan(0);
    });

  test.each([
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "BUN_OPTIONS",
    "RFAAS_TOKEN",
    "GLIBC_TUNABLES",
    "JSC_useJIT",
  ])(
    "cannot set %s, which says how its process starts, and can set another variable",
    async (name) => {
      expect(await allocated(VICTIM, { env: { [name]: "/tmp/x.so" } })).toBe("RFAAS_NOT_ALLOWED");
      expect(await allocated(VICTIM, { env: { COLOUR: "blue" } })).toBe("let in");
    },
    LIMIT_MS,
  );

  test.skipIf(!sandboxIsThere).each(["network", "processes"] as const)(
    "gets no %s from a node that does not allow it, as it does from one that has no sandbox",
    async (wish) => {
      expect(await allocated(VICTIM, { [wish]: true })).toBe("RFAAS_NOT_ALLOWED");
      await using open = await ServedNode.start(scratch.join("open.sock"), ["--sandbox", "none"]);
      await using rf = await invoker({ node: open.address });
      await using lease = await rf.allocate(VICTIM, { memory: "1MiB", [wish]: true });
      expect(lease.functions).toContain("work");
    },
    LIMIT_MS,
  );

  test.each([
    "/etc/passwd",
    "../../etc/passwd",
    "rfaas:../echo",
    "file:///etc/passwd",
    `package:${"0".repeat(64)}`,
  ])(
    "of the module %j is refused by the node, as one of its own is not",
    async (module) => {
      const request = {
        ...{
          t: "allocate",
          workers: 1,
          memoryBytes: 65536,
          slots: 4,
          polling: "warm",
          spinNs: null,
        },
        ...{ loadTimeoutMs: 1000, ttlMs: 1000, budget: {}, fabric: "shm" },
        mailbox: new Uint8Array(5).fill(97),
      };
      const refused = await asked("bob", { ...request, module });
      expect(refused.t).toBe("failed");
      expect(await allocated("rfaas:echo")).toBe("let in");
    },
    LIMIT_MS,
  );
});

describe("bytes that are no message", () => {
  test.each([
    ["a frame of four gigabytes", new Uint8Array([255, 255, 255, 255, 1])],
    ["a frame that is cut", new Uint8Array([10, 0, 0, 0, 1])],
    ["noise", new Uint8Array(4096).map((_, i) => (i * 167) & 255)],
    ["a request of HTTP", new TextEncoder().encode("GET / HTTP/1.1\r\nHost: x\r\n\r\n")],
  ])("%s ends its own connection at most", async (_, bytes) => {
    await using held = await adasLease();
    using peer = await RawPeer.connect(address);
    peer.write(hello(await cluster.token({ user: "bob" })));
    await until(() => peer.find("welcome") !== undefined, "a sound greeting is answered");
    peer.write(bytes);
    expect(await held.work(4)).toBe(30);
    expect((await asked("ada", { t: "get-status" })).t).toBe("get-status-reply");
  });
});
