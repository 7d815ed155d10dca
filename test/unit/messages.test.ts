import { describe, expect, test } from "bun:test";
import { ProtocolError } from "../../src/base/errors.ts";
import { PROTOCOL_VERSION, clientVocabulary, nodeVocabulary } from "../../src/protocol/messages.ts";
import { agentVocabulary, hostVocabulary } from "../../src/protocol/host-messages.ts";

const exported = { functions: ["echo", "default"], others: { VERSION: "string" } };
const nonce = new Uint8Array(16);
const hash = "0123456789abcdef".repeat(4);
const mailbox = new Uint8Array(5);
const allocate = {
  t: "allocate",
  id: 1,
  module: "rfaas:echo",
  workers: 2,
  memoryBytes: 4096,
  slots: 64,
  polling: null,
  spinNs: null,
  loadTimeoutMs: 10_000,
  ttlMs: 60_000,
  budget: {},
  fabric: "shm",
  mailbox,
};
const granted = {
  t: "allocate-reply",
  id: 1,
  lease: 1,
  nonce,
  hostPid: 4711,
  exports: exported,
  cpus: [3, -1],
  slots: 64,
  polling: "adaptive",
  spinNs: 0,
  listening: null,
  expiresInMs: 60_000,
  prewarmed: true,
  grantNs: 1.5,
  spawnNs: 0,
  loadNs: 2e6,
};
const attach = {
  t: "attach",
  id: 1,
  nonce: nonce.toHex(),
  workers: 2,
  coresPerWorker: 1,
  cpus: [3, -1],
  slots: 64,
  polling: "hot",
  module: "rfaas:echo",
  moduleName: "rfaas:echo",
  heapBytes: 1,
  listen: null,
  lease: 1,
  loadTimeoutMs: 1,
  keepWarm: true,
};
const line = { worker: 1, level: "warn", message: "m", data: null, atMs: 1.5e12, dropped: 0 };
const report = { worker: 0, slot: 3, sequence: 9, fraction: 0.5, message: null, dropped: 2 };
const listed = {
  lease: 1,
  user: "ada",
  module: "fn.ts",
  workers: 2,
  coresPerWorker: 1,
  memoryBytes: 4096,
  fabric: "shm",
  phase: "loading",
  startedAtMs: 1.5e12,
  usage: { allocationCoreNs: 0, executionNs: 0, pollingNs: 0, calls: 0, bytes: 0 },
};
const free = { freeCores: 0, freeMemoryBytes: 0 };
const client = [
  { t: "hello", protocol: 1, version: "0", pid: 1, fabrics: ["shm"], machine: "m" },
  allocate,
  { ...allocate, polling: "warm", spinNs: 0, budget: { calls: 10 } },
  { t: "withdraw", request: 1 },
  { t: "redeem", lease: 1 },
  { t: "renew", id: 1, lease: 1, ttlMs: null },
  { t: "renew", id: 1, lease: 1, ttlMs: 1 },
  { t: "get-usage", id: 1, lease: 1 },
  { t: "release", id: 1, lease: 0xffffffff },
  { t: "abort", lease: 1, worker: 0, slot: 0, sequence: 0 },
  { t: "get-status", id: 1 },
  { t: "list-leases", id: 1 },
  { t: "offer-package", id: 1, upload: 1, hash, manifest: new Uint8Array(9) },
  { t: "package-chunk", id: 1, upload: 1, bytes: new Uint8Array(1) },
  { t: "drop-offer", upload: 1 },
  { t: "list-packages", id: 1 },
  { t: "remove-package", id: 1, hash },
];
const node = [
  {
    t: "welcome",
    protocol: 1,
    version: "0",
    pid: 1,
    cores: 2,
    memoryBytes: 2 ** 40,
    fabrics: ["shm"],
  },
  { t: "refused", code: "RFAAS_PROTOCOL", message: "no" },
  { t: "renew-reply", id: 1, expiresInMs: 0.5 },
  { t: "revoking", lease: 1, deadlineInMs: 30_000, message: "m" },
  {
    t: "get-usage-reply",
    id: 1,
    usage: { allocationCoreNs: 1.5, executionNs: 0, pollingNs: 0, calls: 2 ** 53, bytes: 0 },
  },
  granted,
  { t: "failed", id: 1, code: "RFAAS_NODE_FULL", message: "full" },
  { t: "failed", id: 1, code: "X", message: "", error: { name: "E", message: "m", stack: "s" } },
  { t: "lost", lease: 1, message: "gone" },
  { t: "worker-lost", lease: 1, worker: 0, message: "gone" },
  { t: "log", lease: 1, line },
  { t: "log", lease: 1, line: { ...line, data: '{"n":1}' } },
  { t: "progress", lease: 1, report },
  { t: "release-reply", id: 1 },
  { t: "draining" },
  { t: "get-status-reply", id: 1, ...free, leases: 0, prewarmedHosts: 0 },
  { t: "list-leases-reply", id: 1, ...free, draining: false, total: 2, shown: [listed] },
  { t: "offer-package-reply", id: 1, files: [0, 2], stored: false },
  { t: "package-chunk-reply", id: 1, storedBytes: 2 ** 40, stored: true },
  {
    t: "list-packages-reply",
    id: 1,
    packages: [{ hash, name: "fn.ts", bytes: 0, usedAtMs: 0.5, leases: 0 }],
  },
  { t: "remove-package-reply", id: 1 },
];
const agent = [
  attach,
  { t: "host-abort", worker: 0, slot: 3, sequence: 9, gently: true },
  { t: "reload", id: 1, module: "/cache/fn.js", moduleName: "fn.ts" },
  { t: "rest", id: 1, nonce: nonce.toHex() },
  { t: "detach" },
];
const host = [
  { t: "ready", protocol: 1 },
  { t: "attach-reply", id: 1, exports: exported, loadNs: 0, port: null },
  { t: "reload-reply", id: 1 },
  { t: "rest-reply", id: 1, left: "a timer" },
  { t: "client-lost", message: "m" },
  { t: "failed", id: 1, code: "X", message: "m", error: { name: "SyntaxError", message: "m" } },
  { t: "worker-ended", worker: 0, message: "m" },
  { t: "host-log", line },
  { t: "host-progress", report },
];

