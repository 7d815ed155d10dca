/** Which fabric `rfaas doctor --node` says that a lease takes, and what it says against the others. */
import { describe, expect, test } from "bun:test";
import { FabricUnavailable } from "../../src/base/errors.ts";
import { distance } from "../../src/control/machine.ts";
import { type Sides, type Verdict, verdictsOf } from "../../src/doctor/choice.ts";
import { fabricsFor } from "../../src/executor/admission/fabrics-for.ts";
import type { FabricOffer } from "../../src/fabric/fabric.ts";
import {
  type FabricName,
  type Survey,
  considered,
  demandAsked,
  fabricNamed,
  fabrics,
  surveyFabrics,
} from "../../src/fabric/registry.ts";

const ALL: FabricName[] = ["shm", "verbs", "tcp"];
const NO_DEVICE = new FabricUnavailable("this machine has no RDMA device; load a driver; or buy");
const HERE = "boot-1 net:[1]";
const OTHER_NETWORK = "boot-1 net:[2]";
const OTHER_MACHINE = "boot-2 net:[1]";

const offerOf = (name: FabricName): FabricOffer => ({
  fabric: fabricNamed(name)!,
  description: name,
  listenFor: () => null,
  memoryFor: (bytes) => bytes,
  attach: () => Promise.reject(new Error("not in this test")),
});
/** Of a process that has these, lacks others, and was not asked for the rest. */
const survey = (has: FabricName[], lacking: FabricName[] = []): Survey => ({
  offers: has.map(offerOf),
  withheld: ALL.filter((name) => !has.includes(name)).map((name) => ({
    fabric: fabricNamed(name)!,
    lacks: lacking.includes(name) ? NO_DEVICE : undefined,
  })),
});

function looked(sides: Partial<Sides>): Record<string, Verdict> {
  const verdicts = verdictsOf({
    here: survey(ALL),
    unasked: ALL,
    wanted: undefined,
    node: { offered: ALL, withheld: [] },
    ...sides,
  });
  expect(verdicts.map(({ name }) => name)).toEqual(fabrics.map(({ name }) => name));
  return Object.fromEntries(verdicts.map((verdict) => [verdict.name, verdict]));
}
const states = (verdicts: Record<string, Verdict>) =>
  ALL.map((name) => verdicts[name]!.state).join(" ");

describe("the way to a node", () => {
  test("takes the best that both sides have, and says how to choose a lesser one", () => {
    const verdicts = looked({});
    expect(states(verdicts)).toBe("taken possible possible");
    expect(verdicts["shm"]!.obstacles).toEqual([]);
    expect(verdicts["tcp"]!.obstacles).toEqual([
      {
        reason: "both sides have it, and a lease takes shm, which is better",
        fix: "--fabric tcp",
      },
    ]);
  });

  test("says of a better one what stands against it on either side, with what to do", () => {
    const node = fabricsFor(survey(["shm", "tcp"], ["verbs"]), OTHER_MACHINE, HERE);
    const verdicts = looked({ here: survey(["shm", "tcp"], ["verbs"]), node });
    expect(states(verdicts)).toBe("impossible impossible taken");
    expect(verdicts["shm"]!.obstacles).toEqual([
      { reason: "client and node are on different machines" },
    ]);
    expect(verdicts["verbs"]!.obstacles).toEqual([
      { reason: "here: this machine has no RDMA device", fix: "load a driver; or buy" },
      {
        reason: "on the node: this machine has no RDMA device",
        fix: "on the node: load a driver; or buy",
      },
    ]);
  });

  test("tells another network namespace from another machine", () => {
    const node = fabricsFor(survey(ALL), OTHER_NETWORK, HERE);
    expect(node.offered).toEqual(["verbs", "tcp"]);
    const [against] = looked({ node })["shm"]!.obstacles;
    expect(against!.reason).toBe(
      "client and node are in different network namespaces of one machine",
    );
    expect(against!.fix).toContain("--network host");
  });

  test("names the option that has asked for another one, here and on the node", () => {
    const here = looked({ wanted: { name: "tcp", by: "--fabric tcp" } });
    expect(states(here)).toBe("impossible impossible taken");
    expect(here["shm"]!.obstacles).toEqual([
      { reason: "--fabric tcp asks for tcp", fix: "leave out --fabric tcp" },
    ]);
    const there = looked({ node: fabricsFor(survey(["tcp"]), HERE, HERE) });
    expect(states(there)).toBe("impossible impossible taken");
    expect(there["shm"]!.obstacles).toEqual([
      { reason: "the node serves tcp alone", fix: "start the node without --fabric" },
    ]);
  });

  test("takes none where what is asked for is missing", () => {
    const verdicts = looked({
      here: survey(["shm", "tcp"], ["verbs"]),
      wanted: { name: "verbs", by: "--device" },
    });
    expect(states(verdicts)).toBe("impossible impossible impossible");
    expect(verdicts["tcp"]!.obstacles[0]).toEqual({
      reason: "--device asks for verbs",
      fix: "leave out --device",
    });
  });

  test("says of a fabric that a client looks at only when it is asked for that it must be", () => {
    const node = { offered: ["tcp"], withheld: [] };
    const verdicts = looked({ unasked: ["shm"], node });
    expect(states(verdicts)).toBe("impossible impossible possible");
    expect(verdicts["tcp"]!.obstacles).toEqual([
      {
        reason: "both sides have it, and a lease takes it only when it is asked for",
        fix: "--fabric tcp",
      },
    ]);
    // A node of another version has other fabrics.
    expect(verdicts["verbs"]!.obstacles).toEqual([
      { reason: "the node has never heard of it", fix: "update the node" },
    ]);
  });
});

