/** What a client that is not ours can do to a node: lose its own connection, and nothing else. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { REQUEST } from "../../ffi/worker-endpoint.ts";
import { ROOT } from "../support/executable.ts";
import { type Device, expectResources, resources, withDevice } from "../support/rdma.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";
import { Connected, Listener, SHAPE } from "./verbs-pair.ts";

const SUCCESS = 0;
const REMOTE_ACCESS_ERROR = 10;
const BAD_REQUEST = -6;

interface Outcome {
  exitCode: number;
  /** How the attacker's own work completed; undefined when the node did not let it in. */
  status: number | undefined;
  /** The reason of a node that did not. */
  rejected: number | undefined;
  /** The statuses of what it was answered. */
  answers: number[];
  /** The slots of requests that overtook each other, and how long their answers were. */
  served: [slot: number, bytes: number][];
  /** Why the connection is lost, in the node's words; undefined if it stands while the attacker is there. */
  lost: string | undefined;
}

/** Answers a listener's calls, unless the attack needs them in flight, until `over`. */
async function serve({ worker }: Listener, answering: boolean, over: () => boolean): Promise<void> {
  while (!over()) {
    let slot = worker.turn(-1, 0, 1);
    while (slot >= 0 && answering) {
      const length = worker.requests[slot * worker.slotWords + REQUEST.inputLength]!;
      slot = worker.turn(slot, length, 1);
    }
    await Bun.sleep(1);
  }
}

async function attack({ address }: Device, hostile: string, name: string): Promise<Outcome> {
  using target = await Listener.open(address);
  using other = await Listener.open(address);
  const hex = ({ nonce }: Listener): string => Buffer.from(nonce).toString("hex");
  const child = Bun.spawn(
    [
      hostile,
      address,
      String(target.port),
      name === "nonce" ? "0".repeat(32) : hex(target),
      String(target.region.bytes),
      String(SHAPE.slots),
      name,
      String(other.port),
      hex(other),
    ],
    { stdin: "pipe", stdout: "pipe", stderr: "inherit" },
  );
  let over = false;
  const served = [serve(target, name !== "again", () => over), serve(other, true, () => over)];
  const isLost = (): boolean => target.link.lost(0) !== undefined;
  const disturbed = /^status/m;
  let stdout = "";
  let lost: string | undefined;
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    stdout += text;
    if (!stdout.endsWith("done\n")) continue;
    // The worker is about to find out, if it has not.
    if (disturbed.test(stdout)) await until(isLost, "the node notices", 2_000).catch(() => {});
    lost = target.link.lost(0)?.message;
    await child.stdin.end();
  }
  const exitCode = await child.exited;
  if (name === "half") {
    await until(isLost, "the node notices");
    lost = target.link.lost(0)!.message;
  }
  over = true;
  await Promise.all(served);
  const numbers = (what: string): number[] =>
    Array.from(stdout.matchAll(new RegExp(`^${what} (-?\\d+)$`, "gm")), ([, n]) => Number(n));
  return {
    exitCode,
    status: numbers("status")[0],
    rejected: numbers("rejected")[0],
    answers: numbers("answer"),
    served: Array.from(stdout.matchAll(/^served (\d+) (\d+)$/gm), ([, slot, bytes]) => [
      Number(slot),
      Number(bytes),
    ]),
    lost,
  };
}