describe.each([
  ["a client", clientVocabulary, client],
  ["a node", nodeVocabulary, node],
  ["an agent", agentVocabulary, agent],
  ["a host", hostVocabulary, host],
] as const)("what %s says", (_, vocabulary, messages) => {
  test("passes when it is sound, as the very object that came", () => {
    for (const message of messages) expect(vocabulary.parse(message) as unknown).toBe(message);
  });

  test("is refused when any of its required fields is missing, and the field is named", () => {
    for (const message of messages)
      for (const field of Object.keys(message)) {
        if (field === "t" || field === "error" || field === "stack") continue;
        const { [field]: _missing, ...rest } = message as Record<string, unknown>;
        expect(() => vocabulary.parse(rest)).toThrow(ProtocolError);
        expect(() => vocabulary.parse(rest)).toThrow(`"${message.t}" is malformed at /${field}:`);
      }
  });

  test("is refused when a field is of another type, and the field is named", () => {
    for (const message of messages)
      for (const field of Object.keys(message)) {
        if (field === "t") continue;
        const wrong = { ...message, [field]: Symbol("no message has one") };
        expect(() => vocabulary.parse(wrong)).toThrow(ProtocolError);
        expect(() => vocabulary.parse(wrong)).toThrow(`malformed at /${field}`);
      }
  });

  test("is not understood from the other side", () => {
    const others = [clientVocabulary, nodeVocabulary, agentVocabulary, hostVocabulary];
    for (const other of others.filter((each) => each !== vocabulary))
      expect(() => other.parse(messages[0])).toThrow("unknown control message");
  });
});

test.each<[unknown]>([
  [null],
  [undefined],
  [1],
  ["hello"],
  [[]],
  [{}],
  [{ T: "hello" }],
  [{ t: null }],
  [{ t: 5 }],
])("%j is no control message", (message) => {
  expect(() => clientVocabulary.parse(message)).toThrow(ProtocolError);
  expect(() => clientVocabulary.parse(message)).toThrow("unknown control message");
});

test.each(["greet", "", "constructor", "__proto__", "HELLO"])(
  "the type %j is unknown and named in the error",
  (t) => {
    expect(() => clientVocabulary.parse({ t })).toThrow(ProtocolError);
    expect(() => clientVocabulary.parse({ t })).toThrow(`message ${JSON.stringify(t)};`);
  },
);

test("a kind of message that was prepared ahead of time is checked like any other", () => {
  clientVocabulary.prepare("release");
  const release = { t: "release", id: 1, lease: 0 };
  expect(() => clientVocabulary.parse(release)).toThrow("malformed at /lease:");
});

test("the protocol's version is one that a hello can carry", () => {
  expect(PROTOCOL_VERSION).toBeGreaterThanOrEqual(1);
  expect(Number.isInteger(PROTOCOL_VERSION)).toBe(true);
});

test("a type that is no text, a big integer even, is a protocol error", () => {
  for (const t of [1n, 1, null, undefined, {}, [1n]])
    expect(() => clientVocabulary.parse({ t })).toThrow(ProtocolError);
});

test("cores of a worker are a whole number from 1 to 1024, or left out", () => {
  const passes = (coresPerWorker: unknown): boolean => {
    try {
      clientVocabulary.parse({ ...allocate, coresPerWorker });
      return true;
    } catch {
      return false;
    }
  };
  expect([1, 2, 1024].every(passes)).toBe(true);
  expect([0, -1, 1.5, 1025, 2 ** 40, "2", null, NaN].some(passes)).toBe(false);
});
