import { expect, test } from "bun:test";
import { join } from "node:path";
import { ENGINE_SETTINGS } from "../../src/base/machine/engine.ts";
import { invoker } from "../support/library.ts";
import { FUNCTIONS, RFAAS } from "../support/executable.ts";

type Environment = typeof import("../functions/environment.ts");

process.env["RFAAS_EXECUTABLE"] = RFAAS;

test.each([
  // In a room a host that has waited starts no programs.
  ["that has waited", { prewarm: 1, sandbox: "none" }],
  ["that was started for its lease", { prewarm: 0 }],
])("how the engine of a host is set is not seen by functions of one %s", async (_, options) => {
  await using rf = await invoker(options);
  await using lease = await rf.allocate<Environment>(join(FUNCTIONS, "environment.ts"), {
    processes: true,
  });
  const names = Object.keys(ENGINE_SETTINGS);
  const seen = await lease.function("environment")([...names, "PATH"]);
  expect(seen).toEqual({ own: ["PATH"], ofChild: ["PATH"], ofNative: ["PATH"] });
});
