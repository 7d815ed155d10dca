import { expect, test } from "bun:test";
import { invoker } from "../../src/index.ts";
import { RFAAS } from "../support/executable.ts";
import { torture } from "../torture/torture.ts";

test("calls of all kinds, beside each other for 20 seconds, have each its own answer", async () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  await using rf = await invoker({ cores: 2 });
  const told: string[] = [];
  const result = await torture(rf, {
    seconds: 20,
    seed: 20_26,
    onWrong: (what) => void (told.length < 10 && told.push(what.slice(0, 300))),
  });
  expect(told).toEqual([]);
  const { wrong, lost, endless } = result;
  expect({ wrong, lost, endless }).toEqual({ wrong: 0, lost: 0, endless: 0 });
  // Each kind and each way to end has been met, or nothing was proven.
  for (const [kind, count] of Object.entries(result.kinds))
    expect([kind, count > 0]).toEqual([kind, true]);
  expect(Object.keys(result.kinds).length).toBe(13);
  expect(result.right).toBeGreaterThan(0);
  expect(result.failed).toBeGreaterThan(0);
  expect(result.deadlines).toBeGreaterThan(0);
  expect(result.aborts).toBeGreaterThan(0);
}, 180_000);
