import { expect, test } from "bun:test";
import fc from "fast-check";
import { ALIGNMENT, Arena } from "../../src/client/memory/arena.ts";
import { OutOfLeaseMemory, UsageError } from "../../src/base/errors.ts";

/** The arena as a list of lines, each with the number of the allocation that holds it: slow, and plainly right. */
class Model {
  readonly lines: (number | undefined)[];
  readonly taken = new Map<number, number>();

  constructor(bytes: number) {
    this.lines = new Array(Math.floor(bytes / ALIGNMENT)).fill(undefined);
  }

  get freeBytes(): number {
    return ALIGNMENT * this.lines.filter((line) => line === undefined).length;
  }

  /** The first line of the lowest gap that is long enough, or -1. */
  place(lines: number): number {
    let gap = 0;
    for (let at = 0; at < this.lines.length; at++) {
      gap = this.lines[at] === undefined ? gap + 1 : 0;
      if (gap === lines) return at - lines + 1;
    }
    return -1;
  }

  mark(offset: number, lines: number, by: number | undefined): void {
    this.lines.fill(by, offset / ALIGNMENT, offset / ALIGNMENT + lines);
  }
}

const linesOf = (bytes: number): number => Math.max(1, Math.ceil(bytes / ALIGNMENT));

type Step = { allocate: number } | { release: number };

const arenaBytes = fc.integer({ min: 0, max: 40 * ALIGNMENT });
const steps = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: fc.record({ allocate: fc.integer({ min: 0, max: 12 * ALIGNMENT }) }) },
    { weight: 2, arbitrary: fc.record({ release: fc.nat() }) },
  ),
  { maxLength: 80 },
);

/** Does to both what a step says, and checks that they agree. */
function follow(arena: Arena, model: Model, step: Step, number: number): void {
  if ("allocate" in step) {
    const lines = linesOf(step.allocate);
    const place = model.place(lines);
    if (place < 0) {
      expect(() => arena.allocate(step.allocate)).toThrow(OutOfLeaseMemory);
    } else {
      const offset = arena.allocate(step.allocate);
      expect(offset).toBe(place * ALIGNMENT);
      model.mark(offset, lines, number);
      model.taken.set(offset, lines);
    }
  } else {
    const offsets = [...model.taken.keys()];
    if (offsets.length === 0) return;
    const offset = offsets[step.release % offsets.length]!;
    arena.release(offset);
    model.mark(offset, model.taken.get(offset)!, undefined);
    model.taken.delete(offset);
    expect(() => arena.release(offset)).toThrow(UsageError);
  }
  expect(arena.freeBytes).toBe(model.freeBytes);
}

test("the arena takes the first gap that is long enough, as the model does, and refuses only without one", () => {
  fc.assert(
    fc.property(arenaBytes, steps, (bytes, history) => {
      const arena = new Arena(bytes);
      const model = new Model(bytes);
      for (const [number, step] of history.entries()) follow(arena, model, step, number);
    }),
  );
});

test("what is allocated is aligned, within the arena, and overlaps nothing", () => {
  const requests = fc.array(fc.integer({ min: 0, max: 8 * ALIGNMENT }), { minLength: 1 });
  fc.assert(
    fc.property(arenaBytes, requests, (bytes, sizes) => {
      const arena = new Arena(bytes);
      let end = 0;
      for (const size of sizes) {
        if (linesOf(size) * ALIGNMENT > arena.freeBytes) continue;
        const offset = arena.allocate(size);
        expect(offset % ALIGNMENT).toBe(0);
        // Without releases, first fit is one allocation after the other.
        expect(offset).toBeGreaterThanOrEqual(end);
        end = offset + Math.max(1, size);
        expect(end).toBeLessThanOrEqual(bytes);
      }
    }),
  );
});

test("everything freed, in any order, is one range again that holds a single allocation", () => {
  fc.assert(
    fc.property(arenaBytes, steps, fc.infiniteStream(fc.nat()), (bytes, history, order) => {
      const arena = new Arena(bytes);
      const model = new Model(bytes);
      for (const [number, step] of history.entries()) follow(arena, model, step, number);
      for (const release of order) {
        if (model.taken.size === 0) break;
        follow(arena, model, { release }, 0);
      }
      const whole = bytes - (bytes % ALIGNMENT);
      expect(arena.freeBytes).toBe(whole);
      if (whole > 0) expect(arena.allocate(whole)).toBe(0);
      expect(arena.freeBytes).toBe(0);
    }),
  );
});

test("an arena is exhausted by exactly as many lines as it has, and says what is missing", () => {
  fc.assert(
    fc.property(arenaBytes, fc.integer({ min: 0, max: ALIGNMENT }), (bytes, size) => {
      const arena = new Arena(bytes);
      for (let line = 0; line < Math.floor(bytes / ALIGNMENT); line++)
        expect(arena.allocate(size)).toBe(line * ALIGNMENT);
      expect(() => arena.allocate(size)).toThrow(
        `no room for ${size} more bytes (0 are free); free a buffer`,
      );
    }),
  );
});

test("only the start of an allocation can be freed", () => {
  fc.assert(
    fc.property(fc.integer({ min: -64, max: 1024 }), (offset) => {
      fc.pre(offset !== 0 && offset !== 256);
      const arena = new Arena(1024);
      arena.allocate(200);
      arena.allocate(64);
      expect(() => arena.release(offset)).toThrow(UsageError);
      expect(arena.freeBytes).toBe(1024 - 256 - 64);
    }),
  );
});
