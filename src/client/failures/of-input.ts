/** The error that many calls end with, of a map or a batch. */
import {
  ConnectionLost,
  LeaseLost,
  OutOfMemory,
  RfaasError,
  WorkerLost,
} from "../../base/errors.ts";

/** It says which input it belongs to. Errors that many calls share, those of a loss, are left as they are and become its cause. */
export function ofInput(error: unknown, index: number): unknown {
  if (!(error instanceof RfaasError)) return error;
  return Object.assign(ownError(error), { index });
}

function ownError(error: RfaasError): RfaasError {
  if (!(error instanceof WorkerLost || error instanceof LeaseLost)) return error;
  const options = { cause: error, mayHaveRun: error.mayHaveRun };
  if (error instanceof ConnectionLost)
    return new ConnectionLost(error.worker, error, error.message, options);
  if (error instanceof OutOfMemory)
    return new OutOfMemory(error.worker, error, error.message, options);
  return error instanceof WorkerLost
    ? new WorkerLost(error.worker, error.message, { ...options, signal: error.signal })
    : new LeaseLost(error.message, options);
}
