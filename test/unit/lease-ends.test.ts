/** Every end of a lease: what its client is told by a message, what a caller finds that blocks, and what a client hears that has no lease yet. */
import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { workerLoss } from "../../src/client/failures/worker-loss.ts";
import { denialOf, endOf, lossOf } from "../../src/executor/agent/lease-ends.ts";
import { hasEndedProcesses } from "../../src/executor/machine/oom-kills.ts";
import type { EndReason } from "../../src/lease/lease.ts";
import { HOST_EXIT } from "../../src/protocol/ends/host-exit.ts";

/** Of no worker's own. */
const WORKER = 0;
const HEAP = 64 * 2 ** 20;

interface Told {
  /** The message; undefined where the client itself has asked for the end. */
  loss?: RegExp;
  /** What a caller that blocks reads of the lease's memory. */
  blocked: RegExp;
  code?: string;
  /** Before the lease is granted. */
  denied: string;
}

const NODE_LOST = "RFAAS_NODE_LOST";
const ENDS: Record<EndReason["kind"], [EndReason, Told][]> = {
  released: [[{ kind: "released" }, { blocked: /the lease was released;/, denied: NODE_LOST }]],
  "client-gone": [
    [{ kind: "client-gone" }, { blocked: /has no connection to this program/, denied: NODE_LOST }],
  ],
  expired: [
    [
      { kind: "expired" },
      {
        loss: /it expired: it was neither renewed nor used in time$/,
        blocked: /the lease expired: it was neither renewed nor used in time;/,
        denied: NODE_LOST,
      },
    ],
  ],
  "token-expired": [
    [
      { kind: "token-expired" },
      {
        loss: /the token that it was taken with has expired$/,
        blocked: /the token that the lease was taken with has expired;/,
        denied: NODE_LOST,
      },
    ],
  ],
  unredeemed: [
    [
      { kind: "unredeemed" },
      {
        loss: /its client never said that it uses it$/,
        blocked: /the program never said that it uses the lease;/,
        denied: NODE_LOST,
      },
    ],
  ],
  revoked: [
    [
      { kind: "revoked" },
      {
        loss: /the node took it back$/,
        blocked: /the node took the lease back;/,
        denied: NODE_LOST,
      },
    ],
    [
      { kind: "revoked", by: "stopping" },
      {
        loss: /the node took it back: it was told to stop$/,
        blocked: /the node took the lease back: it was told to stop;/,
        denied: NODE_LOST,
      },
    ],
    [
      { kind: "revoked", by: "drained" },
      {
        loss: /took it back: an operator has drained it$/,
        blocked: /took the lease back: an operator has drained it;/,
        denied: NODE_LOST,
      },
    ],
    [
      { kind: "revoked", by: "removed" },
      {
        loss: /took it back: an operator has removed it from its cluster$/,
        blocked: /took the lease back: an operator has removed it from its cluster;/,
        denied: NODE_LOST,
      },
    ],
  ],
  "host-unresponsive": [
    [
      { kind: "host-unresponsive", stopped: true, forMs: 2000 },
      {
        loss: /its host process was stopped by a signal .* for the 2000 ms that hostTimeoutMs/,
        blocked: /its host process was stopped by a signal .* for the 2000 ms that hostTimeoutMs/,
        denied: "RFAAS_MODULE_FAILED",
      },
    ],
    [
      { kind: "host-unresponsive", stopped: false, forMs: 500 },
      {
        loss: /its host process gave no sign of life for the 500 ms .* with calls in flight/,
        blocked: /its host process gave no sign of life for the 500 ms .* with calls in flight/,
        denied: "RFAAS_MODULE_FAILED",
      },
    ],
  ],
  "over-budget": [
    [
      { kind: "over-budget" },
      {
        loss: /its budget is spent$/,
        blocked: /the lease's budget is spent;/,
        denied: NODE_LOST,
      },
    ],
  ],
  "over-limit": [
    [
      { kind: "over-limit", what: "heap", used: 2 * HEAP, bound: HEAP },
      {
        loss: /out of memory: .*had 128 MiB, and its heap is 64 MiB; keep less/,
        blocked: /out of memory: .*had 128 MiB, and its heap is 64 MiB; keep less/,
        code: "RFAAS_OUT_OF_MEMORY",
        denied: "RFAAS_OUT_OF_MEMORY",
      },
    ],
    [
      { kind: "over-limit", what: "tasks", used: 700, bound: 512 },
      {
        loss: /it had 700 processes and threads, and may have 512/,
        blocked: /it had 700 processes and threads, more than a lease may/,
        denied: "RFAAS_MODULE_FAILED",
      },
    ],
  ],
  "connection-lost": [
    [
      { kind: "connection-lost", message: "the cable is cut" },
      {
        loss: /^the cable is cut$/,
        blocked: /has no connection to this program/,
        denied: NODE_LOST,
      },
    ],
  ],
  "load-failed": [
    [{ kind: "load-failed" }, { blocked: /the lease was released;/, denied: NODE_LOST }],
  ],
  "load-timeout": [
    [
      { kind: "load-timeout" },
      { blocked: /the lease was released;/, denied: "RFAAS_MODULE_TIMEOUT" },
    ],
  ],
  "reload-failed": [
    [
      { kind: "reload-failed", message: "another build fails" },
      {
        loss: /another build fails$/,
        blocked: /another build of its module could not be loaded;/,
        denied: NODE_LOST,
      },
    ],
  ],
  "host-died": [
    [
      { kind: "host-died", exitCode: 3, signal: null },
      {
        loss: /it exited with code 3$/,
        blocked: /exited with code 3;/,
        denied: "RFAAS_MODULE_FAILED",
      },
    ],
    [
      { kind: "host-died", exitCode: HOST_EXIT.stuck, signal: null },
      {
        loss: /did not come back from native code/,
        blocked: /did not come back from native code/,
        denied: "RFAAS_MODULE_FAILED",
      },
    ],
    [
      { kind: "host-died", exitCode: null, signal: "SIGSEGV" },
      {
        loss: /killed by SIGSEGV: a crash in native code/,
        blocked: /killed by signal 11 \(SIGSEGV\): a crash in native code/,
        denied: "RFAAS_MODULE_FAILED",
      },
    ],
    [
      { kind: "host-died", exitCode: null, signal: "SIGKILL" },
      {
        loss: /killed by SIGKILL, by its own functions, another process, or the kernel for lack of memory$/,
        blocked:
          /killed by signal 9 \(SIGKILL\), by its own functions, another process, or for lack/,
        denied: "RFAAS_MODULE_FAILED",
      },
    ],
    [
      { kind: "host-died", exitCode: null, signal: "SIGKILL", starved: false },
      {
        loss: /killed by SIGKILL, by its own functions or another process, and not for lack of memory$/,
        blocked:
          /killed by signal 9 \(SIGKILL\), by its own functions, another process, or for lack/,
        denied: "RFAAS_MODULE_FAILED",
      },
    ],
  ],
  "node-stopped": [
    [
      { kind: "node-stopped" },
      {
        loss: /the node stopped before the lease was released$/,
        blocked: /the node stopped;/,
        denied: NODE_LOST,
      },
    ],
  ],
};

