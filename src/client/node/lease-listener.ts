/** Messages that reach a lease over its node's control connection. */
import type { LossCause } from "../failures/worker-loss.ts";
import type { LogLine, ProgressReport } from "../../protocol/module-report.ts";
import type { Usage } from "../../protocol/usage.ts";

/** A lease implements this to receive the node's messages about it. */
export interface LeaseListener {
  lost(message: string, cause: LossCause): void;
  /** The connection to the node has ended, and with it every lease that was taken over it. */
  disconnected(message: string): void;
  workerLost(worker: number, message: string): void;
  renewed(expiresInMs: number, usage?: Usage): void;
  /** `cause`: why, in one word, where the node says it. */
  revoking(deadlineInMs: number, message: string, cause?: string): void;
  /** What was said of a revocation counts no more. */
  goesOn(expiresInMs: number): void;
  logged(line: LogLine): void;
  progressed(report: ProgressReport): void;
}
