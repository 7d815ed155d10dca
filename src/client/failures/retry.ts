/** Which failures another attempt may mend. */
import { FunctionError, LeaseLost, WorkerLost } from "../../base/errors.ts";

/** Whether a call ended because its worker was lost, or its lease. */
export const isLoss = (error: unknown): boolean =>
  error instanceof WorkerLost || error instanceof LeaseLost;

/** Whether a call whose `attempt` ended so is to be made again. */
export const mayTryAgain = (
  attempt: number,
  { retries, idempotent }: { readonly retries: number; readonly idempotent: boolean },
  error: unknown,
): boolean => (attempt < retries && mayRunAgain(error)) || (idempotent && isLoss(error));

/** Whether a call that ended so may be retried: its function said so, or its worker was lost. */
export const mayRunAgain = (error: unknown): boolean =>
  isLoss(error) || (error instanceof FunctionError && error.retryable);
