/** The examples, each in a folder of its own as a user has it who copied it; `example-http-service.test.ts` has the service. */
import { describe, expect, test } from "bun:test";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../support/executable.ts";
import { Example } from "../support/example.ts";
import { alive, descendants } from "../support/processes.ts";
import { until } from "../support/until.ts";

/** Types what the README says, and compares with what it shows. */
async function followReadme(example: Example): Promise<void> {
  expect(example.consoles).not.toBeEmpty();
  for (const { typed, shown } of example.consoles)
    expect(await example.run(["bash", "-euc", typed])).toBe(shown);
}

test("every example is in the list of examples", () => {
  const list = readFileSync(join(ROOT, "examples/README.md"), "utf8");
  const folders = readdirSync(join(ROOT, "examples"), { withFileTypes: true });
  const names = folders.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  expect(names.filter((name) => !list.includes(`](${name}/README.md)`))).toEqual([]);
});

describe("the pool", () => {
  test("prints what its README shows", async () => {
    using example = new Example("pool");
    await followReadme(example);
  });

  test("finds the longest chain below a million, which is known", async () => {
    using example = new Example("pool");
    const printed = await example.run(["bun", "pool.ts"]);
    expect(printed.trimEnd().split("\n").at(-1)).toBe("837799 reaches 1 in 524 steps");
  });

  test.each(["before it works", "while it works"])(
    "ends by Ctrl-C %s, says how far it came, and leaves no process behind",
    async (when) => {
      using example = new Example("pool");
      const child = example.spawn(["bun", "pool.ts", "1000000000"]);
      const said = child.stderr.text();
      const printed = child.stdout.getReader();
      if (when === "while it works") await printed.read();
      else await until(() => descendants(child.pid).length > 0, "the node starts");
      const started = descendants(child.pid);
      child.kill("SIGINT");
      expect(await child.exited).toBe(130);
      expect(await said).toMatch(/^stopped by SIGINT; all numbers below \d+ were looked at\n$/);
      await until(() => !started.some(alive), "node and host have ended");
    },
  );
});
