/** What functions print: in every way, it comes to the node's log line by line, with its lease and its user, and no flood of it fills that. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { type Invoker, type Lease, invoker } from "../../src/index.ts";
import { tryRoom } from "../../ffi/sandbox.ts";
import { PRINTING_WAYS } from "../functions/prints.ts";
import { buildLibrary } from "../support/compilers.ts";
import { FUNCTIONS, RFAAS, ServedNode, rfaas } from "../support/executable.ts";
import { Scratch } from "../support/scratch.ts";
import { until } from "../support/until.ts";

type Prints = typeof import("../functions/prints.ts");
const PRINTS = join(FUNCTIONS, "prints.ts");
const LIMIT_MS = 60_000;
const SOURCE = `
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
unsigned prints(void) { printf("by %s\\n", "printf"); return 0; }
unsigned writes(void) { return write(1, "by write\\n", 9) == 9 ? 0 : 1; }
unsigned dies(void) { printf("before the crash\\n"); abort(); }`;

const scratch = new Scratch();
let library: string;
beforeAll(() => {
  process.env["RFAAS_EXECUTABLE"] = RFAAS;
  library = buildLibrary(scratch, "prints", SOURCE);
});
afterAll(() => scratch[Symbol.dispose]());

const rooms = tryRoom({ network: false, processes: false, folder: "/", rules: [] }).layers;
if (!rooms.has("files")) console.error("SKIPPED: in rooms: this kernel has no Landlock");

describe.each(["none", ...(rooms.has("files") ? ["process"] : [])])(
  "with the sandbox %s",
  (sandbox) => {
    let node: ServedNode;
    let rf: Invoker;
    beforeAll(async () => {
      const places = ["--state", scratch.join(`state-${sandbox}`), "--cores", "8"];
      const args = [...places, "--sandbox", sandbox, "--allow-processes"];
      node = await ServedNode.start(scratch.join(`${sandbox}.sock`), args);
      rf = await invoker({ node: node.address });
    });
    afterAll(async () => {
      await rf.close();
      await node[Symbol.asyncDispose]();
    });

    const linesWith = (text: string): string[] =>
      node.stderr.split("\n").filter((line) => line.includes(text));
    const comes = (text: string): Promise<void> =>
      until(() => linesWith(text).length > 0, `${text} is in the log`, LIMIT_MS);
    const take = (options: object = {}): Promise<Lease<Prints>> =>
      rf.allocate<Prints>(PRINTS, { memory: "1MiB", polling: "warm", ...options });
    async function call(lease: Lease, name: string): Promise<void> {
      const memory = lease.output(Uint8Array, 8);
      await lease.submit(name, memory, memory, { deadlineMs: LIMIT_MS });
    }

    test.each(PRINTING_WAYS)(
      "what a function prints by %s comes with its lease and its user, as text",
      async (way) => {
        await using lease = await take({ processes: way === "a child" });
        const heard: string[] = [];
        lease.on("log", ({ message }) => heard.push(message));
        const mark = `marked by ${way}`;
        await lease.function("print")(`${way}:${mark}\u001b[2J\u0007\ttab`);
        await comes(mark);
        expect(linesWith(mark)).toEqual([
          expect.stringMatching(/lease \d+ of \S+ prints: marked by .*\\u001b\[2J\\u0007\ttab$/),
        ]);
        // It is no line of the function's log.
        await lease.usage();
        expect(heard).toEqual([]);
      },
      LIMIT_MS,
    );

    test(
      "what native code prints comes at its line's end, and is not lost when it crashes",
      async () => {
        await using lease = await rf.allocate(library, { memory: "1MiB" });
        await call(lease, "prints");
        await comes("by printf");
        await call(lease, "writes");
        await comes("by write");
        await expect(call(lease, "dies")).rejects.toThrow();
        await comes("before the crash");
        expect(linesWith("before the crash")[0]).toMatch(/lease \d+ of \S+ prints: before/);
      },
      LIMIT_MS,
    );

    test(
      "a flood keeps neither its function nor another lease waiting, and the log says what is missing",
      async () => {
        await using other = await take();
        const lease = await take();
        const [, answered] = await Promise.all([
          lease.function("floods")(200_000, { deadlineMs: LIMIT_MS }),
          other.function("print")("descriptor 2:of the other lease"),
        ]);
        expect(answered).toBe("printed");
        await lease.release();
        // What it said amid the flood may be missing, where the log had no room.
        await other.function("print")("descriptor 2:after the flood");
        await comes("after the flood");
        const shown = (): number => linesWith("prints: flood").length;
        const flooding = (): string => /lease \d+ of/.exec(linesWith("prints: flood")[0]!)![0];
        const missing = (): number =>
          linesWith("are missing here")
            .filter((line) => line.includes(flooding()))
            .reduce((sum, line) => sum + Number(/(\d+) lines?/.exec(line)![1]), 0);
        await until(() => shown() + missing() === 200_000, "the log accounts for all", LIMIT_MS);
        expect(shown()).toBeLessThan(20_000);
      },
      LIMIT_MS,
    );

    test(
      "what a function logs fills the node's log no more than what it prints; its caller hears it all the same",
      async () => {
        await using lease = await take();
        let heard = 0;
        lease.on("log", ({ dropped }) => (heard += 1 + dropped));
        const before = node.stderr.length;
        expect(await lease.function("logs")(150)).toBe(150);
        await until(() => heard >= 150, "its caller hears it", LIMIT_MS);
        await comes("are missing here");
        expect(node.stderr.length - before).toBeLessThan(150 * 4096);
      },
      LIMIT_MS,
    );

    test("of a private node comes to its program's own standard error, whole, as text", async () => {
      const args = ["invoke", `${PRINTS}#floods`, "--json", "3000", "--sandbox", sandbox];
      const { stdout, stderr } = await rfaas(args);
      expect(stdout).toBe("3000\n");
      const lines = stderr.split("\n").filter((line) => line.startsWith("flood "));
      expect(lines).toEqual(Array.from({ length: 3000 }, (_, i) => `flood ${i}`));
      const way = JSON.stringify("console.log:a\u001b[2Jb");
      const one = await rfaas(["invoke", `${PRINTS}#print`, "--json", way, "--sandbox", sandbox]);
      expect(one.stderr).toContain("a\\u001b[2Jb\n");
    });
  },
);
