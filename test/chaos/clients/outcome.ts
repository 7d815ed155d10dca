/** What the error of a call says of the call. */
import type { Outcome } from "../history.ts";

/** Aborted by its caller, and told so by this reason. */
export const ABORTED = new Error("this client has aborted the call");

/** Refused by the client before anything was sent. */
const NOT_MADE = [
  ...["RFAAS_OUT_OF_LEASE_MEMORY", "RFAAS_QUEUE_FULL"],
  // Of a pool, which has no worker for the call.
  ...["RFAAS_NODE_UNREACHABLE", "RFAAS_CONNECTION_FAILED", "RFAAS_CLUSTER_FULL"],
  ...["RFAAS_MODULE_FAILED", "RFAAS_NODE_REFUSES", "RFAAS_ENVIRONMENT"],
];

export function outcomeOf(error: unknown): { outcome: Outcome; code?: string; message?: string } {
  if (error === ABORTED) return { outcome: "may-have-run", code: "ABORTED" };
  const { code, message, mayHaveRun } = error as {
    code?: string;
    message?: string;
    mayHaveRun?: boolean;
  };
  const told = {
    code: code ?? (error as Error)?.name ?? "none",
    message: message ?? String(error),
  };
  if (mayHaveRun !== undefined)
    return { outcome: mayHaveRun ? "may-have-run" : "did-not-run", ...told };
  if (code === "RFAAS_DEADLINE_EXCEEDED") return { outcome: "may-have-run", ...told };
  if (NOT_MADE.includes(told.code)) return { outcome: "did-not-run", ...told };
  return { outcome: "unexplained", ...told };
}
