import { describe, expect, test } from "bun:test";
import { UsageError } from "../../src/base/errors.ts";
import { Routing, type RoutedPart } from "../../src/client/lease/routing.ts";

/** A part with so many workers, each with a load. */
function part(node: string, firstWorker: number, ...loads: number[]) {
  const played = {
    core: { lanes: loads.map((load) => ({ load })) },
    firstWorker,
    workers: loads.length,
    state: "up" as RoutedPart["state"],
    parts: [{ node }],
  };
  return played as unknown as RoutedPart & { state: RoutedPart["state"] };
}

function refusal(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(UsageError);
    return (error as Error).message;
  }
  throw new Error("it was not refused");
}

const setup = () => {
  const a = part("a", 0, 3, 5);
  const b = part("b", 2, 1);
  const routing = new Routing([a, b]);
  const settled = (where: typeof a) => routing.settle(new Uint8Array(8), where);
  return { a, b, routing, settled };
};

describe("a call", () => {
  test("goes where its buffers lie, and a worker of that part may be named", () => {
    const { a, b, routing, settled } = setup();
    expect(routing.route(settled(a), settled(a), undefined)).toBe(a);
    expect(routing.route(settled(b), settled(b), 2)).toBe(b);
    const view = settled(b);
    expect(routing.route(view.subarray(2, 4), view, undefined)).toBe(b);
  });

  test("on registered memory goes where the rest of it lies, to the worker it names, or to the least busy part", () => {
    const { a, b, routing, settled } = setup();
    const own = new Uint8Array(8);
    expect(routing.route(own, settled(a), undefined)).toBe(a);
    expect(routing.route(settled(b), own, undefined)).toBe(b);
    expect(routing.route(own, own, 1)).toBe(a);
    expect(routing.route(own, own, undefined)).toBe(b);
  });

  test("leaves lost parts out, unless its buffers lie there or all are lost", () => {
    const { a, b, routing, settled } = setup();
    const own = new Uint8Array(8);
    b.state = "lost";
    expect(routing.route(own, own, undefined)).toBe(a);
    expect(routing.route(settled(b), own, undefined)).toBe(b);
    a.state = "lost";
    expect(routing.route(own, own, undefined)).toBe(a);
  });

  test("for a worker that is replaced after others of its part goes to that part until then", () => {
    const former = part("a", 0, 0, 0);
    const parts = [former];
    const routing = new Routing(parts);
    const view = routing.settle(new Uint8Array(8), former);
    // Worker 0 comes first.
    parts[0] = part("b", 0, 0);
    routing.leave(former);
    expect([routing.partOf(0), routing.partOf(1)]).toEqual([parts[0]!, former]);
    expect(routing.route(view, view, 1)).toBe(former);
    expect(routing.route(view, view, undefined)).toBe(parts[0]!);
    parts.push(part("c", 1, 0));
    expect(routing.partOf(1)).toBe(parts[1]!);
    // It leaves in its turn: nothing of the first one is left.
    const second = parts[1]!;
    parts[1] = part("d", 1, 0);
    routing.leave(second);
    expect(routing.partOf(1)).toBe(parts[1]!);
    expect(refusal(() => routing.partOf(2))).toContain("there is no worker 2");
  });

  test("takes equals in turn", () => {
    const parts = [part("a", 0, 0), part("b", 1, 0), part("c", 2, 0)];
    const routing = new Routing(parts);
    const own = new Uint8Array(8);
    const seen = new Set(Array.from({ length: 3 }, () => routing.route(own, own, undefined)));
    expect(seen).toEqual(new Set(parts));
  });

  test("that names a worker of another part is told where its buffers lie, and how to move them", () => {
    const { a, b, routing, settled } = setup();
    expect(refusal(() => routing.route(settled(a), settled(a), 2))).toBe(
      "worker 2 is on node b, and the input lies with workers 0 to 1 on node a; allocate it with { worker: 2 }, or leave worker out",
    );
    expect(refusal(() => routing.route(new Uint8Array(1), settled(b), 0))).toContain(
      "the output lies with worker 2 on node b",
    );
  });

  test("whose buffers lie with two parts is refused", () => {
    const { a, b, routing, settled } = setup();
    expect(refusal(() => routing.route(settled(a), settled(b), undefined))).toBe(
      "the input lies with workers 0 to 1 on node a and the output with worker 2 on node b; allocate both with the same { worker }",
    );
  });

  test.each([3, -1, 0.5 + 3, NaN])("that names the worker %p is told which there are", (worker) => {
    const { routing } = setup();
    expect(refusal(() => routing.partOf(worker as number))).toStartWith(
      "the lease has workers 0 to 2; there is no worker",
    );
  });
});

test("what is no view of memory lies nowhere", () => {
  const { routing } = setup();
  for (const view of [undefined, null, 1, "x", {}])
    expect(routing.homeOf(view as unknown as Uint8Array)).toBeUndefined();
});