describe("a survey", () => {
  const lacking = {
    ...fabricNamed("verbs")!,
    offer() {
      throw NO_DEVICE;
    },
  };
  const among = [fabricNamed("shm")!, lacking];

  test("has each fabric once, offered or with the reason why not", () => {
    const { offers, withheld } = surveyFabrics({}, among);
    expect(offers.map(({ fabric }) => fabric.name)).toEqual(["shm"]);
    expect(withheld.map(({ fabric, lacks }) => [fabric.name, lacks])).toEqual([
      ["verbs", NO_DEVICE],
    ]);
    const unasked = surveyFabrics({ fabric: "shm" }, among).withheld;
    expect(unasked.map(({ lacks }) => lacks)).toEqual([undefined]);
  });

  test("is an error only where a fabric is demanded", () => {
    const verbs = { fabric: "verbs" } as const;
    expect(() => demandAsked(verbs, surveyFabrics(verbs, among))).toThrow(NO_DEVICE);
    const device = { verbs: { device: "mlx5_0" } };
    expect(() => demandAsked(device, surveyFabrics(device, among))).toThrow(NO_DEVICE);
    expect(demandAsked({}, surveyFabrics({}, among)).offers).toHaveLength(1);
  });

  test("of a client on the node's machine looks at networks only when one is asked for", () => {
    const names = (...asked: Parameters<typeof considered>) =>
      considered(...asked).map(({ name }) => name);
    expect(names({}, false)).toEqual(["shm"]);
    expect(names({ fabric: "tcp" }, false)).toEqual(["shm", "tcp"]);
    expect(names({ verbs: { ibPort: 1 } }, false)).toEqual(["shm", "verbs"]);
    expect(names({ fabric: "ofi:shm" }, false)).toEqual(["shm", "ofi:shm"]);
    expect(names({}, true)).toEqual(
      fabrics.flatMap(({ name, onRequest }) => (onRequest ? [] : [name])),
    );
  });
});

test("two processes are as far apart as their machines and networks say", () => {
  expect(distance(HERE, HERE)).toBe("none");
  expect(distance(HERE, OTHER_NETWORK)).toBe("network");
  expect(distance(HERE, OTHER_MACHINE)).toBe("machine");
  // The kernel's name of neither can be read.
  expect(distance("host a", "host b")).toBe("machine");
  expect(distance("", " net:[1]")).toBe("machine");
});
