import { describe, expect, test } from "bun:test";
import {
  ConnectionLost,
  LeaseLost,
  OutOfMemory,
  ProtocolError,
  WorkerLost,
} from "../../src/base/errors.ts";
import { ofInput } from "../../src/client/failures/of-input.ts";
import { mayHaveRun, notRun, saysNotRun } from "../../src/client/failures/fate.ts";

const LOSSES = [
  new WorkerLost(1, "the host died", { signal: "SIGKILL" }),
  new ConnectionLost(1, { verb: "write", status: 12 }, "the connection is lost"),
  new OutOfMemory(1, { heapBytes: 1, usedBytes: 2 }, "out of memory"),
  new LeaseLost("the node stopped"),
] as const;

describe("the error of a loss", () => {
  test.each(LOSSES.map((loss) => [loss.name, loss] as const))(
    "%s says that its call did not run, or no word of that where an earlier attempt may have",
    (_, loss) => {
      const told = notRun(loss);
      expect(told).toBeInstanceOf(loss.constructor as typeof Error);
      expect([told.mayHaveRun, told.message]).toEqual([
        false,
        `${loss.message}; this call did not run`,
      ]);
      expect([saysNotRun(told), saysNotRun(loss)]).toEqual([true, false]);
      expect(mayHaveRun(told)).toBe(loss);
      expect(mayHaveRun(notRun(told))).toBe(loss);
      expect([loss.mayHaveRun, mayHaveRun(loss)]).toEqual([true, loss]);
      for (const error of [told, loss]) {
        const { name, message, mayHaveRun: may } = error;
        const found = ofInput(error, 3);
        expect(found).toMatchObject({ name, message, mayHaveRun: may, index: 3, cause: error });
        if ("signal" in error) expect(found).toHaveProperty("signal", error.signal);
      }
    },
  );

  test("of another kind says nothing of it, nor does what is no error", () => {
    const other = new ProtocolError("the answer is out of bounds");
    for (const thrown of [other, "text", undefined, null]) {
      expect(saysNotRun(thrown)).toBe(false);
      expect(mayHaveRun(thrown)).toBe(thrown);
    }
    expect(notRun(other)).toBe(other);
  });
});
