import { expect, test } from "bun:test";
import { Quota } from "../../src/executor/admission/quota.ts";

const ada = { user: "ada", maxCores: 4, untilMs: null };

test("a token is good for so many cores at a time, whichever leases have them", () => {
  const quota = new Quota();
  expect(quota.refusal(ada, 4)).toBeNull();
  quota.take("ada", 3);
  expect(quota.refusal(ada, 1)).toBeNull();
  expect(quota.refusal(ada, 2)).toContain("good for 4 cores at a time on this node, 3 are leased");
  quota.giveBack("ada", 3);
  expect(quota.refusal(ada, 4)).toBeNull();
});
