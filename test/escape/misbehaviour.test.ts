/** Functions that misbehave harm their own lease at most: the victim computes on, the node grants, and no answer is a wrong one. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Lease, RfaasError } from "../../src/index.ts";
import { PROTOCOL_VERSION } from "../../src/protocol/frame.ts";
import { JSON_TEXT } from "../../src/protocol/frames/json-text.ts";
import { frameOf } from "../../src/protocol/frames/framing.ts";
import { buildLibrary } from "../support/compilers.ts";
import { until } from "../support/until.ts";
import { FUNCTIONS, Stage } from "./stage.ts";
import { MISBEHAVIOUR, type Misbehaviour } from "./tables/misbehaviour.ts";
import { onLease } from "./try.ts";
import { SANDBOX, sandboxIsThere } from "./which.ts";

const LIMIT_MS = 120_000;
/** Of calls that are expected to be late. */
const DEADLINE_MS = 1000;
const GENEROUS_MS = 30_000;
const MODULE = join(FUNCTIONS, "misbehaves.ts");
type Misbehaves = typeof import("./functions/misbehaves.ts");

let stage: Stage;
let library: string;
beforeAll(async () => {
  stage = await Stage.open(sandboxIsThere ? SANDBOX : "none");
  const source = readFileSync(join(import.meta.dir, "native", "misbehave.c"), "utf8");
  library = buildLibrary(stage.scratch, "misbehave", source, ["-fvisibility=hidden", "-pthread"]);
}, LIMIT_MS);
afterAll(async () => await stage?.[Symbol.asyncDispose]());

async function outcomeOf(run: () => Promise<string>): Promise<readonly string[]> {
  try {
    return [await run()];
  } catch (error) {
    if (!(error instanceof RfaasError)) throw error;
    return [error.constructor.name, String(error.code)];
  }
}

async function calls(
  lease: Lease,
  kind: Misbehaviour["kind"],
  { call, input = "" }: { call: string; input?: string },
  deadlineMs: number,
): Promise<string> {
  if (kind === "TypeScript") return String(await lease.function(call)(input, { deadlineMs }));
  const bytes = new TextEncoder().encode(input);
  const given = lease.input(Uint8Array, bytes.length);
  given.set(bytes);
  const output = lease.output(Uint8Array, 64);
  const length = await lease.submit(call, given, output, { deadlineMs });
  return new TextDecoder().decode(output.slice(0, length));
}

const moduleOf = ({ kind }: Misbehaviour): string => (kind === "native" ? library : MODULE);
const isOneOf = (found: readonly string[], expected: readonly string[]): boolean =>
  found.some((one) => expected.includes(one));

/** Each is the node's next lease. */
afterEach(async () => {
  const echoed = await onLease(stage, stage.node, MODULE, (lease) =>
    calls(lease, "TypeScript", { call: "echo", input: "still here" }, GENEROUS_MS),
  );
  expect(echoed).toBe("still here");
}, LIMIT_MS);

describe("a function that", () => {
  test.each(MISBEHAVIOUR.map((each) => [each.name, each] as const))(
    "%s harms its own lease at most",
    async (_, each) => {
      const { kind, outcome, goesOn, control } = each;
      const deadlineMs = outcome.includes("DeadlineExceeded") ? DEADLINE_MS : GENEROUS_MS;
      const [found, after] = await stage.beside(() =>
        onLease(stage, stage.node, moduleOf(each), async (lease) => {
          const found = await outcomeOf(() => calls(lease, kind, each, deadlineMs));
          if (!goesOn) return [found, "not asked"];
          const after = { call: "echo", input: "after" };
          return [found, await calls(lease, kind, after, GENEROUS_MS)];
        }),
      );
      if (!isOneOf(found, outcome)) expect(found).toEqual([...outcome]);
      expect(after).toBe(goesOn ? "after" : "not asked");
      const real = await onLease(stage, stage.control, moduleOf(each), (lease) =>
        outcomeOf(() => calls(lease, kind, control, GENEROUS_MS)),
      );
      if (!isOneOf(real, control.outcome)) expect(real).toEqual([...control.outcome]);
    },
    LIMIT_MS,
  );
});

