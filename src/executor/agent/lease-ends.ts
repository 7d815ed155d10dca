/** How a lease has ended: as a number in its memory for callers that block, and in words for its client. */
import { constants } from "node:os";
import { END } from "../../../ffi/layout.ts";
import { describeEnd } from "../../lease/book.ts";
import type { EndReason } from "../../lease/lease.ts";
import { describeExcess, packExcess } from "../../protocol/ends/excess.ts";
import { EXPIRED, REVOKED } from "../../protocol/ends/end-detail.ts";
import { describeUnresponsive, packUnresponsive } from "../../protocol/ends/unresponsive.ts";
import { describeExitCode } from "../../protocol/ends/host-exit.ts";

/** The end as the lease's memory tells it: one of `END`, and a number with details. */
export interface End {
  reason: number;
  detail: number;
}

export function endOf(reason: EndReason): End {
  const end = (of: number, detail = 0): End => ({ reason: of, detail });
  switch (reason.kind) {
    case "released":
    case "load-failed":
    case "load-timeout":
      return end(END.released);
    case "client-gone":
    case "connection-lost":
      return end(END.disconnected);
    case "expired":
      return end(END.expired);
    case "token-expired":
      return end(END.expired, EXPIRED.token);
    case "unredeemed":
      return end(END.expired, EXPIRED.unredeemed);
    case "revoked":
      return end(END.revoked, reason.by && REVOKED[reason.by]);
    case "reload-failed":
      return end(END.revoked, REVOKED.reloadFailed);
    case "over-budget":
      return end(END.overBudget);
    case "node-stopped":
      return end(END.nodeStopped);
    case "over-limit":
      return end(END.overLimit, packExcess(reason));
    case "host-unresponsive":
      return end(END.unresponsive, packUnresponsive(reason.stopped, reason.forMs));
    case "host-died": {
      const { exitCode, signal } = reason;
      if (signal === null) return end(END.exited, exitCode ?? 0);
      return end(END.signalled, constants.signals[signal as NodeJS.Signals]);
    }
  }
}

/** The message to the client of a granted lease. */
export function lossOf(reason: EndReason): string {
  switch (reason.kind) {
    case "host-died":
      return `the lease's host process died: ${describeExit(reason)}`;
    case "node-stopped":
      return "the node stopped before the lease was released";
    case "connection-lost":
      return reason.message;
    case "over-limit":
      return `the node ended the lease: ${describeExcess(reason)}`;
    case "host-unresponsive":
      return `the node ended the lease: ${describeUnresponsive(reason.stopped, reason.forMs)}`;
    default:
      return `the lease is over: ${describeEnd(reason)}`;
  }
}

/** The message to a client whose lease ended before it was granted. */
export function denialOf(reason: EndReason): { code: string; message: string } {
  switch (reason.kind) {
    case "load-timeout":
      return {
        code: "RFAAS_MODULE_TIMEOUT",
        message:
          "the module did not finish loading in time; look for a top-level await or loop that never ends",
      };
    case "over-limit":
      return {
        code: reason.what === "heap" ? "RFAAS_OUT_OF_MEMORY" : "RFAAS_MODULE_FAILED",
        message: `the module was not loaded: ${describeExcess(reason)}`,
      };
    case "over-budget":
      return {
        code: "RFAAS_NODE_LOST",
        message:
          "no lease: its budget was spent while its module loaded, which counts; give it a larger budget, or let the module load less",
      };
    case "host-died": {
      const message = `the host process died while it loaded the module: ${describeExit(reason)}`;
      return { code: "RFAAS_MODULE_FAILED", message };
    }
    case "host-unresponsive":
      return {
        code: "RFAAS_MODULE_FAILED",
        message: `the module was not loaded: ${describeUnresponsive(reason.stopped, reason.forMs)}`,
      };
    default:
      return { code: "RFAAS_NODE_LOST", message: `no lease: ${describeEnd(reason)}` };
  }
}

function describeExit({
  exitCode,
  signal,
  starved = true,
}: Extract<EndReason, { kind: "host-died" }>): string {
  if (signal === null) return `it ${describeExitCode(exitCode ?? 0)}`;
  if (signal === "SIGKILL")
    return starved
      ? "killed by SIGKILL, by its own functions, another process, or the kernel for lack of memory"
      : "killed by SIGKILL, by its own functions or another process, and not for lack of memory";
  return `killed by ${signal}: a crash in native code, or more memory than the lease has`;
}