for (const [reason, told] of Object.values(ENDS).flat()) {
  const { loss, blocked, code = "RFAAS_WORKER_LOST", denied } = told;
  test(`a lease that ends so says it in every way: ${JSON.stringify(reason)}`, () => {
    if (loss) expect(lossOf(reason)).toMatch(loss);
    const end = endOf(reason);
    // As the lease's memory holds it.
    const detail = new Int32Array(Int32Array.of(end.detail))[0]!;
    const error = workerLoss(WORKER, end.reason, detail, HEAP);
    expect(error.message).toMatch(blocked);
    expect(error.message).toEndWith("take a new lease");
    const signal = reason.kind === "host-died" ? (reason.signal ?? undefined) : undefined;
    expect([String(error.code), error.signal]).toEqual([code, signal]);
    expect(error.mayHaveRun).toBe(true);
    const denial = denialOf(reason);
    expect(denial.code).toBe(denied);
    expect(denial.message).not.toBe("");
  });
}

test("no two ends that a program can tell apart are one in the lease's memory", () => {
  const kept = Object.values(ENDS)
    .flat()
    .filter(([, { loss }]) => loss)
    // Whether the kernel has killed it, the memory does not tell.
    .filter(([reason]) => !("starved" in reason))
    .map(([reason]) => JSON.stringify(endOf(reason)));
  expect(new Set(kept).size).toBe(kept.length);
});

test.skipIf(!existsSync("/proc/vmstat"))(
  "what the kernel has ended for lack of memory counts once",
  () => {
    hasEndedProcesses();
    expect(hasEndedProcesses()).toBe(false);
  },
);