describe("words that are not the function's to say", () => {
  test(
    "messages to the host's main thread, as its own threads send them, change nothing",
    async () => {
      await stage.beside(() =>
        onLease(stage, stage.node, MODULE, async (lease: Lease) => {
          const held = lease as Lease<Misbehaves>;
          expect(Number(await held.function("posts")(""))).toBeGreaterThan(10);
          // An answer of the node's comes behind what the host has heard.
          await held.usage();
          expect(await held.function("echo")("after")).toBe("after");
          expect(held.parts[0]!.state).toBe("up");
        }),
      );
    },
    LIMIT_MS,
  );

  const FORGED: [string, object][] = [
    ["that its client is lost", { t: "client-lost", message: "forged" }],
    ["that its worker has ended", { t: "worker-ended", worker: 0, message: "forged" }],
    ["that another lease's worker has ended", { t: "worker-ended", worker: 99, message: "forged" }],
    ["that it is ready once more", { t: "ready", protocol: PROTOCOL_VERSION }],
    ["what no host says", { t: "usage", lease: 1, usage: { allocationCoreNs: 0 } }],
    ["an answer to no question", { t: "attach-reply", id: 1, exports: { functions: ["forged"] } }],
    ["no object", []],
  ];
  for (const [what, message] of FORGED)
    test(
      `to the agent in its host's place, ${what}, end its own lease at most and lower no bill`,
      async () => {
        await stage.beside(() =>
          onLease(stage, stage.node, MODULE, async (lease: Lease) => {
            const held = lease as Lease<Misbehaves>;
            const before = await held.usage();
            const words = Buffer.from(frameOf(message, JSON_TEXT)).toString("latin1");
            const found = await outcomeOf(() => held.function("speaks")(words));
            // Its connection to the agent is one of its own descriptors: it has been spoken over.
            if (/^\d+$/.test(found[0]!)) expect(Number(found[0])).toBeGreaterThan(0);
            else expect(isOneOf(found, ["WorkerLost", "LeaseLost"])).toBe(true);
            const after = await held.usage().catch(() => undefined);
            if (after)
              expect(after.allocationCoreNs).toBeGreaterThanOrEqual(before.allocationCoreNs);
          }),
        );
      },
      LIMIT_MS,
    );

  test(
    "to the memory that counts its calls lower no bill",
    async () => {
      await stage.beside(() =>
        onLease(stage, stage.node, library, async (lease) => {
          const echo = { call: "echo", input: "x" };
          for (let i = 0; i < 20; i++) await calls(lease, "native", echo, GENEROUS_MS);
          const before = await lease.usage();
          expect(before.calls).toBe(20);
          await outcomeOf(() => calls(lease, "native", { call: "clears" }, DEADLINE_MS));
          const after = await lease.usage().catch(() => undefined);
          if (!after) return;
          expect(after.allocationCoreNs).toBeGreaterThanOrEqual(before.allocationCoreNs);
        }),
      );
    },
    LIMIT_MS,
  );

  test(
    "to a terminal come to the node's log as what can be printed",
    async () => {
      const mark = `escape-mark-${process.pid}`;
      const text = `${mark}\u001b[2J\u001b]0;forged\u0007`;
      const heard: string[] = [];
      await onLease(stage, stage.node, MODULE, async (lease: Lease) => {
        const held = lease as Lease<Misbehaves>;
        held.on("log", ({ message }) => heard.push(message));
        expect(await held.function("prints")(text)).toBe(text);
        await until(() => heard.length > 0, "its client hears its log");
      });
      // Its own client has what it has said; what to do with it is the client's to choose.
      expect(heard[0]).toBe(text);
      await until(() => stage.node.stderr.includes(mark), "the node has logged it");
      const logged = stage.node.stderr.split("\n").filter((line) => line.includes(mark));
      const raw = logged.filter((line) => line.includes("\u001b") || line.includes("\u0007"));
      expect(raw).toEqual([]);
      // By its log, and by both of its descriptors.
      await until(() => stage.node.stderr.split(mark).length === 4, "the node has logged it all");
    },
    LIMIT_MS,
  );
});
