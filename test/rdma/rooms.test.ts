/** A host in a sealed room whose lease is over RDMA: its device is asked for more after the room is sealed, and no socket is. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { tryRoom } from "../../ffi/sandbox.ts";
import { invoker } from "../../src/index.ts";
import { FUNCTIONS, RFAAS } from "../support/executable.ts";
import { withDevice } from "../support/rdma.ts";

type Good = typeof import("../functions/good.ts");
type Reaches = typeof import("../functions/reaches.ts");

withDevice("a room over verbs", () => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;

  test("runs calls of several workers, small and large, and refuses what others do", async () => {
    await using rf = await invoker({
      ...{ sandbox: "process", fabric: "verbs", connectTimeoutMs: 60_000 },
    });
    for (const polling of ["hot", "adaptive"] as const) {
      await using held = await rf.allocate<Good>(join(FUNCTIONS, "good.ts"), {
        ...{ memory: "4MiB", workers: 2, polling },
      });
      expect(held.fabric).toBe("verbs");
      for (const bytes of [16, 100_000]) {
        const input = held.input(Uint8Array, bytes).fill(7);
        const output = held.output(Uint8Array, bytes);
        for (const worker of [0, 1]) {
          expect(held.invoke("echo", input, output, { worker })).toBe(bytes);
          expect(await held.submit("soon", input, output, { worker })).toBe(bytes);
          expect(output).toEqual(input);
        }
      }
    }
    await using held = await rf.allocate<Reaches>(join(FUNCTIONS, "reaches.ts"));
    for (const name of ["runs", "connectsTo", "reads"] as const)
      await expect(held.function(name)("/etc")).rejects.toMatchObject({
        code: "RFAAS_NOT_ALLOWED",
      });
    expect(await held.function("starts")("")).toBe("started");
  });

  test("holds every guard that a node with other users must have", () => {
    const { layers } = tryRoom({ network: false, processes: false, folder: "/", rules: [] });
    for (const layer of ["capabilities", "files", "processes", "calls"] as const)
      expect(layers).toContain(layer);
  });
});
