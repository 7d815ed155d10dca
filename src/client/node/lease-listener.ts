/** What reaches a lease over its node's control connection. */
import type { LogLine, ProgressReport } from "../../protocol/module-report.ts";

/** What a lease hears about itself. */
export interface LeaseListener {
  lost(message: string, signal?: string): void;
  /** The connection to the node has ended, and whoever had the lease over it has lost it. */
  disconnected(message: string): void;
  workerLost(worker: number, message: string): void;
  renewed(expiresInMs: number): void;
  revoking(deadlineInMs: number, message: string): void;
  logged(line: LogLine): void;
  progressed(report: ProgressReport): void;
}
