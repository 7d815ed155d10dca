/** Whatever answers come, in whatever order, each request ends once, with the answer to itself or with what ended its wait. */
import { expect, test } from "bun:test";
import { Type } from "@sinclair/typebox";
import fc from "fast-check";
import { RequestRefused, Requests } from "../../src/control/requests.ts";
import { request } from "../../src/protocol/declare.ts";

const Echo = request("echo", { n: Type.Number() }, { n: Type.Number() });
const Other = request("other", {}, {});

type Step =
  | { do: "ask"; abortable: boolean }
  | { do: "answer"; which: number; how: "reply" | "fail" | "wrong" }
  | { do: "abort"; which: number }
  | { do: "end" };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant("ask" as const), abortable: fc.boolean() }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("answer" as const),
      which: fc.nat(12),
      how: fc.constantFrom("reply" as const, "fail" as const, "wrong" as const),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("abort" as const), which: fc.nat(12) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("end" as const) }) },
);

test("every request ends as the first thing that befell it says, and nothing is left waiting", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const asked: number[] = [];
      let waiting = false;
      const requests = new Requests({
        send: ({ id }) => void asked.push(id!),
        onWaiting: (waits) => void (waiting = waits),
      });
      const ends: string[] = [];
      /** By its id, what must become of a request; undefined while it waits. */
      const due = new Map<number, string | undefined>();
      const controllers = new Map<number, AbortController>();
      const befalls = (id: number, what: string): void => {
        if (due.has(id)) due.set(id, due.get(id) ?? what);
      };
      const ask = (abortable: boolean): void => {
        const controller = new AbortController();
        const n = asked.length + 1;
        const { signal } = controller;
        const asking = requests.ask(Echo, { n }, abortable ? { signal } : {});
        asking.then(
          (reply) => ends.push(`${n}: reply ${reply.n}`),
          (error: Error) => ends.push(`${n}: ${error.message}`),
        );
        due.set(n, undefined);
        if (abortable) controllers.set(n, controller);
      };
      for (const one of [...steps, { do: "end" } as const]) {
        if (one.do === "ask") ask(one.abortable);
        else if (one.do === "end") {
          requests.end(new Error("over"));
          for (const id of due.keys()) befalls(id, `${id}: over`);
        } else if (one.do === "abort") {
          const controller = controllers.get(one.which);
          controller?.abort(new Error("aborted"));
          if (controller) befalls(one.which, `${one.which}: aborted`);
        } else if (one.how === "wrong") {
          expect(requests.heard({ t: `${Other.name}-reply`, id: one.which })).toBe(true);
        } else if (one.how === "reply") {
          requests.heard({ t: "echo-reply", id: one.which, n: one.which * 7 } as never);
          befalls(one.which, `${one.which}: reply ${one.which * 7}`);
        } else {
          const failed = { t: "failed", id: one.which, code: "X", message: `no ${one.which}` };
          requests.heard(failed);
          befalls(one.which, `${one.which}: no ${one.which}`);
        }
      }
      await new Promise(setImmediate);
      expect(ends.toSorted()).toEqual([...due.values()].map(String).toSorted());
      expect(asked).toEqual([...due.keys()]);
      expect(waiting).toBe(false);
    }),
    { numRuns: 300 },
  );
});

test("what is refused keeps its code, and what was thrown", async () => {
  const requests = new Requests({ send() {} });
  const asking = requests.ask(Echo, { n: 1 });
  const error = { name: "E", message: "m" };
  requests.heard({ t: "failed", id: 1, code: "X", message: "no", error } as never);
  const refused = await asking.catch((caught: unknown) => caught);
  expect(refused).toBeInstanceOf(RequestRefused);
  expect(refused).toMatchObject({ code: "X", message: "no", record: error });
});
