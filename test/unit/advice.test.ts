/** What `rfaas doctor` says is worth trying next, by what it has found. */
import { describe, expect, test } from "bun:test";
import { type Situation, adviceFor } from "../../src/doctor/advice.ts";

const situation = (found: Partial<Situation> = {}): Situation => ({
  findings: [{ name: "shim", state: "ok", found: "it is there" }],
  program: "rfaas",
  cores: 4,
  tests: false,
  newName: "hello",
  fixes: [],
  ...found,
});
const commands = (found: Partial<Situation> = {}): string[] =>
  adviceFor(situation(found)).map(({ command }) => command);

const fabric = { name: "verbs", title: "RDMA" };
const ECHO = `rfaas invoke rfaas:echo#echo --json '"hello"'`;

describe("the advice", () => {
  test("for an empty folder on a usual machine is a call, a project, a measurement", () => {
    expect(commands()).toEqual([ECHO, "rfaas new hello", "rfaas bench latency"]);
  });

  test("for a folder that cannot be written makes no project there", () => {
    const { newName: _, ...rest } = situation();
    expect(adviceFor(rest).map(({ command }) => command)).toEqual([
      ...[ECHO, "rfaas bench latency", "rfaas serve"],
    ]);
  });

  test("for a machine with one core measures what one core can", () => {
    expect(commands({ cores: 1 })).toContain("rfaas bench cold");
  });

  test("for a folder with a module and tests is about these", () => {
    expect(commands({ module: "fn.ts", tests: true })).toEqual([
      "rfaas test",
      "rfaas serve --watch fn.ts",
      "rfaas bench latency",
    ]);
    expect(commands({ module: "fn.ts", tests: true, client: "client.ts" })).toEqual([
      "rfaas test",
      "rfaas run client.ts",
      "rfaas serve --watch fn.ts",
    ]);
    expect(commands({ module: "it's fn.ts" })[0]).toBe(`rfaas serve --watch 'it'\\''s fn.ts'`);
  });

  test("for a machine with a node and a manager asks them, and starts no other", () => {
    expect(commands({ node: "/run/n.sock", manager: "127.0.0.1:7800" })).toEqual([
      "rfaas ps --manager 127.0.0.1:7800",
      "rfaas ps --node /run/n.sock",
      `${ECHO} --node /run/n.sock`,
    ]);
    expect(commands({ node: "/run/n.sock", module: "fn.ts" }).slice(0, 2)).toEqual([
      "rfaas package push fn.ts --node /run/n.sock",
      "rfaas ps --node /run/n.sock",
    ]);
  });

  test("for a machine with RDMA measures that, after what makes it better", () => {
    expect(commands({ fabric })[0]).toBe("rfaas bench latency --fabric verbs");
    const fix = { command: "echo advise > /sys/x", why: "mends: huge pages" };
    expect(commands({ fabric, fixes: [fix] }).slice(0, 2)).toEqual([
      "echo advise > /sys/x",
      "rfaas bench latency --fabric verbs",
    ]);
    expect(commands({ fixes: [fix] })).not.toContain("echo advise > /sys/x");
  });

  test("for a machine where rfaas cannot run is how to mend that, first", () => {
    const missing = {
      name: "shim",
      state: "missing",
      found: "none",
      fix: "npm run setup",
    } as const;
    expect(commands({ findings: [missing], module: "fn.ts" })).toEqual([
      "npm run setup",
      "rfaas doctor",
      "rfaas help",
    ]);
  });

  test("is three different commands, each with a reason, whatever is found", () => {
    const either = [true, false];
    for (const tests of either)
      for (const far of either)
        for (const cores of [0, 1, 2])
          for (const module of ["fn.ts", undefined])
            for (const node of ["/n.sock", undefined])
              for (const manager of ["10.0.0.1:7800", undefined]) {
                const found = situation({ tests, cores, ...(far ? { fabric } : {}) });
                const advice = adviceFor({
                  ...found,
                  ...(module ? { module } : {}),
                  ...(node ? { node } : {}),
                  ...(manager ? { manager } : {}),
                });
                expect(new Set(advice.map(({ command }) => command)).size).toBe(3);
                for (const { why } of advice) expect(why).toMatch(/\w/);
              }
  });
});
