/** Workers that have had no call for long: they sleep in their event loop, and nothing is lost there. */
import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { invoker } from "../support/library.ts";
import { FUNCTIONS, RFAAS } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

type Beats = typeof import("../functions/beats.ts");

process.env["RFAAS_EXECUTABLE"] = RFAAS;

describe.each(["warm", "adaptive"] as const)("an idle worker that is %s", (polling) => {
  test("runs the timers of its module in time, and takes the calls that come then", async () => {
    using scratch = new Scratch();
    // Its module writes files here.
    await using rf = await invoker({ cores: 1, sandbox: "none" });
    await using lease = await rf.allocate<Beats>(join(FUNCTIONS, "beats.ts"), { polling });
    const path = new TextEncoder().encode(scratch.join("in-time"));
    const input = lease.input(Uint8Array, path.length);
    const output = lease.output(Uint8Array, path.length);
    input.set(path);
    for (const call of ["blocking", "awaited", "many"] as const) {
      const file = scratch.join(`in-time-${call}`);
      const name = lease.input(Uint8Array, file.length);
      name.set(new TextEncoder().encode(file));
      lease.invoke("watch", name, lease.output(Uint8Array, 0));
      await until(() => existsSync(file), "timers of the module never ran in time");
      output.fill(0);
      if (call === "blocking") expect(lease.invoke("echo", input, output)).toBe(path.length);
      else if (call === "awaited")
        expect(await lease.submit("echo", input, output)).toBe(path.length);
      else expect([...(await lease.submitMany("echo", [input], [output]))]).toEqual([path.length]);
      expect(output).toEqual(path as typeof output);
    }
  });
});
