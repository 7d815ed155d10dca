/** What comes over a host's connection may be a function's words: the agent takes its host in once, and looks at it also while it rests. */
import { afterEach, describe, expect, test } from "bun:test";
import { cpuTimeNs } from "../../ffi/system.ts";
import { HostProcess } from "../../src/executor/agent/host-process.ts";
import type { Held, Limiter } from "../../src/executor/limits/limiter.ts";
import { RestWatch } from "../../src/executor/limits/rest-watch.ts";
import { readerOf } from "../../src/executor/output/bounded-log.ts";
import { startChild } from "../../src/executor/sandbox/child.ts";
import type { SandboxDriver } from "../../src/executor/sandbox/driver.ts";
import { none } from "../../src/executor/sandbox/none/driver.ts";
import { Sandbox } from "../../src/executor/sandbox/sandbox.ts";
import { PROTOCOL_VERSION } from "../../src/protocol/frame.ts";
import { JSON_TEXT } from "../../src/protocol/frames/json-text.ts";
import { frameOf } from "../../src/protocol/frames/framing.ts";
import { TestClock } from "../support/clock.ts";
import { until } from "../support/until.ts";

const LIMIT_MS = 60_000;
const READY = { t: "ready", protocol: PROTOCOL_VERSION };

/** A host that says these words and waits. */
const saying = (...messages: object[]): SandboxDriver => ({
  ...none,
  start(host) {
    const words = Buffer.concat(messages.map((message) => frameOf(message, JSON_TEXT)));
    const program = `require("node:fs").writeSync(3, Buffer.from("${words.toString("hex")}", "hex")); setInterval(() => {}, 1e6)`;
    const child = startChild([process.execPath, "-e", program], host);
    return { pid: child.pid, control: child.ends[0]!, kill: () => child.kill() };
  },
});

const HELD: Held = {
  ready: Promise.resolve(),
  begin() {},
  look: () => ({ pauseMs: 1000 }),
  postMortem: () => undefined,
  close() {},
};

test(
  "a host that says again that it is ready is not held anew, without its lease's bounds",
  async () => {
    for (const said of [[READY], [READY, READY, READY]]) {
      const taken: number[] = [];
      const heard: string[] = [];
      const limiter: Limiter = {
        name: "watch",
        hold: (pid) => (taken.push(pid), HELD),
        close: async () => {},
      };
      const sandbox = new Sandbox({
        driver: saying(...said, { t: "client-lost", message: "-" }),
        folders: [],
      });
      const host = HostProcess.spawn({
        ...{ threads: 1, waits: true, fabrics: [], sandbox, terms: sandbox.closed, limiter },
        reader: readerOf(() => {}),
      });
      host.attend({ notice: ({ t }) => heard.push(t), exited() {} });
      await host.ready;
      // What it has said before has been heard then.
      await until(() => heard.includes("client-lost"), "its last word has come");
      expect(taken).toEqual([host.pid]);
      host.kill();
      await host.exited;
    }
  },
  LIMIT_MS,
);

describe("a host that is kept without a lease", () => {
  const children: Bun.Subprocess[] = [];
  afterEach(async () => {
    for (const child of children.splice(0)) {
      child.kill("SIGKILL");
      await child.exited;
    }
  });
  const running = (program: string): Bun.Subprocess => {
    const child = Bun.spawn([process.execPath, "-e", program], {
      stdio: ["ignore", "ignore", "ignore"],
    });
    children.push(child);
    return child;
  };
  const watched = (host: { pid: number; held?: Held }): { why: string[]; clock: TestClock } => {
    const [why, clock] = [[] as string[], new TestClock()];
    new RestWatch(host, clock, (what) => why.push(what));
    return { why, clock };
  };

  test(
    "and computes all the same is found to",
    async () => {
      const { pid } = running("for (;;);");
      const { why, clock } = watched({ pid });
      await until(() => (cpuTimeNs(pid) ?? 0) > 1e9, "it has computed");
      clock.pass(500);
      expect(why).toEqual([expect.stringMatching(/^has computed for \d+ ms$/)]);
      clock.pass(5000);
      expect(why).toHaveLength(1);
    },
    LIMIT_MS,
  );

  test("and rests is left alone, until it has more memory than its lease might have", () => {
    const { pid } = running("setInterval(() => {}, 1e6)");
    let [used, bound] = [1, 2];
    const look: Held["look"] = () => ({
      excess: used > bound ? { what: "heap", used, bound } : undefined,
      pauseMs: 1000,
    });
    const { why, clock } = watched({ pid, held: { ...HELD, look } });
    clock.pass(60_000);
    expect(why).toEqual([]);
    used = 3;
    clock.pass(500);
    expect(why).toEqual(["has more heap than its last lease might have"]);
  });
});