withDevice("a client that is not ours", (device) => {
  const scratch = new Scratch();
  const before = resources();
  const outcomes = new Map<string, Promise<Outcome>>();
  let there: Listener;
  let here: Connected;
  let untouched: Buffer;
  const memoryOf = ({ region }: Listener): Buffer => Buffer.from(region.arena.slice());

  /** The neighbour's call, over a connection that was there before the attacks. */
  function callOfAnother(): void {
    new Uint32Array(here.region.arena, 0, 2).set([12345, 67890]);
    const slot = here.client.post(0, 0, 8, 512, 8, 0);
    let found = -1;
    while (found < 0) found = there.worker.turn(-1, 0, 1);
    there.worker.turn(found, 8, 1);
    expect(here.client.wait(slot, 5_000)).toBe(8);
    expect(there.link.lost(0)).toBeUndefined();
    expect(memoryOf(there).equals(untouched)).toBe(true);
  }

  beforeAll(async () => {
    const hostile = scratch.join("hostile");
    const compile = Bun.spawnSync([
      ...["gcc", "-Wall", "-Wextra", "-Werror", "-O1", `-I${join(ROOT, "ffi", "shim")}`],
      ...[join(import.meta.dir, "hostile.c"), "-o", hostile, "-libverbs", "-lrdmacm"],
    ]);
    expect(compile.stderr.toString()).toBe("");
    there = await Listener.open(device.address);
    here = await Connected.open(device.address, there);
    new Uint8Array(there.region.arena).fill(0x5a);
    untouched = memoryOf(there);
    for (const name of attacks) {
      const outcome = attack(device, hostile, name);
      outcome.catch(() => {});
      outcomes.set(name, outcome);
    }
  });
  afterAll(async () => {
    here?.[Symbol.dispose]();
    there?.[Symbol.dispose]();
    scratch[Symbol.dispose]();
    await expectResources(before);
  });

  const attacks: string[] = [];
  function attackTest(name: string, sentence: string, check: (outcome: Outcome) => void): void {
    attacks.push(name);
    test(sentence, async () => {
      const outcome = await outcomes.get(name)!;
      expect(outcome.exitCode).toBe(0);
      check(outcome);
      callOfAnother();
    });
  }
  const losesItsConnection =
    (status: number, why: string | RegExp) =>
    (outcome: Outcome): void => {
      expect(outcome).toMatchObject({ status, answers: [] });
      expect(outcome.lost).toMatch(why);
    };
  const noPeerMay = "the other side wrote what no peer may";

  describe("loses its connection, and disturbs no other lease, when it", () => {
    const outside = losesItsConnection(REMOTE_ACCESS_ERROR, /connection to worker 0 is lost/);
    attackTest("below", "writes below its lease's memory", outside);
    attackTest("above", "writes across the end of its lease's memory", outside);
    attackTest("read", "reads behind its lease's memory", outside);
    attackTest("cross", "uses the key of another lease, though that is its own, too", (outcome) => {
      expect(outcome.status).toBe(REMOTE_ACCESS_ERROR);
      expect(outcome.lost).toContain("connection to worker 0 is lost");
      // Over that lease's own connection it is served.
      expect(outcome.answers).toEqual([0]);
    });
    const protocol = losesItsConnection(SUCCESS, noPeerMay);
    attackTest("slot", "names a slot beyond the ring", protocol);
    attackTest("inner-slot", "names a slot beyond the ring in the request itself", protocol);
    attackTest("room", "puts a request far behind the arena", protocol);
    attackTest("room-at-the-end", "puts a request where the arena has ended", protocol);
    attackTest("again", "uses a slot again whose call is in flight", protocol);
    attackTest("far-ahead", "posts a call that its credits do not reach", protocol);
    attackTest("early-again", "uses a slot again whose call waits for its turn", protocol);
    attackTest("send", "sends a message instead of writing", protocol);
    attackTest("long-send", "sends a message that nobody has room for", (outcome) => {
      expect(outcome.status).not.toBe(SUCCESS);
      expect(outcome.answers).toEqual([]);
      expect(outcome.lost).toContain("connection to worker 0 is lost");
    });
  });

  attackTest(
    "bounds",
    "is told that its requests are out of bounds, and served again",
    (outcome) => {
      expect(outcome).toMatchObject({
        answers: [...new Array<number>(6).fill(BAD_REQUEST), 0],
        lost: undefined,
      });
    },
  );

  attackTest(
    "overtaking",
    "may post requests that overtake each other: each is known by its sequence, and has its turn",
    (outcome) => {
      const inTurn: Outcome["served"] = [
        [0, 1],
        [1, 2],
        [2, 3],
      ];
      expect(outcome).toMatchObject({ served: inTurn, lost: undefined });
    },
  );

  attackTest("half", "can go half-way through the set-up: the node notices", ({ lost }) =>
    expect(lost).toContain("connection to worker 0 is lost"),
  );

  describe("is not let in when it", () => {
    const rejected = (reason: number) => (outcome: Outcome) =>
      expect(outcome).toMatchObject({ rejected: reason, lost: undefined });
    attackTest("short", "says less than a greeting", rejected(1));
    attackTest("version", "speaks another version", rejected(1));
    attackTest("nonce", "does not know the lease's nonce", rejected(2));
    attackTest("worker", "names a worker that the lease does not have", rejected(3));
  });
});
