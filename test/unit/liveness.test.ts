/** Whether a host is taken for lost, by looks at it. */
import { describe, expect, test } from "bun:test";
import { HostWatch } from "../../src/executor/limits/host-watch.ts";
import {
  ALIVE,
  type HostLook,
  LOOKS_PER_TIMEOUT,
  type Verdict,
  lookAt,
} from "../../src/lease/liveness.ts";
import { TestClock } from "../support/clock.ts";

const IDLE: HostLook = { stopped: false, beats: true, answered: true, inFlight: 0, moved: 0 };
const BUSY: HostLook = { ...IDLE, inFlight: 1 };
const SILENT: HostLook = { ...BUSY, answered: false };

/** The verdicts on a row of looks. */
function verdicts(looks: readonly HostLook[]): Verdict[] {
  let state = ALIVE;
  return looks.map((look) => {
    const [after, verdict] = lookAt(state, look);
    state = after;
    return verdict;
  });
}

const times = <T>(count: number, one: T): T[] => new Array<T>(count).fill(one);

describe("a host", () => {
  test("is asked while calls are in flight, or were since the last look, and is left alone else", () => {
    const moved: HostLook = { ...IDLE, moved: 7 };
    expect(verdicts([IDLE, BUSY, IDLE, moved, moved])).toEqual([
      undefined,
      "ask",
      undefined,
      "ask",
      undefined,
    ]);
  });

  test("is lost when it leaves a question open for as many looks as a timeout has", () => {
    expect(verdicts(times(LOOKS_PER_TIMEOUT, SILENT)).at(-1)).toBe("silent");
    expect(verdicts(times(LOOKS_PER_TIMEOUT - 1, SILENT))).not.toContain("silent");
    const late = [...times(LOOKS_PER_TIMEOUT - 1, SILENT), BUSY];
    expect(verdicts([...late, ...late])).not.toContain("silent");
  });

  test("is lost when it is stopped for as long, with calls or without, and not when it goes on before", () => {
    const stopped = times(LOOKS_PER_TIMEOUT, { ...IDLE, stopped: true });
    expect(verdicts(stopped).at(-1)).toBe("stopped");
    expect(verdicts(stopped.map((look) => ({ ...look, answered: false }))).at(-1)).toBe("stopped");
    expect(verdicts([...stopped.slice(1), BUSY, ...stopped.slice(1)])).not.toContain("stopped");
  });

  test("that has no thread to answer yet is neither asked nor lost", () => {
    const starting: HostLook = { ...SILENT, beats: false };
    expect(verdicts(times(3 * LOOKS_PER_TIMEOUT, starting))).not.toContain("silent");
  });
});

describe("a watch", () => {
  test("asks its host, and ends the lease once, with the cause", () => {
    const clock = new TestClock();
    const ended: unknown[] = [];
    let asked = 0;
    let answers = true;
    const page = {
      beat(_: number, ask: boolean) {
        if (ask) asked++;
        return { beats: true, answered: answers || asked === 0, active: 1, running: 0, moved: 0 };
      },
    };
    const lease = {
      host: { pid: 0 },
      shape: { workers: 1 },
      request: {},
      end: (reason: unknown) => void ended.push(reason),
    };
    new HostWatch(lease, page, 400, clock, () => false);
    clock.pass(1000);
    expect(asked).toBe(10);
    expect(ended).toEqual([]);
    answers = false;
    clock.pass(5000);
    expect(ended).toEqual([{ kind: "host-unresponsive", stopped: false, forMs: 400 }]);
    expect(clock.waiting).toBe(0);
  });

  test("asks an idle host once when its client asks after the lease", () => {
    const clock = new TestClock();
    let asked = 0;
    const page = {
      beat(_: number, ask: boolean) {
        if (ask) asked++;
        return { beats: true, answered: true, active: 0, running: 0, moved: 0 };
      },
    };
    const lease = { host: { pid: 0 }, shape: { workers: 1 }, request: {}, end: () => {} };
    const watch = new HostWatch(lease, page, 400, clock, () => false);
    clock.pass(1000);
    expect(asked).toBe(0);
    watch.want();
    clock.pass(1000);
    expect(asked).toBe(1);
    watch.stop();
  });
});
