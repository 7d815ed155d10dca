/** The earliest of places that come and go is always known, and takes few looks at others. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { Earliest } from "../../src/client/cluster/earliest.ts";

test("the earliest place is first, whichever were added and deleted before", () => {
  const step = fc.tuple(fc.boolean(), fc.nat(40));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const earliest = new Earliest();
      const all = Array.from({ length: 41 }, (_, order) => ({ order }));
      const here = new Set<number>();
      for (const [adds, order] of steps) {
        if (adds) {
          earliest.add(all[order]!);
          here.add(order);
        } else {
          earliest.delete(all[order]!);
          here.delete(order);
        }
        expect(earliest.first?.order).toBe(here.size === 0 ? undefined : Math.min(...here));
      }
    }),
  );
});

test("ten thousand places that all come back and leave compare with a few others each", () => {
  const COUNT = 10_000;
  let looks = 0;
  const all = Array.from({ length: COUNT }, (_, order) => ({
    get order() {
      looks++;
      return order;
    },
  }));
  const earliest = new Earliest();
  for (const place of all) earliest.add(place);
  for (const place of all) earliest.delete(place);
  for (const place of all.toReversed()) earliest.add(place);
  while (earliest.first) earliest.delete(earliest.first);
  // Twice up and twice down a tree of 14 levels, with at most four looks on each.
  expect(looks).toBeLessThan(COUNT * 4 * 14 * 4);
});
