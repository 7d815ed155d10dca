import { describe, expect, test } from "bun:test";
import { Place } from "../../src/client/memory/place.ts";
import { RecentPairs } from "../../src/client/memory/recent-pairs.ts";

const bytes = (length: number): Uint8Array<ArrayBuffer> => new Uint8Array(new ArrayBuffer(length));
const pairs = (count: number) =>
  Array.from({ length: count }, () => [bytes(8), bytes(16)] as const);

/** What was asked where it lies, in order. */
function asked(): { recent: RecentPairs; views: ArrayBufferView[] } {
  const views: ArrayBufferView[] = [];
  const recent = new RecentPairs((input, output) => {
    views.push(input);
    const placeOf = ({ buffer, byteLength }: ArrayBufferView): Place =>
      new Place({ offset: 64 * views.length, bytes: byteLength, buffer, start: 0 });
    return {
      inputView: input,
      outputView: output,
      input: placeOf(input),
      output: placeOf(output),
      inputOffset: 64 * views.length,
      inputLength: input.byteLength,
      outputOffset: 0,
      outputCapacity: output.byteLength,
      flags: 0,
    };
  });
  return { recent, views };
}

describe("the pairs of buffers of the last calls", () => {
  test("are asked once where they lie, as long as they come in turn", () => {
    for (const count of [1, 2, 31, 1024]) {
      const { recent, views } = asked();
      const all = pairs(count);
      for (let round = 0; round < 5; round++)
        for (const [i, [input, output]] of all.entries()) {
          const found = recent.locate(input, output);
          expect([found.inputView, found.outputView]).toEqual([input, output]);
          expect(found.inputOffset).toBe(64 * (i + 1));
        }
      expect(views).toHaveLength(count);
    }
  });

  test("are always found as themselves, in whatever order they come", () => {
    const { recent } = asked();
    const all = pairs(40);
    for (let i = 0; i < 5000; i++) {
      const input = all[Math.imul(i, 2654435761) >>> 27]![0];
      const output = all[Math.imul(i, 40503) & 31]![1];
      const found = recent.locate(input, output);
      expect(found.inputView === input && found.outputView === output).toBe(true);
    }
  });

  test("are asked again when one has become empty, and after they were cleared", () => {
    const { recent, views } = asked();
    const [[input, output]] = pairs(1) as [ReturnType<typeof pairs>[number]];
    recent.locate(input, output);
    recent.locate(input, output);
    expect(views).toHaveLength(1);
    output.buffer.transfer(0);
    recent.locate(input, output);
    expect(views).toHaveLength(2);
    recent.clear();
    recent.locate(input, output);
    expect(views).toHaveLength(3);
  });

  test("are asked each time where one is a DataView: it throws when its memory is gone", () => {
    const { recent, views } = asked();
    const view = new DataView(new ArrayBuffer(8));
    const output = bytes(8);
    for (let i = 0; i < 3; i++) recent.locate(view, output);
    expect(views).toHaveLength(3);
    view.buffer.transfer(0);
    expect(() => recent.locate(bytes(8), output)).not.toThrow();
  });
});
